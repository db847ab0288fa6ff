"""Checks of the arguments of `fit`, before anything is changed."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from orbitlens.activations import ActivationStore
from orbitlens.activations.store import address_of
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name
from orbitlens.sae import SAE
from orbitlens.training._settings import DEFAULTS
from orbitlens.training._views import Objective, views_of

_T = TypeVar("_T")
_ABOVE_ZERO = ("epochs", "batch_size", "lr", "dead_after", "memory_gib", "checkpoint_seconds")


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check that settings are known and numbers in range; `settings` has all of them."""
    for name in settings:
        if name not in DEFAULTS:
            raise unknown_name("setting of `fit`", name, DEFAULTS)
    for name in _ABOVE_ZERO:
        if not 0 < settings[name] < math.inf:
            raise out_of_range(name, "above 0", settings[name])
    if not 0 <= settings["revival_weight"] < math.inf:
        raise out_of_range("revival_weight", "0 or more", settings["revival_weight"])
    if not 0 <= settings["lr_decay"] <= 1:
        raise out_of_range("lr_decay", "a share from 0 to 1", settings["lr_decay"])


def local_file(checkpoint: Path | str) -> Path:
    """Return the path of a checkpoint, which is not at a URL."""
    place = address_of(checkpoint)
    if isinstance(place, str):
        raise OrbitLensError(
            "`checkpoint`",
            expected="a local file",
            received=place,
            remedy="give a path, and copy the file from there",
        )
    return place


def one_each(name: str, value: _T | Sequence[_T], count: int) -> list[_T]:
    """Return one value for each of `count` SAEs."""
    if not isinstance(value, Sequence | np.ndarray):
        return [value] * count
    if len(value) != count or count == 0:
        raise OrbitLensError(
            f"`{name}`",
            expected=f"one for all, or one for each of the {count} SAEs",
            received=len(value),
            remedy="give lists of equal length, at least one SAE",
        )
    return list(value)


def check_members(
    saes: Sequence[SAE], stores: Sequence[ActivationStore], objectives: Sequence[Objective]
) -> None:
    """Check that SAEs, stores and objectives fit together."""
    if not saes or len({id(sae) for sae in saes}) != len(saes):
        raise OrbitLensError(
            "`sae`",
            expected="at least one SAE, each of them once",
            received=f"{len(saes)}, {len({id(sae) for sae in saes})} of them different",
            remedy="build one SAE for each member",
        )
    for sae, store, objective in zip(saes, stores, objectives, strict=True):
        _check_pair(sae, store, views_of(objective))


def _check_pair(sae: SAE, store: ActivationStore, names: Sequence[str]) -> None:
    if sae.d_in != store.dim:
        raise OrbitLensError(
            "`sae`",
            expected=f"d_in = {store.dim}, the width of the store",
            received=sae.d_in,
            remedy=f"build the SAE with d_in={store.dim}",
        )
    sae.dictionary.check_views(names)
    blocks = sae.dictionary.orbit_order
    if blocks and blocks != store.group.order:
        raise OrbitLensError(
            "`store`",
            expected=f"orbits of {blocks} elements, as the crosscoder",
            received=store.group.order,
            remedy="build the crosscoder with `group_order=store.group.order`",
        )
    # The group of an orbit SAE need not be that of the store.
    source, tied = f"{store.model}:{store.layer}", sae.dictionary.source
    if tied and tied != source:
        raise OrbitLensError(
            "`sae`",
            expected=f"an orbit SAE built on the transport of {source}, as the store",
            received=f"one on the transport of another layer, {tied}",
            remedy="fit an exact transport on activations of this layer and build the SAE on it",
        )
