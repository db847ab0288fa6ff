"""The trivial transport, which assumes that the network is invariant."""

import torch
from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.transport.motion import Motion
from orbitlens.typing import Int


def identity(store: ActivationStore, train: Int[ndarray, " n"]) -> Motion:
    """Return rho(g) = I for every element.

    Args:
        store: Activations of orbits.
        train: Not used.

    Returns:
        Identity matrices, shape [|G|, dim, dim].
    """
    del train
    return Motion(torch.eye(store.dim).repeat(store.group.order, 1, 1), variable=store.dim)
