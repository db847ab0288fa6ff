"""Cross-moments of orbits, and the transports that are fitted to them in closed form."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch

from orbitlens.checks import as_axes, as_count, check_memory
from orbitlens.errors import OrbitLensError, out_of_range, warn
from orbitlens.groups import Group, as_group
from orbitlens.reps import exactify
from orbitlens.transport.motion import Motion
from orbitlens.typing import Float, Matrices, Numbers, Tensor

RIDGE = 1e-6

_RANK = 1e-10
_ROUNDING = 1e-13
"""Second moments below this share of the largest can be rounding of float32 activations."""
_MEAN = 1e-3
_VARIES = 1e-11
_LOST = 0.01


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

    def __post_init__(self) -> None:
        # A fit says what values that are not finite mean: activations that blew up.
        as_axes("total", self.total, "dim", finite=False)
        sizes = dict.fromkeys(("rows", "dim"), len(self.total))
        as_axes("products", self.products, "group rows dim", sizes=sizes, finite=False)

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


def cross_moments(chunks: Iterable[Numbers], group: Group | str, dim: int) -> CrossMoments:
    """Sum C(g) = sum_{x, h} psi(gh x) psi(h x)^T over a stream of orbits.

    The sum takes every pair of samples of an orbit with relative element g, not only the pairs that
    start at the canonical sample. C(e) is n times the second moment of the whole set.
    """
    group, dim = as_group(group), as_count("dim", dim)
    size = 8 * group.order * dim**2
    check_memory(f"moments of {dim} dimensions under {group.name}", size, "keep fewer directions")
    if not isinstance(chunks, Iterable):
        raise out_of_range("chunks", "a list of orbits", type(chunks).__name__, "put them into one")
    sums, sizes = MomentSums(group, dim), {"group": group.order, "dim": dim}
    for chunk in chunks:
        sums.update(as_axes("chunks", chunk, "n group dim", dtype=torch.float64, sizes=sizes))
    return sums.moments


@dataclass(frozen=True, eq=False)
class ExactFit:
    """An exact transport in float64, and how well it fits.

    `clarity` is the mean over g of tr(Q(g)^T D(g)) / rank: 1 if rho moves whitened activations
    exactly, near 0 if the group does not move them. `mean_fixed`: rho(g) mu = mu holds.
    """

    motion: Motion
    clarity: float
    mean_fixed: bool


def exact_from_moments(
    moments: CrossMoments,
    group: Group,
    positions: int = 1,
    *,
    subject: str = "this layer",
    mean_fixed: bool | None = None,
) -> ExactFit:
    """Fit the exact transport to cross-moments, see `exact`.

    `positions` (activations per input) and `subject` are for the messages. If `mean_fixed` is
    None, both choices are fitted and the one with the smaller residual is kept.
    """
    dim, order = len(moments.total), group.order
    basis, lost = _with_variance(moments)
    rank = basis.shape[1]
    if mean_fixed is None and lost > _LOST:
        warn(
            f"activations of {subject} under {group.name}",
            found=f"their mean is so large that {lost:.0%} of their variance is within rounding, "
            "and stays where it is",
            remedy="subtract a constant vector that the group leaves unchanged, or choose another "
            "layer",
        )
    if moments.n < 2 * rank:
        raise OrbitLensError(
            f"training orbits of {subject} under {group.name}, to fit the exact transport on",
            expected=f"at least {-(-2 * rank // (order * positions))}, two activations "
            f"for each of the {rank} directions with variance",
            received=moments.n // (order * positions),
            remedy="harvest more inputs, or keep fewer directions (rank, max_dim; on the command "
            "line --max-dim)",
        )
    second = basis.T @ moments.products @ basis / moments.n
    # The basis consists of principal axes, so whitening divides by their standard deviations.
    deviations = second[0].diagonal().sqrt()
    whitened = second / torch.outer(deviations, deviations)
    choices = _free_directions(basis.T @ moments.total / moments.n / deviations)
    if mean_fixed is not None:
        choices = {mean_fixed: choices.get(mean_fixed, choices[False])}
    found = {fixed: _fit(group, whitened, free) for fixed, free in choices.items()}
    inside = {fixed: deviations[:, None] * Q / deviations for fixed, (Q, _) in found.items()}
    best = min(found, key=lambda fixed: _residual(inside[fixed], second))
    change = inside[best] - torch.eye(rank, dtype=torch.float64)
    matrices = torch.eye(dim, dtype=torch.float64) + basis @ change @ basis.T
    return ExactFit(Motion(matrices, variable=rank), found[best][1], mean_fixed=best)


def _fit(
    group: Group, whitened: Float[Tensor, "group rank rank"], free: Float[Tensor, "rank free"]
) -> tuple[Float[Tensor, "group rank rank"], float]:
    """Fit Q on some whitened directions, with the identity on the others; return its clarity."""
    correlations = free.T @ whitened @ free
    moved = exactify(group, correlations).matrices
    change = moved - torch.eye(free.shape[1], dtype=torch.float64)
    Q = torch.eye(len(free), dtype=torch.float64) + free @ change @ free.T
    if not free.shape[1]:
        return Q, 1.0
    return Q, float((moved * correlations).sum((1, 2)).mean() / free.shape[1])


def _residual(
    matrices: Float[Tensor, "group rank rank"], second: Float[Tensor, "group rank rank"]
) -> float:
    """Return sum_g ||psi(gx) - rho(g) psi(x)||^2 up to a constant, from second moments alone."""
    return float((matrices * (matrices @ second[0] - 2 * second)).sum())


def _free_directions(whitened: Float[Tensor, " rank"]) -> dict[bool, Float[Tensor, "rank free"]]:
    """Return the whitened directions that may move, if the whitened mean is fixed and if it is not.

    The mean of whole orbits is invariant. Fixing it keeps a small error from moving a large mean.
    But a group that acts only in part can fit better with a free mean, so both are tried. A mean
    near zero has no direction to fix.
    """
    everything = torch.eye(len(whitened), dtype=whitened.dtype)
    if whitened.square().sum() < _MEAN:
        return {False: everything}
    others = torch.linalg.qr(whitened[:, None], mode="complete").Q[:, 1:]
    return {True: others, False: everything}


def _with_variance(moments: CrossMoments) -> tuple[Float[Tensor, "dim rank"], float]:
    """Return an orthonormal basis of the directions with variance, and the share outside of it.

    A direction counts if its second moment is above 1e-10 of the largest variance: a large mean
    alone must not hide the others. Below rounding there is nothing to see.
    """
    values, vectors = torch.linalg.eigh(moments.products[0])
    largest = values[-1].clamp_min(torch.finfo(values.dtype).tiny)
    # By interlacing, and as the mean adds one direction, the largest variance is at least this.
    spread = max(largest - moments.total.square().sum() / max(1, moments.n), values[-2:][0])
    rounding = max(_ROUNDING, len(values) * torch.finfo(values.dtype).eps)
    kept = values > torch.maximum(_RANK * spread, rounding * largest)
    variance = float(moments.autocorrelation[0])
    varies = variance > _VARIES * float(values.sum())
    return vectors[:, kept], float(values[~kept].sum()) / variance if varies else 0.0


def least_squares_from_moments(moments: CrossMoments, *, ridge: float = RIDGE) -> Motion:
    """Fit the unconstrained transport to cross-moments, float32, see `least_squares`."""
    dim = len(moments.total)
    weight = ridge * moments.variance * moments.n
    eye = torch.eye(dim, dtype=torch.float64)
    penalised = moments.products + weight * eye
    matrices, singular = torch.linalg.solve_ex(penalised[0], penalised, left=False)
    if weight == 0 or singular:
        # The limit of a falling weight: of all best fits, the one that is nearest to the identity.
        change = moments.products - moments.products[0]
        matrices = eye + change @ torch.linalg.pinv(moments.products[0], hermitian=True)
    return Motion(matrices.float(), variable=dim)
