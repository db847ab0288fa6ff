"""The paper's transport: one matrix per generator, learned by gradient descent.

Erdogan & Lucic, arXiv 2511.09432: minimise || psi(g^p h^q x) - M^p R^q psi(x) ||^2 over x, p and q
with Adam, starting at the identity.
"""

from collections.abc import Callable

import numpy as np
import torch

from orbitlens.activations import ActivationStore
from orbitlens.checks import as_count, as_number, as_seed
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.groups import Group
from orbitlens.transport._cost import check_cost
from orbitlens.transport._door import fits
from orbitlens.transport.motion import Motion
from orbitlens.typing import Float, Int, Tensor

_PASSES = 3
"""Products with each matrix in a step: the loss and its two derivatives."""


@fits
def gradient(
    store: ActivationStore,
    train: Int[np.ndarray, " n"],
    *,
    epochs: int = 100,
    batch_size: int = 16,
    lr: float = 2e-3,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Motion:
    """Learn one matrix per generator; every rho(g) is a product of these, given by its word.

    Args:
        store: Activations of orbits.
        train: Samples to fit on, shape [n].
        epochs: Passes over the training orbits, default 100.
        batch_size: Orbits per step, default 16.
        lr: Learning rate of Adam, default 2e-3, falling to zero along a cosine.
        seed: Seed of the shuffling of the orbits, default 0.
        progress: Called after each epoch with (epoch, epochs).

    Returns:
        rho, shape [|G|, dim, dim], float32; rho(e) = I.

    Raises:
        OrbitLensError: If a number is out of range, or if the training diverges.
    """
    epochs, batch_size = as_count("epochs", epochs), as_count("batch_size", batch_size)
    if not as_number("lr", lr, "above 0") > 0:
        raise out_of_range("lr", "above 0", lr)
    group, dim, seed = store.group, store.dim, as_seed(seed)
    if not group.generators:
        return Motion(torch.eye(dim)[None], variable=dim)
    check_cost(store, train, passes=_PASSES * epochs)
    orbits = store.orbits(train)
    # The division makes the loss a share of the power; the optimum stays the same.
    power = orbits.square().mean().clamp_min(torch.finfo(orbits.dtype).tiny)
    generators = torch.eye(dim).repeat(len(group.generators), 1, 1).requires_grad_()
    optimizer = torch.optim.Adam([generators], lr=lr)
    # At a constant rate, the noise of Adam in M grows in the powers M^p.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(len(orbits), generator=generator).split(batch_size):
            target = orbits[batch]
            predicted = _apply_words(group, generators, target[:, 0])
            loss = (target - predicted).square().mean() / power
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        if progress is not None:
            progress(epoch, epochs)
    with torch.no_grad():
        matrices = _apply_words(group, generators, torch.eye(dim)).permute(1, 2, 0).contiguous()
    if not matrices.isfinite().all():
        raise OrbitLensError(
            f"training of the transport of layer {store.layer!r}",
            expected="matrices of finite numbers",
            received=f"NaN or infinity, as it diverged at lr = {lr:g}",
            remedy="lower lr; 2e-3 is the default",
        )
    return Motion(matrices, variable=dim)


def _apply_words(
    group: Group, generators: Float[Tensor, "generators dim dim"], x: Float[Tensor, "batch dim"]
) -> Float[Tensor, "batch group dim"]:
    """Apply every element to x by its word, M^p R^q x for g^p h^q; each suffix is computed once."""
    images: dict[tuple[int, ...], Tensor] = {(): x}

    def image(word: tuple[int, ...]) -> Tensor:
        if word not in images:
            images[word] = image(word[1:]) @ generators[word[0]].T
        return images[word]

    return torch.stack([image(word) for word in group.words], dim=1)
