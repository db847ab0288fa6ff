"""Training of world models on single transitions, with a new start where one is stuck."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.checks import (
    as_axes,
    as_count,
    as_indices,
    as_number,
    as_seed,
    check_kind,
    check_learns,
    usual_torch,
)
from orbitlens.errors import OrbitLensError, out_of_range, warn
from orbitlens.symmetry.split._doors import check_function
from orbitlens.symmetry.split._memory import channels_last
from orbitlens.symmetry.split.contrastive import contrastive_loss, latent_distance
from orbitlens.symmetry.split.world_model import WorldModel

_LAST = 0.1  # of the steps, over which the final loss is the mean
_COLLAPSED = 1e-3
_LOOKED_AT = 512  # images, for a collapse


@dataclass(frozen=True, eq=False)
class WorldModelFit:
    """A trained world model.

    Args:
        model: The model, in evaluation mode.
        losses: The loss of each step of the start that was kept.
        loss: Their mean over the last tenth.
        starts: The final loss of each start, in order; only the last one may not be stuck.
        stuck: Whether the one that was kept is stuck as well.
    """

    model: WorldModel
    losses: tuple[float, ...]
    loss: float
    starts: tuple[float, ...]
    stuck: bool

    @property
    def restarts(self) -> int:
        """How often training began again."""
        return len(self.starts) - 1


@usual_torch()
def train_world_model(
    build: Callable[[int], WorldModel],
    images: Float[Tensor, "n channels side side"],
    actions: Int[Tensor, " n"],
    following: Float[Tensor, "n channels side side"],
    *,
    steps: int = 600,
    batch: int = 128,
    lr: float = 5e-4,
    stuck: float = 0.1,
    restarts: int = 4,
    seed: int = 0,
) -> WorldModelFit:
    """Train a world model on transitions (image, action, next image) by Adam.

        loss = mean of near + far, see `contrastive_loss`, with z~ = z in a random order

    Some starts are stuck, as where two maps follow one object, and their loss stays high. Such a
    start is told by its training loss alone, and training begins again with other weights and
    another order of the samples.

    Source: Park et al. 2022, arXiv 2204.11371, and its code for loss and optimiser; restarts are
    our own.

    Args:
        build: Returns an untrained model from a seed, another one for each start.
        images: Images in [0, 1].
        actions: Number of the action after each.
        following: The image after the action.
        steps: Steps of a start, default 600.
        batch: Transitions of a step, default 128; at least 2.
        lr: Learning rate, default 5e-4.
        stuck: The final loss above which a start is stuck; default 0.1.
        restarts: How often to begin again at most; default 4. Then the best start is kept.
        seed: Seed of weights and order. Start i has a seed of its own that follows from it.

    Returns:
        The model and how its training went.

    Raises:
        OrbitLensError: If the data do not fit each other or the model, the batch has one
            transition, `build` returns no model or the same one again, or the loss is not finite.

    Warns:
        OrbitLensWarning: If all starts are stuck, or the model has one latent for all images.

    Example:
        >>> from orbitlens.data import block_episodes, render_blocks
        >>> data = block_episodes(32, seed=0)
        >>> first, after = (render_blocks(data.grids[:, time]) for time in (0, 1))
        >>> build = lambda seed: WorldModel("C4", width=4, hidden=4, seed=seed)
        >>> sizes = {"steps": 20, "batch": 8, "stuck": 100.0, "lr": 1e-2}
        >>> fit = train_world_model(build, first, data.actions[:, 0], after, **sizes)
        >>> len(fit.losses), fit.restarts, fit.stuck
        (20, 0, False)
    """
    first, action, after = _as_transitions(images, actions, following)
    steps, restarts = as_count("steps", steps), as_count("restarts", restarts, least=0)
    batch = as_count("batch", batch, least=2, most=len(first))
    for name, value in (("lr", lr), ("stuck", stuck)):
        if as_number(name, value) <= 0:
            raise out_of_range(name, "above 0", value)
    check_function("build", build, "a WorldModel of a seed")
    generator = torch.Generator().manual_seed(as_seed(seed))
    built: list[WorldModel] = []
    starts: list[float] = []
    best: tuple[float, WorldModel, list[float]] | None = None
    while best is None or (best[0] > stuck and len(starts) <= restarts):
        own = int(torch.randint(2**31, (), generator=generator))
        model = _untrained(build(own), built)
        losses = list(_start(model, first, action, after, steps, batch, lr, own))
        last = losses[-max(1, round(_LAST * steps)) :]
        starts.append(sum(last) / len(last))
        if best is None or starts[-1] < best[0]:
            best = starts[-1], model, losses
    loss, model, losses = best
    _warn_of(model.eval(), first, starts, stuck)
    return WorldModelFit(model, tuple(losses), loss, tuple(starts), stuck=loss > stuck)


def _untrained(model: WorldModel, built: list[WorldModel]) -> WorldModel:
    """Return a model that no start has trained, and remember it."""
    check_kind("build(seed)", model, WorldModel, "return one")
    if any(model is each for each in built):
        raise OrbitLensError(
            "`build(seed)`",
            expected="another model for each start",
            received="the one that the last start has trained",
            remedy="build it inside of the function",
        )
    check_learns("training of a WorldModel", model)
    built.append(model)
    return model


def _start(
    model: WorldModel,
    images: Float[Tensor, "n c s s"],
    actions: Int[Tensor, " n"],
    following: Float[Tensor, "n c s s"],
    steps: int,
    batch: int,
    lr: float,
    seed: int,
) -> Iterator[float]:
    """Train a model from its initial weights, and yield the loss of each step."""
    generator = torch.Generator().manual_seed(seed)
    images, following = (model.embedding.checked(each) for each in (images, following))
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    order = torch.empty(0, dtype=torch.long)
    model.train()
    for step in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(images), generator=generator)
        chosen, order = order[:batch], order[batch:]
        both = channels_last(torch.cat([images[chosen], following[chosen]]))
        z, z_next = model.embedding.of_maps(model.embedding.maps(both)).split(batch)
        other = z[torch.randperm(batch, generator=generator)]
        terms = contrastive_loss(model.predict(z, actions[chosen]), z_next, z, other)
        loss = (terms.near + terms.far).mean()
        value = loss.item()
        if not math.isfinite(value):
            raise OrbitLensError(
                "training of a world model",
                expected="a finite loss",
                received=f"{value} in step {step + 1}",
                remedy="lower the learning rate",
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        yield value


@torch.no_grad()
def _warn_of(
    model: WorldModel, images: Float[Tensor, "n c s s"], starts: list[float], stuck: float
) -> None:
    z = model(images[:_LOOKED_AT])
    if float(latent_distance(z, z.roll(1, 0)).mean()) < _COLLAPSED:
        warn(
            "latents of a world model",
            found="they are the same for all images: the mean distance of two is below "
            f"{_COLLAPSED:g}",
            remedy="train with more steps, or with another seed",
        )
    if min(starts) > stuck:
        remedy = "train with more steps or another seed; the best start was kept"
        equal = _equal_pairs(images[:_LOOKED_AT])
        if equal > stuck / 2:
            remedy = (
                f"{equal:.2g} of all pairs of images show the same, and each of these costs 1 "
                f"whatever is learned; set `stuck` to {equal + stuck:.2g}"
            )
        warn(
            "training of a world model",
            found=f"all {len(starts)} starts are stuck: their final losses are "
            f"{', '.join(f'{loss:.3g}' for loss in starts)}, above {stuck:g}",
            remedy=remedy,
        )


def _equal_pairs(images: Float[Tensor, "n c s s"]) -> float:
    """Return the share of pairs of images that show the same."""
    _, counts = images.flatten(1).unique(dim=0, return_counts=True)
    return float((counts.double() / len(images)).square().sum())


def _as_transitions(
    images: object, actions: object, following: object
) -> tuple[Float[Tensor, "n c s s"], Int[Tensor, " n"], Float[Tensor, "n c s s"]]:
    axes = "n channels side width"
    first = as_axes("images", images, axes, least=2)
    after = as_axes("following", following, axes)
    if first.shape != after.shape:
        raise OrbitLensError(
            "`following`",
            expected=f"the shape of `images`, {list(first.shape)}",
            received=list(after.shape),
            remedy="give the image after each action",
        )
    return first, as_indices("actions", actions, "n", most=2**31, size=len(first)), after
