"""Fit a transport and measure it on orbits that it has not seen."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from orbitlens.activations import ActivationStore
from orbitlens.errors import unknown_name
from orbitlens.groups import Group
from orbitlens.metrics.reconstruction import ReconstructionStats
from orbitlens.reps import homomorphism_errors
from orbitlens.transport.base import Transport
from orbitlens.transport.exact import exact
from orbitlens.transport.gradient import gradient
from orbitlens.transport.identity import identity
from orbitlens.transport.least_squares import least_squares
from orbitlens.typing import Float, Int, Matrices, Tensor

METHODS: dict[str, Callable[..., Matrices]] = {
    "identity": identity,
    "gradient": gradient,
    "least_squares": least_squares,
    "exact": exact,
}


def fit_transport(
    store: ActivationStore,
    method: str = "least_squares",
    *,
    split: tuple[Int[np.ndarray, " train"], Int[np.ndarray, " held_out"]] | None = None,
    **settings: Any,
) -> Transport:
    """Fit rho on the training orbits of a store and measure it on its held-out orbits.

    Args:
        store: Activations of orbits.
        method: "identity", "gradient" (the paper's), "least_squares" (closed form, default) or
            "exact" (a true representation).
        split: Samples to fit on and samples to measure on; default `store.split()`.
        settings: Keyword arguments of the method.

    Returns:
        The transport with its held-out figures.

    Raises:
        OrbitLensError: If the method is unknown.

    Example:
        >>> import orbitlens as ol
        >>> toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=500, seed=0)
        >>> store = ol.store_from_array(toy.orbits, group=toy.group)
        >>> rho = fit_transport(store)
        >>> round(rho.r2, 3), rho.identity_r2 < 0.1
        (1.0, True)
    """
    if method not in METHODS:
        raise unknown_name("`method` of the transport", method, METHODS)
    train, held_out = store.split() if split is None else split
    matrices = METHODS[method](store, train, **settings)
    # Relations are measured before rounding: an exact transport holds them in float64.
    wide = matrices.double()
    matrices = matrices.float()
    r2, per_element = transport_r2(store, held_out, matrices)
    identity_r2, identity_per_element = transport_r2(store, held_out, identity(store, train))
    return Transport(
        group=store.group,
        matrices=matrices,
        method=method,
        r2=r2,
        r2_per_element=per_element,
        identity_r2=identity_r2,
        identity_r2_per_element=identity_per_element,
        relation_error=homomorphism_errors(store.group, wide).max().item(),
        order_errors=order_errors(store.group, wide),
        source=f"{store.model}:{store.layer}",
    )


def transport_r2(
    store: ActivationStore, samples: Int[np.ndarray, " n"], matrices: Matrices
) -> tuple[float, Float[Tensor, " group"]]:
    """Measure R^2 of psi(gx) ~ rho(g) psi(x), streamed in float64.

    Args:
        store: Activations of orbits.
        samples: Samples to measure on, shape [n].
        matrices: rho(g) for every element, shape [|G|, dim, dim].

    Returns:
        R^2 over all elements but the identity, and R^2 per element of shape [|G|]. Where the target
        has no variance it is 1 for an exact prediction and minus infinity otherwise.
    """
    stats = [ReconstructionStats() for _ in range(store.group.order)]
    for orbits in store.chunks(samples):
        for g, element in enumerate(stats):
            element.update(orbits[:, g], orbits[:, 0] @ matrices[g].T)
    residual = sum(element.residual.item() for element in stats[1:])
    total = sum(element.total.item() for element in stats[1:])
    r2 = 1.0 - residual / total if total else (1.0 if residual == 0 else -math.inf)
    return r2, torch.stack([element.explained_variance for element in stats]).float()


def order_errors(group: Group, matrices: Matrices) -> dict[str, float]:
    """Measure ||M^n - I||_F / ||I||_F for each generator, n being its order in the group.

    Args:
        group: The group.
        matrices: rho(g) for every element, shape [|G|, dim, dim].

    Returns:
        One error per generator, under the generator's name.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> order_errors(cyclic(2), torch.tensor([[[1.0]], [[3.0]]]))
        {'r': 8.0}
    """
    dim = matrices.shape[-1]
    eye = torch.eye(dim, dtype=matrices.dtype)
    return {
        group.element_names[g]: (
            torch.linalg.matrix_norm(
                torch.linalg.matrix_power(matrices[g], group.element_order(g)) - eye
            )
            / dim**0.5
        ).item()
        for g in group.generators
    }
