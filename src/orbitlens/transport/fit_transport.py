"""Fit a transport by the name of its method, and measure it on held-out orbits."""

import inspect
from typing import Any

import numpy as np
import torch

from orbitlens.activations import ActivationStore
from orbitlens.errors import unknown_name
from orbitlens.groups import Group
from orbitlens.reps import homomorphism_errors
from orbitlens.transport._token_kinds import position_orbits
from orbitlens.transport.base import Transport
from orbitlens.transport.identity import identity
from orbitlens.transport.scores import ScoreSums
from orbitlens.typing import Int, Matrices


def fit_transport(
    store: ActivationStore,
    method: str = "least_squares",
    *,
    split: tuple[Int[np.ndarray, " train"], Int[np.ndarray, " held_out"]] | None = None,
    **settings: Any,
) -> Transport:
    """Fit rho on the training orbits of a store and measure it on its held-out orbits.

    Every method but "gradient" reads each orbit once, in memory that does not grow with the number
    of orbits; "gradient" makes many passes.

    Args:
        store: Activations of orbits.
        method: "least_squares" (closed form, the default); "exact" (a representation); "spatial"
            (exact, for maps and token grids); "low_rank" (exact, on the leading directions of wide
            activations); "lie" (any angle, from equal turns); "gradient" (the paper's); or
            "identity".
        split: Samples to fit on and samples to measure on; default `store.split()`.
        settings: Keyword arguments of the method.

    Returns:
        The transport with its held-out figures.

    Raises:
        OrbitLensError: If the method or a setting of it is unknown, or if the method does not suit
            the store.

    Example:
        >>> import orbitlens as ol
        >>> toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=500, seed=0)
        >>> store = ol.store_from_array(toy.orbits, group=toy.group)
        >>> rho = fit_transport(store)
        >>> round(rho.r2, 3), rho.identity_r2 < 0.1
        (1.0, True)
    """
    # At the call: the face, which knows every method, imports this file.
    from orbitlens.transport import METHODS

    if method not in METHODS:
        raise unknown_name("`method` of the transport", method, METHODS)
    known = list(inspect.signature(METHODS[method]).parameters)[2:]
    for name in settings:
        if name not in known:
            raise unknown_name(f"setting of the transport {method}", name, known or ["none"])
    train, held_out = store.split() if split is None else split
    # Relations are measured before rounding, because an exact transport obeys them in float64.
    wide = METHODS[method](store, train, **settings).to(torch.float64)
    parts = [wide.core, *(() if wide.tokens is None else wide.tokens)]
    motion = wide.to(torch.float32)
    learned, still = ScoreSums(motion), ScoreSums(identity(store, train))
    for orbits in position_orbits(store, held_out):
        learned.update(orbits)
        still.update(orbits)
    scores, unmoved = learned.scores(), still.scores()
    return Transport(
        group=store.group,
        motion=motion,
        method=method,
        r2=scores.r2,
        r2_interval=scores.interval,
        r2_per_element=scores.per_element,
        identity_r2=unmoved.r2,
        identity_r2_per_element=unmoved.per_element,
        relation_error=max(homomorphism_errors(store.group, each).max().item() for each in parts),
        order_errors=order_errors(store.group, wide.core),
        condition_number=max(condition_number(each) for each in parts),
        source=f"{store.model}:{store.layer}",
    )


def order_errors(group: Group, matrices: Matrices) -> dict[str, float]:
    """Measure ||M^n - I||_F / ||I||_F for each generator by name, with n its order in the group."""
    eye = torch.eye(matrices.shape[-1], dtype=matrices.dtype)
    errors = {}
    for g in group.generators:
        power = torch.linalg.matrix_power(matrices[g], group.element_order(g))
        errors[group.element_names[g]] = torch.linalg.matrix_norm(power - eye) / len(eye) ** 0.5
    return {name: error.item() for name, error in errors.items()}


def condition_number(matrices: Matrices) -> float:
    """Return the largest ratio of singular values, max over g of s_max(g) / s_min(g).

    It is 1 for orthogonal matrices, and infinite if a matrix has no inverse.
    """
    values = torch.linalg.svdvals(matrices)
    return float((values[:, 0] / values[:, -1]).max())
