"""The orbit SAE of a run: the transport it is built on, its parts and its objective."""

from functools import partial

import numpy as np

from orbitlens import objectives
from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.pipeline.config import RunConfig
from orbitlens.sae import SAE, orbit_sae
from orbitlens.training.views import Objective
from orbitlens.transport import Transport, fit_transport
from orbitlens.transport._token_kinds import tokens_before_places
from orbitlens.typing import Int

Split = tuple[Int[np.ndarray, " train"], Int[np.ndarray, " held_out"]]

ORBIT = "orbit"
_EXACT = ("exact", "spatial", "low_rank", "lie")


def check_pairs(config: RunConfig, group: Group) -> None:
    """Check that an orbit SAE has the pairs (element, atom) that are to be active.

    Raises:
        OrbitLensError: If `k` is above their number.
    """
    pairs = group.order * config.atoms
    if config.k > pairs:
        raise OrbitLensError(
            "`k` of the orbit SAE",
            expected=f"at most {pairs}, {config.atoms} atoms in {group.order} orientations",
            received=config.k,
            remedy="lower k or raise n_atoms",
        )


def serves_orbit_saes(transport: Transport) -> bool:
    """Say whether a transport is a representation that moves every row of a store alike."""
    return transport.method in _EXACT and transport.motion.tokens is None


def fit_exact(store: ActivationStore, *, split: Split | None = None) -> Transport:
    """Fit an exact transport that an orbit SAE can be built on.

    Places of a map move by one channel matrix, "spatial". Class token and patches would get
    matrices of their own, but SAEs share their latents between all positions, so there it is one
    matrix for every position, "exact". Of layers with more directions than half their training
    activations, as many directions as these determine are kept, "low_rank".

    Args:
        store: Activations of orbits.
        split: Samples to fit on and samples to measure on; default `store.split()`.

    Returns:
        The transport.

    Raises:
        OrbitLensError: If no exact transport can be fitted.
    """
    seen = (store.split() if split is None else split)[0]
    determined = len(seen) * store.positions * store.group.order // 2
    if determined < store.dim:
        return fit_transport(store, "low_rank", rank=max(1, determined), split=split)
    places = store.positions > 1 and tokens_before_places(store) == 0
    return fit_transport(store, "spatial" if places else "exact", split=split)


def build_orbit(config: RunConfig, d_in: int, transport: Transport) -> SAE:
    """Build the untrained orbit SAE that the settings describe.

    Raises:
        OrbitLensError: If the transport is not exact, or moves tokens by matrices of their own.
    """
    # A linear encoder, whatever `hidden` says: with the two layers of the paper's encoder the
    # reconstruction was up to 100 times worse.
    return orbit_sae(
        d_in, config.atoms, config.k, transport, sparsity=config.sparsity, seed=config.seed
    )


def orbit_objective(config: RunConfig) -> Objective:
    """Return what the orbit SAE minimises: the one place where its weight is decided."""
    if config.orbit_weight == 0:
        return objectives.reconstruction
    return partial(objectives.orbit_invariance, weight=config.orbit_weight)
