"""The trivial transport, which assumes that the network is invariant."""

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.transport._door import fits
from orbitlens.transport.motion import Motion
from orbitlens.typing import Int

_WIDE = 1024
"""Width from which on matrices would take much memory and time for nothing."""


@fits
def identity(store: ActivationStore, train: Int[ndarray, " n"]) -> Motion:
    """Return rho(g) = I for every element.

    Args:
        store: Activations of orbits.
        train: Not used.

    Returns:
        Identity matrices, shape [|G|, dim, dim]; of a wide layer, that of one direction, since
        rho is the identity on the others anyway.
    """
    del train
    if store.dim >= _WIDE:
        first = torch.eye(store.dim, 1)
        return Motion(torch.ones(store.group.order, 1, 1), variable=store.dim, basis=first)
    return Motion(torch.eye(store.dim).repeat(store.group.order, 1, 1), variable=store.dim)
