"""Fit a transport by the name of its method, and measure it on held-out orbits."""

import inspect
import math
from typing import Any

import torch

from orbitlens.activations import ActivationStore
from orbitlens.checks import as_axes, usual_torch
from orbitlens.errors import unknown_name, warn
from orbitlens.groups import Group, as_group
from orbitlens.reps import homomorphism_errors
from orbitlens.transport._door import parts_of
from orbitlens.transport._element_order import warn_of_element_order
from orbitlens.transport._token_kinds import position_orbits
from orbitlens.transport.base import Transport
from orbitlens.transport.identity import identity
from orbitlens.transport.scores import ScoreSums
from orbitlens.typing import Matrices, Numbers

_POOR = 0.9


@usual_torch()
def fit_transport(
    store: ActivationStore,
    method: str = "least_squares",
    *,
    split: tuple[Numbers, Numbers] | None = None,
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
        split: Samples to fit on and samples to measure on, each by index or as a boolean mask;
            default `store.split()`.
        settings: Keyword arguments of the method.

    Returns:
        The transport with its held-out figures.

    Raises:
        OrbitLensError: If the method or a setting of it is unknown, or if the method does not suit
            the store.

    Warns:
        OrbitLensWarning: If the activations are constant or only one input is held out, so that R^2
            has no value; if the mean is so large that a part of the variance is within rounding; or
            if the elements of an array that was given seem to be in another order than those of the
            group.

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

    if not isinstance(method, str) or method not in METHODS:
        raise unknown_name("`method` of the transport", method, METHODS)
    known = list(inspect.signature(METHODS[method]).parameters)[2:]
    for name in settings:
        if name not in known:
            raise unknown_name(f"setting of the transport {method}", name, known or ["none"])
    train, held_out = parts_of(store, split)
    # Relations are measured before rounding, because an exact transport obeys them in float64.
    wide = METHODS[method](store, train, **settings).to(torch.float64)
    parts = [wide.core, *(() if wide.tokens is None else wide.tokens)]
    # The motion is the identity beside its basis, so that ||I|| is larger than that of its core.
    share = (wide.core.shape[-1] / wide.dim) ** 0.5
    motion = wide.to(torch.float32)
    learned, still = ScoreSums(motion), ScoreSums(identity(store, train))
    for orbits in position_orbits(store, held_out):
        learned.update(orbits)
        still.update(orbits)
    scores, unmoved = learned.scores(), still.scores()
    if not math.isfinite(scores.r2):
        alone = len(held_out) == 1
        warn(
            f"layer {store.layer!r}",
            found=("only one input is held out" if alone else "its activations are constant")
            + ", so that R^2 has no value",
            remedy="give more inputs, or another `split`"
            if alone
            else "choose another layer, or look into the network and its inputs",
        )
    elif scores.r2 < _POOR and method != "identity":
        warn_of_element_order(store, train)
    return Transport(
        group=store.group,
        motion=motion,
        method=method,
        r2=scores.r2,
        r2_interval=scores.interval,
        r2_per_element=scores.per_element,
        identity_r2=unmoved.r2,
        identity_r2_per_element=unmoved.per_element,
        relation_error=share
        * max(homomorphism_errors(store.group, each).max().item() for each in parts),
        order_errors={
            name: share * error for name, error in order_errors(store.group, wide.core).items()
        },
        condition_number=max(_condition(each, beside=wide.basis is not None) for each in parts),
        source=f"{store.model}:{store.layer}",
    )


def order_errors(group: Group | str, matrices: Numbers) -> dict[str, float]:
    """Measure ||M^n - I||_F / ||I||_F for each generator by name, with n its order in the group."""
    group = as_group(group)
    matrices = as_axes("matrices", matrices, "group dim dim", sizes={"group": group.order})
    eye = torch.eye(matrices.shape[-1], dtype=matrices.dtype)
    errors = {}
    for g in group.generators:
        power = torch.linalg.matrix_power(matrices[g], group.element_order(g))
        errors[group.element_names[g]] = torch.linalg.matrix_norm(power - eye) / len(eye) ** 0.5
    return {name: error.item() for name, error in errors.items()}


def condition_number(matrices: Numbers) -> float:
    """Return the largest ratio of singular values, max over g of s_max(g) / s_min(g).

    It is 1 for orthogonal matrices, and infinite if a matrix has no inverse.
    """
    found = as_axes("matrices", matrices, "group dim dim", least=1)
    # Halves have no singular values.
    return _condition(found.double() if found.element_size() < 4 else found, beside=False)


def _condition(matrices: Matrices, *, beside: bool) -> float:
    """Return the condition number; `beside` counts the singular value 1 of all other directions."""
    values = torch.linalg.svdvals(matrices)
    largest, smallest = values[:, 0], values[:, -1]
    if beside:
        largest, smallest = largest.clamp_min(1), smallest.clamp_max(1)
    return float((largest / smallest).max())
