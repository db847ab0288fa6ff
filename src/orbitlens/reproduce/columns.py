"""The columns of the paper's tables: which SAE, how wide, and trained on what.

Source: Erdogan & Lucic, arXiv 2511.09432, Tables 3 to 5 and Figures 2 to 6. All columns of the
paper have the two-layer TopK encoder. The orbit SAE, which is not in the paper, has a linear one:
with two layers it reconstructs worse, and has more parameters.
"""

from dataclasses import dataclass
from typing import Literal

from orbitlens import objectives
from orbitlens.errors import OrbitLensError
from orbitlens.sae import SAE, archetypal_sae, crosscoder_sae, orbit_sae, topk_sae
from orbitlens.training.views import Objective
from orbitlens.transport import Transport
from orbitlens.typing import Float, Tensor

WIDE = 4


@dataclass(frozen=True)
class Column:
    """One SAE of the tables.

    Args:
        name: Its name in the tables.
        objective: What it minimises.
        dictionary: Its dictionary.
        width: Times the narrow number of latents.
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
        Column("vanilla_wide", objectives.reconstruction, width=WIDE),
        Column("archetypal", objectives.reconstruction, "archetypal"),
        Column("archetypal_wide", objectives.reconstruction, "archetypal", WIDE),
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

    Args:
        column: Which.
        d_in: Width of the activations.
        latents: Narrow number of latents; a wide column has four times as many, an orbit SAE as
            many atoms.
        k: Latents kept per sample.
        hidden: Width of the encoder's hidden layer.
        group_order: |G|; a crosscoder has a block of directions for each element.
        candidates: Centroids of the activations for an archetypal column, shape [candidates, dim].
        transport: An exact transport of the layer, for an orbit column.
        seed: Seed of all weights, default 0.

    Returns:
        The SAE.

    Raises:
        OrbitLensError: If an archetypal column gets no candidates, or an orbit column no transport.

    Example:
        >>> sae = build_column(COLUMNS["vanilla_wide"], 16, 8, 3, hidden=64, group_order=4)
        >>> sae.d_sae
        32
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
