"""Choose the weight of invariance of an orbit SAE's pooled codes, without labels.

With more weight, pooled codes depend more on the content of an input and less on its orientation,
and reconstruction gets worse. Held-out orbits show by how much; the rule below accepts a limit.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from orbitlens import objectives
from orbitlens.activations import ActivationStore
from orbitlens.checks import as_number, as_seed, usual_torch
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.metrics import invariance_error, normalised_mse
from orbitlens.sae import SAE, orbit_dictionary
from orbitlens.training._checks import as_saes, training_samples
from orbitlens.training.fit import FitResult, fit
from orbitlens.typing import Numbers

_WEIGHTS = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0)
_HELD_OUT = 0.2
_FEWEST = 2


@dataclass(frozen=True)
class WeightChoice:
    """The figures of each weight on held-out orbits.

    Args:
        chosen: The weight that the rule chooses.
        weights: All weights, in increasing order.
        normalised_mse: Reconstruction error of each.
        invariance_error: Change of pooled codes along orbits of each, see
            `metrics.invariance_error`.
    """

    chosen: float
    weights: tuple[float, ...]
    normalised_mse: tuple[float, ...]
    invariance_error: tuple[float, ...]


@usual_torch()
def choose_orbit_weight(
    build: Callable[[], SAE],
    store: ActivationStore,
    *,
    weights: Sequence[float | int] = _WEIGHTS,
    allowance: float | int = 0.5,
    samples: Numbers | None = None,
    seed: int = 0,
    **settings: Any,
) -> WeightChoice:
    """Choose the lambda of `objectives.orbit_invariance` on held-out orbits.

    One SAE for each weight is trained on four fifths of the orbits, all as one stack, and measured
    on the other fifth. The rule chooses the largest weight whose normalised MSE is at most
    (1 + allowance) times the lowest. Where no error is below 1, that of the mean, nothing speaks
    for a weight, and the rule chooses the smallest.

    Args:
        build: A function that builds the untrained orbit SAE.
        store: Activations of orbits.
        weights: Weights to try, 0 or more.
        allowance: The share of the lowest error by which reconstruction may get worse, default 0.5.
        samples: Samples to choose on, as indices or as a boolean mask; default the training part of
            `store.split()`, so that its held-out part stays unseen.
        seed: Seed of the split and of the training.
        settings: Further settings of `fit`.

    Returns:
        The chosen weight and the figures of all.

    Raises:
        OrbitLensError: If there is no weight, one is negative, or the SAE is no orbit SAE.

    Example:
        >>> import orbitlens as ol
        >>> toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=400, seed=0)
        >>> store = ol.store_from_array(toy.orbits, group=toy.group)
        >>> rho = ol.fit_transport(store, "exact")
        >>> build = lambda: ol.sae.orbit_sae(16, 8, 3, rho)
        >>> choose_orbit_weight(build, store, weights=(0, 1), epochs=2).weights
        (0.0, 1.0)
    """
    given: object = weights
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise out_of_range("weights", "a list of numbers from 0", given, "such as 0, 1, 10")
    if not callable(build):
        raise out_of_range(
            "build",
            "a function that builds the SAE",
            type(build).__name__,
            "write for example lambda: orbit_sae(...)",
        )
    weights = list(given)
    tried = tuple(sorted(float(as_number("weights", each)) for each in weights))
    if not tried or tried[0] < 0:
        raise OrbitLensError(
            "`weights`",
            expected="at least one number from 0",
            received=list(weights),
            remedy="give weights to try, such as 0, 1, 10",
        )
    if not as_number("allowance", allowance, "0 or more") >= 0:
        raise out_of_range("allowance", "0 or more", allowance)
    own, seed = training_samples(samples, store), as_seed(seed)
    if len(own) < _FEWEST:
        raise OrbitLensError(
            "`samples`",
            expected="at least two, to train on some and to measure on others",
            received=len(own),
            remedy="give more samples",
        )
    order = np.random.default_rng(seed).permutation(own)
    held_out, seen = np.split(order, [max(1, round(_HELD_OUT * len(own)))])
    results = fit(
        as_saes([build() for _ in tried]),
        store,
        objective=[partial(objectives.orbit_invariance, weight=weight) for weight in tried],
        samples=np.sort(seen),
        seed=seed,
        **settings,
    )
    orbits = store.orbits(np.sort(held_out))
    errors, drifts = zip(*(_figures(result, orbits) for result in results), strict=True)
    lowest = min((error for error in errors if error < 1), default=-math.inf)
    affordable = [
        weight
        for weight, error in zip(tried, errors, strict=True)
        if error <= (1 + allowance) * lowest
    ]
    return WeightChoice(max(affordable, default=tried[0]), tried, errors, drifts)


@torch.no_grad()
def _figures(result: FitResult, orbits: torch.Tensor) -> tuple[float, float]:
    """Return both figures of a trained SAE; those of one that diverged are no numbers."""
    if result.status != "completed":
        return math.nan, math.nan
    flat = orbits.flatten(0, 1)
    output = result.sae(flat)
    pooled = orbit_dictionary(result.sae).pooled(output.codes).unflatten(0, orbits.shape[:2])
    return normalised_mse(flat, output.x_hat).item(), invariance_error(pooled).item()
