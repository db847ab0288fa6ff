"""One training at a time for an SAE: two would write into the same weights."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from orbitlens.errors import OrbitLensError
from orbitlens.sae import SAE

_lock = threading.Lock()
_in_training = set[int]()


@contextmanager
def alone_with(saes: Sequence[SAE]) -> Iterator[None]:
    """Keep every other training in this process away from the weights of some SAEs."""
    weights = {id(each) for sae in saes for each in sae.parameters()}
    with _lock:
        if weights & _in_training:
            raise OrbitLensError(
                "`sae`",
                expected="one training at a time for an SAE",
                received="one that another call of `fit` is training",
                remedy="wait until that one has ended, or train a copy (copy.deepcopy)",
            )
        _in_training.update(weights)
    try:
        yield
    finally:
        with _lock:
            _in_training.difference_update(weights)
