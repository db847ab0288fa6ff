"""Cross-moments of orbits: all that a closed-form transport needs, in one pass."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from orbitlens.groups import Group
from orbitlens.typing import Float, Matrices, Tensor


@dataclass(frozen=True, eq=False)
class CrossMoments:
    """Sums over a stream of orbits, in float64.

    Args:
        products: C(g) = sum_{x, h} psi(gh x) psi(h x)^T, shape [|G|, dim, dim].
        total: sum_{x, h} psi(h x), shape [dim].
        n: Number of activations summed, orbits times |G|.
    """

    products: Matrices
    total: Float[Tensor, " dim"]
    n: int

    @property
    def variance(self) -> float:
        """The mean variance of a dimension, about the mean of the whole set."""
        about_zero = self.products[0].trace() - self.total.square().sum() / max(1, self.n)
        return max(0.0, about_zero.item()) / (max(1, self.n) * len(self.total))


def cross_moments(
    chunks: Iterable[Float[Tensor, "_ group dim"]], group: Group, dim: int
) -> CrossMoments:
    """Accumulate C(g) = sum_{x, h} psi(gh x) psi(h x)^T over a stream of orbits.

    Every pair of samples of an orbit whose relative element is g takes part, not only the pairs
    that start at the canonical sample. C(e) is the second moment of the whole set, and
    C(g^-1) = C(g)^T halves the work. Memory: |G| dim^2 numbers, whatever the number of samples.

    Args:
        chunks: Orbits, each of shape [batch, |G|, dim].
        group: The group.
        dim: Width of the activations.

    Returns:
        The sums.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> orbit = torch.tensor([[[1.0], [2.0]]])
        >>> moments = cross_moments([orbit], cyclic(2), 1)
        >>> moments.products.flatten().tolist()  # 1*1 + 2*2 and 2*1 + 1*2
        [5.0, 4.0]
        >>> moments.variance
        0.25
    """
    products = torch.zeros(group.order, dim, dim, dtype=torch.float64)
    total, n = torch.zeros(dim, dtype=torch.float64), 0
    table = torch.from_numpy(group.table.copy())
    inverses = group.inverses.tolist()
    for chunk in chunks:
        orbits = chunk.double()
        flat = orbits.flatten(0, 1)
        total += flat.sum(0)
        n += len(flat)
        for g, inverse in enumerate(inverses):
            if inverse >= g:
                products[g] += orbits[:, table[g]].flatten(0, 1).T @ flat
    for g, inverse in enumerate(inverses):
        if inverse < g:
            products[g] = products[inverse].T
    return CrossMoments(products, total, n)
