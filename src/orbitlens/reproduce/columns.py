"""The columns of the paper's tables: the SAE, its width and its objective.

Source: Erdogan & Lucic, arXiv 2511.09432, Tables 3 to 5 and Figures 2 to 6. All columns of the
paper have the two-layer TopK encoder. The orbit SAE, which is not in the paper, has a linear one:
with two layers it reconstructs worse and has more parameters.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from orbitlens import objectives
from orbitlens.errors import OrbitLensError
from orbitlens.sae import SAE, archetypal_sae, crosscoder_sae, orbit_sae, topk_sae
from orbitlens.training import Objective
from orbitlens.transport import Transport, move
from orbitlens.typing import Elements, Float, Orbits, Tensor

_WIDE = 4


@dataclass(frozen=True)
class Column:
    """One SAE of the tables.

    Args:
        name: Its name in the tables.
        objective: The objective that it minimises.
        dictionary: The kind of its dictionary.
        width: Its number of latents as a multiple of the narrow number.
        transported: Whether a transport follows it.
    """

    name: str
    objective: Objective
    dictionary: Literal["free", "archetypal", "crosscoder", "orbit"] = "free"
    width: int = 1
    transported: bool = False


COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        Column("vanilla", objectives.reconstruction),
        Column("vanilla_wide", objectives.reconstruction, width=_WIDE),
        Column("archetypal", objectives.reconstruction, "archetypal"),
        Column("archetypal_wide", objectives.reconstruction, "archetypal", _WIDE),
        Column("crosscoder", objectives.orbit_reconstruction, "crosscoder"),
        Column("equivariant_canonical", objectives.canonical, transported=True),
        Column("equivariant_latent", objectives.latent_invariance, transported=True),
        Column("equivariant_output", objectives.output_invariance, transported=True),
        Column("orbit", objectives.orbit_invariance, "orbit"),
    )
}


def build_column(
    column: Column,
    d_in: int,
    latents: int,
    k: int,
    *,
    hidden: int,
    group_order: int,
    candidates: Float[Tensor, "candidates dim"] | None = None,
    transport: Transport | None = None,
    seed: int = 0,
) -> SAE:
    """Build the untrained SAE of a column.

    `latents` is the narrow number: a wide column has four times as many, and an orbit SAE has as
    many atoms. An archetypal column needs `candidates`, centroids of the activations; an orbit
    column needs the exact `transport` of the layer.
    """
    d_sae = column.width * latents
    if column.dictionary == "free":
        return topk_sae(d_in, d_sae, k, hidden=hidden, seed=seed)
    if column.dictionary == "crosscoder":
        return crosscoder_sae(d_in, d_sae, k, group_order, hidden=hidden, seed=seed)
    if column.dictionary == "orbit":
        if transport is None:
            raise _missing(
                "`transport`", "an exact transport", column, '`fit_transport(_, "exact")`'
            )
        return orbit_sae(d_in, d_sae, k, transport, seed=seed)
    if candidates is None:
        raise _missing("`candidates`", "centroids", column, "`kmeans_candidates`")
    return archetypal_sae(candidates, d_sae, k, hidden=hidden, seed=seed)


def _missing(argument: str, wanted: str, column: Column, maker: str) -> OrbitLensError:
    return OrbitLensError(
        argument,
        expected=f"{wanted} of the activations, from which {column.name} is built",
        received=None,
        remedy=f"compute it with {maker}",
    )


def column_objective(column: Column, orbit_weight: float) -> Objective:
    """Return the objective of a column; `orbit_weight` 0 is plain reconstruction."""
    if column.objective is not objectives.orbit_invariance:
        return column.objective
    if orbit_weight == 0:
        return objectives.reconstruction
    return partial(objectives.orbit_invariance, weight=orbit_weight)


@torch.no_grad()
def oriented_reconstruction(
    column: Column, sae: SAE, orbits: Orbits, elements: Elements, transport: Transport
) -> Float[Tensor, "batch dim"]:
    """Reconstruct each sample in its orientation, as the method of a column does.

    An equivariant SAE decodes the oriented sample and moves the result, rho(g) D(E(psi(gx))). A
    crosscoder reads the canonical sample and decodes with the element's block, D_g(E(psi(x))). The
    others decode the oriented sample, D(E(psi(gx))).
    """
    rows = torch.arange(len(orbits))
    if sae.dictionary.orbit_order:
        return sae.dictionary.orbit(sae.encode(orbits[:, 0]))[rows, elements]
    x_hat = sae.decode(sae.encode(orbits[rows, elements]))
    return move(x_hat, elements, transport.matrices) if column.transported else x_hat
