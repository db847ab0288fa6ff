"""The transport of an SAE that is shown: the one in its dictionary, or one that is fitted."""

from orbitlens.activations import ActivationStore
from orbitlens.errors import DamageError, OrbitLensError
from orbitlens.io._transports import check_built_on, matrices_in
from orbitlens.reps import homomorphism_errors
from orbitlens.sae import SAE, OrbitDictionary
from orbitlens.transport import (
    Motion,
    Transport,
    condition_number,
    fit_exact,
    fit_transport,
    identity,
    order_errors,
    transport_scores,
)


def transport_of(
    sae: SAE, store: ActivationStore, given: Transport | None
) -> tuple[Transport, list[str]]:
    """Return the transport that measures an SAE on a store, and notes on it.

    It is the one given, after a check; that of an orbit SAE's dictionary; or else the exact one, or
    a least-squares one where no exact one can be fitted.
    """
    if given is not None:
        given.check_fits(store.group, store.dim)
        if isinstance(sae.dictionary, OrbitDictionary):
            check_built_on(sae, given)
        return given, []
    if isinstance(sae.dictionary, OrbitDictionary):
        return _in_dictionary(sae.dictionary, store), []
    try:
        return fit_exact(store), []
    except DamageError:
        raise
    except OrbitLensError as error:
        if isinstance(error.__cause__, OSError):
            raise  # the disk, not the layer
        return fit_transport(store), [f"The transport is no representation. {error}."]


def _in_dictionary(dictionary: OrbitDictionary, store: ActivationStore) -> Transport:
    """Return the transport that an orbit dictionary is tied by, measured on held-out orbits."""
    matrices, (train, held_out) = matrices_in(dictionary).float(), store.split()
    motion = Motion(matrices, variable=store.dim)
    scores = transport_scores(store, held_out, motion)
    unmoved = transport_scores(store, held_out, identity(store, train))
    return Transport(
        group=store.group,
        motion=motion,
        method="orbit_dictionary",
        r2=scores.r2,
        r2_interval=scores.interval,
        r2_per_element=scores.per_element,
        identity_r2=unmoved.r2,
        identity_r2_per_element=unmoved.per_element,
        relation_error=homomorphism_errors(store.group, matrices.double()).max().item(),
        order_errors=order_errors(store.group, matrices),
        condition_number=condition_number(matrices),
        source=f"{store.model}:{store.layer}",
    )
