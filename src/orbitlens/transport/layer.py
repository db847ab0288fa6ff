"""What the group does to one layer: every figure that the report of a network shows."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from orbitlens.activations import ActivationStore
from orbitlens.reps import homomorphism_errors
from orbitlens.transport._token_kinds import KindSums, at_moved_places, grids, mean_map
from orbitlens.transport.canonical import canonical_scores
from orbitlens.transport.controls import read_as_another_group, shuffled
from orbitlens.transport.fit_transport import condition_number
from orbitlens.transport.identity import identity
from orbitlens.transport.scores import ScoreSums
from orbitlens.transport.spectrum import symmetry_spectrum
from orbitlens.typing import Float, Tensor

_SAME = 0.01
_MOST = 0.9

Split = tuple[Int[np.ndarray, " train"], Int[np.ndarray, " held_out"]]


@dataclass(frozen=True)
class LayerEquivariance:
    """What was measured on the held-out orbits of one layer.

    Args:
        layer: Its name.
        group: The name of the group.
        order: Its order.
        rank: Directions with variance, which the exact transport moves; of `dim`.
        dim: Width of the activations.
        r2: R^2 of the exact transport; of maps and token grids the spatial one.
        r2_low: Lower end of its 95% interval.
        r2_high: Upper end.
        free_r2: R^2 of the unconstrained least-squares fit.
        identity_r2: R^2 of rho = I.
        control_r2: R^2 of an exact transport fitted to and measured on orbits whose elements are
            shuffled, each orbit by itself.
        wrong_group_r2: R^2 of an exact transport of another group of the same order, fitted to the
            same orbits; None where there is no other.
        relation_error: max over pairs of ||rho(g) rho(h) - rho(gh)|| / ||I|| of the unconstrained
            fit; that of the exact one is rounding.
        condition_number: Of the exact transport.
        spectrum: Share of the variance in each irrep, in the order of `reps.irreps(group)`.
        equivariance_score: Mean canonical correlation of moved and unmoved activations.
        invariance_score: The same along the same directions.
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

    @property
    def verdict(self) -> str:
        """Say whether the group acts on the layer.

        "equivariant" where the interval of R^2 is above 0 and above the shuffled control, and R^2
        above that of the identity by more than 0.01; else "invariant" where the identity explains
        something and the interval is above 0: what the group does is no more than to leave a part
        alone; else "none". "partly" where R^2, for invariance that of the identity, is below 0.9.
        Of maps and token grids that is said of the channels, after their places have moved: a map
        of scalars is invariant.
        """
        if self.r2_low > max(0.0, self.control_r2) and self.r2 > self.identity_r2 + _SAME:
            return "equivariant" if self.r2 >= _MOST else "partly equivariant"
        if self.r2_low > 0 and self.identity_r2 > 0:
            return "invariant" if self.identity_r2 >= _MOST else "partly invariant"
        return "none"


def measure_layer(
    store: ActivationStore, *, split: Split | None = None, seed: int = 0
) -> LayerEquivariance:
    """Fit every transport that is compared, and measure them on held-out orbits.

    Of maps and token grids all of it is about the mean map of the training orbits, see `spatial`;
    these are read twice. Memory does not grow with the number of orbits.

    Args:
        store: Activations of one layer.
        split: Samples to fit on and samples to measure on; default `store.split()`.
        seed: Seed of the shuffled control and of the resampling.

    Returns:
        The figures.

    Raises:
        OrbitLensError: If there are too few samples for the whitening.

    Example:
        >>> import orbitlens as ol
        >>> toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=500, seed=0)
        >>> found = measure_layer(ol.store_from_array(toy.orbits, group=toy.group))
        >>> found.verdict, round(found.r2, 3)
        ('equivariant', 1.0)
    """
    train, held_out = store.split() if split is None else split
    generator = torch.Generator().manual_seed(seed)
    other = read_as_another_group(store.group)
    sums, mixed = KindSums(store, *(() if other is None else (other,))), KindSums(store)
    mean = _mean_map(store, train)
    for orbits in grids(store, train):
        orbits = orbits - mean
        sums.update(orbits)
        mixed.update(shuffled(orbits, generator))
    fits, free = sums.exact(), sums.unconstrained()
    bound = sums.joined(fits)
    predictors = {"exact": bound, "free": free, "identity": identity(store, train)}
    if other is not None:
        predictors["wrong group"] = sums.control(fits, reading=1)
    scores = {name: ScoreSums(motion) for name, motion in predictors.items()}
    control, seen = ScoreSums(mixed.control(fits)), KindSums(store)
    for orbits in grids(store, held_out):
        orbits = orbits - mean
        for each in scores.values():
            each.update(orbits)
        control.update(shuffled(orbits, generator))
        seen.update(orbits)
    found = {name: each.scores(seed=seed) for name, each in scores.items()}
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
    )


def _mean_map(
    store: ActivationStore, samples: Int[np.ndarray, " n"]
) -> Float[Tensor, "position group dim"]:
    """The mean of maps and grids where each element takes each position; zero for vectors."""
    totals = torch.zeros(store.positions, store.group.order, store.dim, dtype=torch.float64)
    if store.positions > 1:
        for orbits in grids(store, samples):
            totals += orbits.sum(0, dtype=torch.float64)
    return at_moved_places(mean_map(totals / len(samples), store.moves), store)


def _scores(train: KindSums, held_out: KindSums) -> tuple[float, float]:
    """Canonical scores of all kinds, weighted by their variance."""
    pairs = zip(train.moments, held_out.moments, strict=True)
    scores = torch.tensor([canonical_scores(fitted, tested) for fitted, tested in pairs])
    power = torch.stack([each.autocorrelation[0] for each in held_out.moments]).clamp_min(0)
    weights = power / power.sum() if power.sum() > 0 else torch.ones_like(power) / len(power)
    equivariance, invariance = (weights @ scores.double()).tolist()
    return equivariance, invariance
