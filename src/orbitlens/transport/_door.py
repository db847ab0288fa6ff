"""Stores and samples at the door of every transport."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from jaxtyping import Int64

from orbitlens.activations import ActivationStore
from orbitlens.checks import as_samples, usual_torch
from orbitlens.errors import OrbitLensError
from orbitlens.transport.motion import Motion

_Samples = Int64[np.ndarray, " chosen"]


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
    """Return the samples to fit on and to measure on; None stands for `store.split()`."""
    if split is None:
        return check_store(store).split()
    if not isinstance(split, tuple | list) or len(split) != 2:
        raise OrbitLensError(
            "`split`",
            expected="two sets of samples, (train, held_out)",
            received=type(split).__name__,
            remedy="leave it out for `store.split()`",
        )
    train, held_out = split
    return (
        some_samples(check_store(store), train, "split[0]"),
        some_samples(store, held_out, "split[1]"),
    )


def fits(method: Callable[..., Motion]) -> Callable[..., Motion]:
    """Check the store and the samples of a method, and run it in the usual state of torch."""

    @wraps(method)
    def checked(store: ActivationStore, train: Any, **settings: Any) -> Motion:
        samples = some_samples(check_store(store), train, "train")
        with usual_torch():
            return method(store, samples, **settings)

    return checked
