"""The equivariance of one layer: every figure in the report of a network."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from orbitlens.activations import ActivationStore
from orbitlens.checks import as_seed, usual_torch
from orbitlens.errors import OrbitLensError
from orbitlens.reps import homomorphism_errors
from orbitlens.transport._controls import another_group, shuffled
from orbitlens.transport._cost import check_cost
from orbitlens.transport._door import parts_of
from orbitlens.transport._element_order import warn_of_element_order
from orbitlens.transport._representation import span_multiplicities
from orbitlens.transport._token_kinds import KindSums, mean_map, move_mean, position_orbits
from orbitlens.transport.bands import bands_of
from orbitlens.transport.fit_transport import condition_number
from orbitlens.transport.identity import identity
from orbitlens.transport.scores import ScoreSums
from orbitlens.transport.spectrum import canonical_scores, symmetry_spectrum
from orbitlens.typing import Float, Numbers, Tensor

_SAME = 0.01
_MOST = 0.9
_NONE = "none"

_Split = tuple[Numbers, Numbers]


@dataclass(frozen=True)
class LayerEquivariance:
    """Figures of one layer, measured on held-out orbits.

    Args:
        layer: Name of the layer.
        group: Name of the group.
        order: Order of the group.
        rank: Number of directions with variance, which the exact transport moves; at most `dim`.
        dim: Width of the activations.
        r2: R^2 of the exact transport; for maps and token grids, of the spatial one.
        r2_low: Lower end of its 95% interval.
        r2_high: Upper end of its 95% interval.
        free_r2: R^2 of the unconstrained least-squares fit.
        identity_r2: R^2 of rho = I.
        control_r2: R^2 of an exact transport on orbits with shuffled elements, fitted and measured.
        wrong_group_r2: R^2 of an exact transport of another group of the same order, fitted to the
            same orbits; None if there is no such group.
        relation_error: max over pairs of ||rho(g) rho(h) - rho(gh)|| / ||I|| of the unconstrained
            fit. That of the exact transport is a rounding error.
        condition_number: Condition number of the exact transport.
        spectrum: Share of the variance in each irrep, in the order of `reps.irreps(group)`.
        equivariance_score: Mean correlation of moved and unmoved activations along canonical
            directions, see `canonical_scores`.
        invariance_score: Mean correlation of moved and unmoved activations along the same axes.
        identity_low: Lower end of the 95% interval of `identity_r2`; None in older records.
        identity_high: Upper end of that interval.
        multiplicities: Copies of each irrep in the exact transport, on the directions along which
            some activation is not 0, in the order of `reps.irreps(group)`, see
            `representation_line`; of maps and token grids, on the channels of their places. A unit
            that is constant counts as one trivial copy. They describe the layer as far as R^2 says
            that it moves this way: directions that no input reaches are not in them. None in older
            records.
    """

    layer: str
    group: str
    order: int
    rank: int
    dim: int
    r2: float
    r2_low: float
    r2_high: float
    free_r2: float
    identity_r2: float
    control_r2: float
    wrong_group_r2: float | None
    relation_error: float
    condition_number: float
    spectrum: tuple[float, ...]
    equivariance_score: float
    invariance_score: float
    identity_low: float | None = None
    identity_high: float | None = None
    multiplicities: tuple[int, ...] | None = None

    @property
    def verdict(self) -> str:
        """How well the group acts on the layer, such as "nearly equivariant", or "none".

        - "equivariant": the interval of R^2 is above 0 and above the shuffled control, and R^2 is
          more than 0.01 above that of the identity.
        - "invariant": otherwise, if the interval and the R^2 of the identity are above 0. The group
          then leaves a part of the activations unchanged, and does nothing else that is measurable.
        - "exactly", "nearly", "mostly", "partly" or "weakly" before it is the band of R^2 (for
          invariance, of that of the identity), see `bands`. Where its interval crosses a bound,
          both ends are named: "partly to mostly equivariant".
        - "none": neither. "none, worse than the mean": neither, and R^2 is below 0.

        For maps and token grids, the verdict is on the channels after their places have moved: a
        map of scalars is invariant.
        """
        if self.r2_low > max(0.0, self.control_r2) and self.r2 > self.identity_r2 + _SAME:
            return f"{bands_of(self.r2_low, self.r2_high)} equivariant"
        if self.r2_low > 0 and self.identity_r2 > 0:
            low = self.identity_r2 if self.identity_low is None else self.identity_low
            high = self.identity_r2 if self.identity_high is None else self.identity_high
            return f"{bands_of(low, high)} invariant"
        return _NONE if self.r2 >= 0 else f"{_NONE}, worse than the mean"

    @property
    def acts(self) -> bool:
        """Whether the group acts on the layer: its verdict is not "none"."""
        return not self.verdict.startswith(_NONE)


@usual_torch()
def measure_layer(
    store: ActivationStore, *, split: _Split | None = None, seed: int = 0
) -> LayerEquivariance:
    """Fit the transports to compare, and measure them on held-out orbits.

    For maps and token grids, all figures are about the mean map of the training orbits, see
    `spatial`; the training orbits are then read twice. Memory does not grow with their number.

    Args:
        store: Activations of one layer.
        split: Samples to fit on and samples to measure on; default `store.split()`.
        seed: Seed of the shuffled control and of the intervals.

    Returns:
        The figures.

    Raises:
        OrbitLensError: If there are too few samples for the whitening, or the activations are
            constant.

    Warns:
        OrbitLensWarning: If the elements of an array that was given seem to be in another order
            than those of the group.

    Example:
        >>> import orbitlens as ol
        >>> toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=500, seed=0)
        >>> found = measure_layer(ol.store_from_array(toy.orbits, group=toy.group))
        >>> found.verdict, round(found.r2, 3)
        ('exactly equivariant', 1.0)
    """
    train, held_out = parts_of(store, split)
    generator = torch.Generator().manual_seed(as_seed(seed))
    other = another_group(store.group)
    check_cost(store, train, passes=2 if other is None else 3)
    sums, mixed = KindSums(store, *(() if other is None else (other,))), KindSums(store)
    mean = _mean_map(store, train)
    for orbits in position_orbits(store, train):
        orbits = orbits - mean
        sums.update(orbits)
        mixed.update(shuffled(orbits, generator))
    fits, free = sums.exact(), sums.unconstrained()
    bound = sums.join(fits)
    predictors = {"exact": bound, "free": free, "identity": identity(store, train)}
    if other is not None:
        predictors["wrong group"] = sums.control(fits, reading=1)
    scores = {name: ScoreSums(motion) for name, motion in predictors.items()}
    control, seen = ScoreSums(mixed.control(fits)), KindSums(store)
    for orbits in position_orbits(store, held_out):
        orbits = orbits - mean
        for each in scores.values():
            each.update(orbits)
        control.update(shuffled(orbits, generator))
        seen.update(orbits)
    found = {name: each.scores(seed=seed) for name, each in scores.items()}
    if not math.isfinite(found["exact"].r2):
        alone = len(held_out) == 1
        raise OrbitLensError(
            f"layer {store.layer!r}",
            expected="activations that vary between inputs",
            received=("one held-out input" if alone else "constant ones")
            + ", of which R^2 has no value",
            remedy="give more inputs, or another `split`"
            if alone
            else "choose another layer, or look into the network and its inputs",
        )
    if found["exact"].r2 < _MOST:
        warn_of_element_order(store, train)
    parts = [bound.core, *(() if bound.tokens is None else bound.tokens)]
    equivariance, invariance = _scores(sums, seen)
    return LayerEquivariance(
        layer=store.layer,
        group=store.group.name,
        order=store.group.order,
        rank=bound.variable,
        dim=store.dim,
        r2=found["exact"].r2,
        r2_low=found["exact"].interval[0],
        r2_high=found["exact"].interval[1],
        free_r2=found["free"].r2,
        identity_r2=found["identity"].r2,
        control_r2=control.scores(seed=seed).r2,
        wrong_group_r2=found["wrong group"].r2 if "wrong group" in found else None,
        relation_error=float(homomorphism_errors(store.group, free.core.double()).max()),
        condition_number=max(condition_number(each) for each in parts),
        spectrum=tuple(symmetry_spectrum(store.group, seen.autocorrelation).tolist()),
        equivariance_score=equivariance,
        invariance_score=invariance,
        identity_low=found["identity"].interval[0],
        identity_high=found["identity"].interval[1],
        multiplicities=span_multiplicities(store.group, bound.core, bound.variable),
    )


def _mean_map(
    store: ActivationStore, samples: Int[np.ndarray, " n"]
) -> Float[Tensor, "position group dim"]:
    """Return the mean of maps and grids at moved positions; zero for vectors."""
    totals = torch.zeros(store.positions, store.group.order, store.dim, dtype=torch.float64)
    if store.positions > 1:
        for orbits in position_orbits(store, samples):
            totals += orbits.sum(0, dtype=torch.float64)
    return move_mean(mean_map(totals / len(samples), store.moves), store)


def _scores(train: KindSums, held_out: KindSums) -> tuple[float, float]:
    """Return the canonical scores of all kinds of positions, weighted by their variance."""
    pairs = zip(train.moments, held_out.moments, strict=True)
    scores = torch.tensor([canonical_scores(fitted, tested) for fitted, tested in pairs])
    power = torch.stack([each.autocorrelation[0] for each in held_out.moments]).clamp_min(0)
    weights = power / power.sum() if power.sum() > 0 else torch.ones_like(power) / len(power)
    equivariance, invariance = (weights @ scores.double()).tolist()
    return equivariance, invariance
