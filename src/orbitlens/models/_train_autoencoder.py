"""The training of an autoencoder on images that the group moves at random."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from orbitlens.actions import Action, check_action, check_is_action
from orbitlens.checks import as_count, as_number, as_seed, as_tensor, usual_torch
from orbitlens.errors import OrbitLensError, one_line, out_of_range
from orbitlens.models._layers import check_network
from orbitlens.models._state import evaluating, keeping_modes


@dataclass(frozen=True)
class AutoencoderFit:
    """The course of a training.

    Args:
        losses: Mean squared error per pixel of each epoch, over its augmented images.
        seed: The seed of the order of the images and of their augmentation.
    """

    losses: tuple[float, ...]
    seed: int


def train_autoencoder(
    model: nn.Module,
    images: Float[Tensor, "n channels height width"],
    *,
    action: Action | None,
    epochs: int = 100,
    batch_size: int = 64,
    lr: float = 1e-3,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> AutoencoderFit:
    """Train a network in place to reproduce images moved by random elements of the group.

        minimise || g x - model(g x) ||^2, one g per image and epoch

    Source: Erdogan & Lucic, arXiv 2511.09432: Adam, mean squared error and random augmentation;
    their settings are the defaults.

    Args:
        model: Maps images to images of the same shape; left in evaluation mode. If the training
            ends early, its modes are as before, and its weights are those of the last step.
        images: Training images, [n, channels, height, width].
        action: The action of the group on images; None trains on unmoved images.
        epochs: Passes over the images.
        batch_size: Images per step.
        lr: Learning rate of Adam.
        seed: Seed of order and augmentation.
        progress: Called after each epoch with (epoch, epochs, loss), epochs counted from 1.

    Returns:
        The loss of every epoch.

    Raises:
        OrbitLensError: If there are no images, they do not fit the network or the action, or a
            setting is out of range.

    Example:
        >>> from orbitlens.models import MLPAutoencoder
        >>> model = MLPAutoencoder(size=4, dim=8)
        >>> fit = train_autoencoder(model, torch.rand(32, 1, 4, 4), action=None, epochs=2)
        >>> fit.losses[1] < fit.losses[0]
        True
    """
    settings = {"epochs": epochs, "batch_size": batch_size}
    epochs, batch_size = (as_count(name, value) for name, value in settings.items())
    seed, images = as_seed(seed), _check(model, images, action, lr)
    with _training(model):
        losses = _train(model, images, action, epochs, batch_size, lr, seed, progress)
    model.eval()
    return AutoencoderFit(losses=losses, seed=seed)


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """Let a network learn for the length of a block; if it ends early, its modes are as before."""
    with keeping_modes(model), usual_torch():
        try:
            yield
        finally:
            for parameter in model.parameters():
                parameter.grad = None


def _train(
    model: nn.Module,
    images: Float[Tensor, "n channels height width"],
    action: Action | None,
    epochs: int,
    batch_size: int,
    lr: float,
    seed: int,
    progress: Callable[[int, int, float], None] | None,
) -> tuple[float, ...]:
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    losses: list[float] = []
    model.train()
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(images), generator=generator)
        total = torch.zeros((), device=device)
        for rows in order.split(batch_size):
            batch = images[rows].to(device)
            if action is not None:
                elements = torch.randint(action.group.order, (len(rows),), generator=generator)
                batch = _moved(batch, elements, action)
            loss = mse_loss(model(batch), batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach() * len(rows)
        losses.append(float(total) / len(images))
        if progress is not None:
            progress(epoch, epochs, losses[-1])
    return tuple(losses)


def _moved(
    batch: Float[Tensor, "batch channels height width"],
    elements: Int[Tensor, " batch"],
    action: Action,
) -> Float[Tensor, "batch channels height width"]:
    moved = torch.empty_like(batch)
    for element in elements.unique().tolist():
        rows = (elements == element).nonzero().flatten().to(batch.device)
        moved[rows] = action.moved(batch[rows], element)
    return moved


def _check(
    model: nn.Module,
    images: Float[Tensor, "n channels height width"],
    action: Action | None,
    lr: float,
) -> Float[Tensor, "n channels height width"]:
    """Return the images in the type of the network, which can learn to reproduce them."""
    if not as_number("lr", lr) > 0:
        raise out_of_range("lr", "above 0", lr)
    weights = list(check_network(model).parameters())
    learnable = [each for each in weights if each.requires_grad and not each.is_inference()]
    if not learnable:
        raise OrbitLensError(
            "`model`",
            expected="a network with weights that can be trained",
            received=f"{len(weights)} parameters, all of them frozen or made in inference mode",
            remedy="call model.requires_grad_(True), or build it outside torch.inference_mode()",
        )
    images = as_tensor("images", images, dtype=learnable[0].dtype)
    if len(images) == 0:
        raise OrbitLensError("`images`", expected="at least one", received=0, remedy="add images")
    if action is not None:
        check_action(action)
        action.check(images)
        with torch.no_grad():
            check_is_action(action, images[:2])
    _check_reproduces_shape(model, images[:1])
    return images


def _check_reproduces_shape(
    model: nn.Module, image: Float[Tensor, "1 channels height width"]
) -> None:
    try:
        with evaluating(model):
            output = model(image.to(next(model.parameters()).device))
        received = str(list(output.shape)) if isinstance(output, Tensor) else type(output).__name__
    except (RuntimeError, ValueError) as error:
        received = one_line(error)
    if received != str(list(image.shape)):
        raise OrbitLensError(
            f"{type(model).__name__} on one image of shape {list(image.shape)}",
            expected="a reconstruction of the same shape",
            received=received,
            remedy="resize the images, or build the network for their size and channels",
        )
