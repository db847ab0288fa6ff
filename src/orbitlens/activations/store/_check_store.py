"""A store at the door."""

from orbitlens.activations.store.activation_store import ActivationStore
from orbitlens.errors import OrbitLensError


def check_store(store: object) -> ActivationStore:
    """Return a store of orbits; anything else is an error."""
    if not isinstance(store, ActivationStore):
        raise OrbitLensError(
            "`store`",
            expected="an activation store",
            received=type(store).__name__,
            remedy="put an array [n, |G|, dim] into one with `store_from_array`",
        )
    return store
