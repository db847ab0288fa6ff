"""Cross-moments of orbits: all that a closed-form transport needs, in one pass."""

from collections.abc import Iterable

import torch

from orbitlens.groups import Group
from orbitlens.typing import Float, Matrices, Tensor


def cross_moments(
    chunks: Iterable[Float[Tensor, "_ group dim"]], group: Group, dim: int
) -> Matrices:
    """Accumulate C(g) = sum_{x, h} psi(gh x) psi(h x)^T over a stream of orbits.

    Every pair of samples of an orbit whose relative element is g takes part, not only the pairs
    that start at the canonical sample. C(e) is the second moment of the whole set, and
    C(g^-1) = C(g)^T halves the work. Memory: |G| dim^2 numbers, whatever the number of samples.

    Args:
        chunks: Orbits, each of shape [batch, |G|, dim].
        group: The group.
        dim: Width of the activations.

    Returns:
        C, shape [|G|, dim, dim], float64.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> orbit = torch.tensor([[[1.0], [2.0]]])
        >>> cross_moments([orbit], cyclic(2), 1).flatten().tolist()  # 1*1 + 2*2 and 2*1 + 1*2
        [5.0, 4.0]
    """
    moments = torch.zeros(group.order, dim, dim, dtype=torch.float64)
    table = torch.from_numpy(group.table.copy())
    inverses = group.inverses.tolist()
    for chunk in chunks:
        orbits = chunk.double()
        flat = orbits.flatten(0, 1)
        for g, inverse in enumerate(inverses):
            if inverse >= g:
                moments[g] += orbits[:, table[g]].flatten(0, 1).T @ flat
    for g, inverse in enumerate(inverses):
        if inverse < g:
            moments[g] = moments[inverse].T
    return moments
