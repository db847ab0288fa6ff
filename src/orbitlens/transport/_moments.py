"""Cross-moments of orbits: the sums from which every closed-form transport is fitted."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

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
        """Mean variance of a dimension, about the mean of the whole set."""
        return max(0.0, self.autocorrelation[0].item()) / (max(1, self.n) * len(self.total))

    @property
    def covariances(self) -> Matrices:
        """sum_{x, h} (psi(gh x) - mu)(psi(h x) - mu)^T / n for every g, about the mean mu."""
        mean = self.total / max(1, self.n)
        return self.products / max(1, self.n) - torch.outer(mean, mean)

    @property
    def autocorrelation(self) -> Float[Tensor, " group"]:
        """sum_{x, h} <psi(gh x) - mu, psi(h x) - mu> for every g; the first is n times variance."""
        about_zero = self.products.diagonal(dim1=1, dim2=2).sum(1)
        return about_zero - self.total.square().sum() / max(1, self.n)


@final
class MomentSums:
    """Cross-moments of a stream of orbits, in memory of |G| dim^2 numbers for each group.

    `others` are groups of the same order, for controls: the same orbits with their labels read as
    elements of another group. The products of activations are computed once for all groups.
    """

    def __init__(self, group: Group, dim: int, *others: Group) -> None:
        self._groups = (group, *others)
        self._tables = [torch.from_numpy(each.table.copy()) for each in self._groups]
        shape = (group.order, dim, dim)
        self._products = [torch.zeros(shape, dtype=torch.float64) for _ in self._groups]
        self._total, self._n = torch.zeros(dim, dtype=torch.float64), 0

    def update(self, chunk: Float[Tensor, "_ group dim"]) -> None:
        """Add some orbits."""
        orbits = chunk.double()
        rows, order, dim = orbits.shape
        for h in range(order):
            # One product serves all elements: its row block k = gh is sum_x psi(kx) psi(hx)^T.
            blocks = (orbits.flatten(1).T @ orbits[:, h]).unflatten(0, (order, dim))
            for table, products in zip(self._tables, self._products, strict=True):
                products += blocks[table[:, h]]
        self._total += orbits.sum((0, 1))
        self._n += rows * order

    @property
    def moments(self) -> CrossMoments:
        """The moments so far, under the first group."""
        return self.moments_under(0)

    def moments_under(self, reading: int) -> CrossMoments:
        """Return the moments under one of the groups; C(g^-1) = C(g)^T holds to the last bit."""
        inverses = torch.from_numpy(self._groups[reading].inverses.copy())
        products = self._products[reading]
        products = (products + products[inverses].mT) / 2
        return CrossMoments(products, self._total.clone(), self._n)


def cross_moments(
    chunks: Iterable[Float[Tensor, "_ group dim"]], group: Group, dim: int
) -> CrossMoments:
    """Sum C(g) = sum_{x, h} psi(gh x) psi(h x)^T over a stream of orbits.

    The sum takes every pair of samples of an orbit with relative element g, not only the pairs that
    start at the canonical sample. C(e) is n times the second moment of the whole set.

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
    sums = MomentSums(group, dim)
    for chunk in chunks:
        sums.update(chunk)
    return sums.moments
