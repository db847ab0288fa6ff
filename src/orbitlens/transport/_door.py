"""Stores and samples at the door of every transport."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from jaxtyping import Int64

from orbitlens.activations import ActivationStore
from orbitlens.activations.store import check_store
from orbitlens.checks import as_samples, usual_torch
from orbitlens.errors import OrbitLensError, warn
from orbitlens.transport.motion import Motion

_Samples = Int64[np.ndarray, " chosen"]


def some_samples(store: ActivationStore, samples: object, name: str = "samples") -> _Samples:
    """Return at least one sample of a store, given by index or by a boolean mask."""
    chosen = as_samples(samples, store.n, name)
    if not len(chosen):
        raise OrbitLensError(
            f"`{name}`",
            expected="at least one sample",
            received="none",
            remedy="choose samples of the store",
        )
    return chosen


def parts_of(
    store: ActivationStore, split: object
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " held_out"]]:
    """Return the samples to fit on and to measure on; None stands for `store.split()`.

    Samples that are in both are warned of.
    """
    if split is None:
        return check_store(store).split()
    if not isinstance(split, tuple | list) or len(split) != 2:
        raise OrbitLensError(
            "`split`",
            expected="two sets of samples, (train, held_out)",
            received=type(split).__name__,
            remedy="leave it out for `store.split()`",
        )
    train = some_samples(check_store(store), split[0], "split[0]")
    held_out = some_samples(store, split[1], "split[1]")
    if both := int(np.isin(held_out, train).sum()):
        warn(
            "`split`",
            found=f"{both} of {len(held_out)} samples to measure on are also fitted on, which "
            "makes figures look better than they are",
            remedy="leave them out of one of the two",
        )
    return train, held_out


def fits(method: Callable[..., Motion]) -> Callable[..., Motion]:
    """Check the store and the samples of a method, and run it in the usual state of torch."""

    @wraps(method)
    def checked(store: ActivationStore, train: Any, **settings: Any) -> Motion:
        samples = some_samples(check_store(store), train, "train")
        with usual_torch():
            return method(store, samples, **settings)

    return checked
