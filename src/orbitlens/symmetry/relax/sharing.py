"""What a learned sharing encodes: its angles with known symmetries, beside a random one.

Source: Zhou, Knowles & Finn 2021, arXiv 2007.02933, Proposition 1: the weights of a layer that
commutes with a group lie in a space that U can span. That space is Hom(rho_in, rho_out).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import as_axes, as_seed, check_kind, usual_torch
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.symmetry.relax._collapse import LOST, warn_of_collapse
from orbitlens.symmetry.relax.shared_weights import SharedLinear

_FOUND = 0.99  # smallest cosine of a space that was found
_NEAR = 0.9  # smallest cosine of a space that was nearly found
_RANDOM = 0.9  # smallest cosine above which a random space says nothing
_GAIN = 1.1  # times the loss of the plain layer over that of the shared one


@dataclass(frozen=True)
class Angles:
    """The angles between col(U) and the weights with one known symmetry.

    Args:
        symmetry: Its name.
        dim: Dimension of the space T of weights that have it.
        rank: Directions of U.
        cosines: Cosines of the principal angles between col(U) and T, largest first; as many as
            the smaller of `dim` and `rank`.
        control: The same for a random U of this shape.
    """

    symmetry: str
    dim: int
    rank: int
    cosines: tuple[float, ...]
    control: tuple[float, ...]

    @property
    def found(self) -> bool:
        """Whether one space holds the other: the smallest cosine is above 0.99.

        It is False if that of a random U is above 0.9, since angles then say nothing.
        """
        return self.cosines[-1] > _FOUND and self.control[-1] < _RANDOM

    @property
    def near(self) -> bool:
        """Whether the symmetry was missed by little: the smallest cosine is from 0.9 to 0.99."""
        return _NEAR < self.cosines[-1] <= _FOUND and self.control[-1] < _RANDOM

    @property
    def words(self) -> str:
        """What was found, as "spans the weights with C8"."""
        if not self.found:
            doubt = "nearly has" if self.near else "does not have"
            unsaid = self.control[-1] >= _RANDOM
            return f"{'nothing can be said of' if unsaid else doubt} {self.symmetry}"
        verb = "spans" if self.rank == self.dim else "holds" if self.rank > self.dim else "lies in"
        return f"{verb} the weights with {self.symmetry}"


@dataclass(frozen=True, repr=False)
class Sharing:
    """What a learned sharing encodes.

    Args:
        singular_values: Those of U, largest first.
        rank: Directions of U whose singular value is above 1e-4 of the largest.
        angles: The angles with every known symmetry.
        gain: Loss of the plain layer over that of the shared one, None if these were not given.
    """

    singular_values: tuple[float, ...]
    rank: int
    angles: tuple[Angles, ...]
    gain: float | None

    def __repr__(self) -> str:
        near = f", nearly {', '.join(each.symmetry for each in self.near)}" if self.near else ""
        return f"Sharing(rank {self.rank}, found {', '.join(self.found) or 'none'}{near})"

    @property
    def found(self) -> tuple[str, ...]:
        """The symmetries that were found; none without a gain over the plain layer."""
        if self.gain is not None and self.gain < _GAIN:
            return ()
        return tuple(each.symmetry for each in self.angles if each.found)

    @property
    def near(self) -> tuple[Angles, ...]:
        """The angles that missed by little, largest space first; none without a gain."""
        if self.gain is not None and self.gain < _GAIN:
            return ()
        return tuple(each for each in _largest_first(self.angles) if each.near)

    @property
    def sentence(self) -> str:
        """The symmetries that were found, largest first, and those that were nearly found."""
        misses = [
            # Rounded down, so that no miss reads as the bound.
            f"{each.symmetry} (dimension {each.dim}, smallest cosine "
            f"{math.floor(1e4 * each.cosines[-1]) / 1e4:.4f})"
            for each in self.near
        ]
        near = f" Nearly found: {', '.join(misses)}; the bound is {_FOUND:g}." if misses else ""
        return f"{self._verdict}{near}"

    @property
    def _verdict(self) -> str:
        if self.gain is not None and self.gain < _GAIN:
            return (
                f"No shared symmetry was found: the plain layer has {self.gain:.2g} times the loss "
                "of the shared one, so sharing gains nothing."
            )
        found = [each.words for each in _largest_first(self.angles) if each.found]
        if found:
            return f"A shared symmetry was found: col(U) {', and it '.join(found)}."
        known = ", ".join(each.symmetry for each in self.angles)
        if self.gain is None:
            return f"No shared symmetry was found among {known}."
        return (
            f"Sharing lowers the loss {self.gain:.2g} times, but none of {known} is the symmetry."
        )

    def table(self) -> list[dict[str, Any]]:
        """Return one JSON-ready record for each known symmetry."""
        return [
            {
                "symmetry": each.symmetry,
                "dim": each.dim,
                "rank": each.rank,
                "smallest_cosine": each.cosines[-1],
                "control_smallest": each.control[-1],
                "control_largest": each.control[0],
                "found": each.symmetry in self.found,
            }
            for each in self.angles
        ]


def _largest_first(angles: Iterable[Angles]) -> list[Angles]:
    return sorted(angles, key=lambda each: -each.dim)


@usual_torch()
def measure_sharing(
    layer: SharedLinear,
    known: Mapping[str, Float[Tensor, "weights dim"]],
    *,
    losses: tuple[float, float] | None = None,
    seed: int = 0,
) -> Sharing:
    """Compare what a layer shares with known symmetries, by principal angles.

        cos = singular values of Q^T T,   Q, T orthonormal bases of col(U) and of the known weights

    Source: Zhou et al. 2021, arXiv 2007.02933, Proposition 1; principal angles are those of Bjorck
    and Golub 1973.

    Args:
        layer: The layer, trained by `meta_learn`.
        known: For each symmetry, by its name, weights that span those with it, one vec(W) in each
            column, see `toeplitz` and `intertwiners`.
        losses: Test losses of this layer and of the same loop with a plain layer, if known. Unless
            the plain one is 1.1 times as large or more, no symmetry is reported.
        seed: Seed of the random U.

    Returns:
        Singular values, angles and what was found.

    Raises:
        OrbitLensError: If no symmetry is given, if weights are of another size or of dimension
            zero, if U has NaN, or if a loss is not above 0.

    Warns:
        OrbitLensWarning: If U has lost directions, or has empty columns.

    Example:
        >>> from orbitlens.symmetry.relax.known_sharing import toeplitz
        >>> layer = SharedLinear.from_basis(toeplitz(6, 8, 3), 8, 6)
        >>> print(measure_sharing(layer, {"shifts": toeplitz(6, 8, 3)}).sentence)
        A shared symmetry was found: col(U) spans the weights with shifts.
    """
    check_kind("layer", layer, SharedLinear, "give a SharedLinear")
    if not isinstance(known, Mapping) or not known:
        raise OrbitLensError(
            "`known`",
            expected="at least one symmetry, as {name: weights}",
            received="none" if isinstance(known, Mapping) else type(known).__name__,
            remedy='give for example {"shifts": toeplitz(m, n, 3)}',
        )
    u = layer.symmetry.detach().double().cpu()
    if not bool(u.isfinite().all()):
        raise OrbitLensError(
            "U of `layer`",
            expected="finite numbers",
            received=f"{int((~u.isfinite()).sum())} NaN or infinite ones",
            remedy="train it again with smaller rates",
        )
    gain = None if losses is None else _gain(losses)
    values = warn_of_collapse("SharedLinear", u)
    generator = torch.Generator().manual_seed(as_seed(seed))
    random = torch.randn(u.shape, generator=generator, dtype=torch.float64)
    random_basis, own_basis = orthonormal(random), orthonormal(u)
    angles = []
    for name, weights in known.items():
        weights = as_axes(f"known[{name!r}]", weights, "weights dim", sizes={"weights": len(u)})
        theirs = orthonormal(weights.double())
        if not (own_basis.shape[1] and theirs.shape[1]):
            raise OrbitLensError(
                f"U and the weights with {name}",
                expected="at least one direction each",
                received=f"{own_basis.shape[1]} and {theirs.shape[1]}",
                remedy="give weights that are not all zero",
            )
        pair = [_cosines(each, theirs) for each in (own_basis, random_basis)]
        angles.append(Angles(name, theirs.shape[1], own_basis.shape[1], *pair))
    return Sharing(values, own_basis.shape[1], tuple(angles), gain)


def orthonormal(columns: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows rank"]:
    """Return an orthonormal basis of the space that columns span, in float64.

    Args:
        columns: The columns; directions below 1e-4 of the largest count as none.
    """
    left, values, _ = torch.linalg.svd(columns.double(), full_matrices=False)
    return left[:, values > LOST * values[:1]]


def _gain(losses: tuple[float, float]) -> float:
    """Return the loss of the plain layer over that of the shared one."""
    own, plain = as_axes("losses", losses, "pair", dtype=torch.float64, sizes={"pair": 2}).tolist()
    if not min(own, plain) > 0:
        raise out_of_range("losses", "numbers above 0, such as mean squared errors", losses)
    return float(plain / own)


def _cosines(one: Float[Tensor, "rows a"], other: Float[Tensor, "rows b"]) -> tuple[float, ...]:
    return tuple(torch.linalg.svdvals(one.T @ other).clamp(max=1).tolist())
