"""Checks of the arguments of `fit`, before anything is changed."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from orbitlens import objectives
from orbitlens.activations import ActivationStore
from orbitlens.activations.store import address_of, check_store
from orbitlens.checks import as_count, as_number, as_samples, check_training
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name
from orbitlens.files import one_line_errors
from orbitlens.sae import SAE
from orbitlens.training._settings import DEFAULTS, FitSettings
from orbitlens.training._views import Objective, views_of
from orbitlens.typing import Int

_T = TypeVar("_T")
_COUNTS = ("epochs", "batch_size", "dead_after")
_ABOVE_ZERO = ("lr", "memory_gib", "checkpoint_seconds")
_SHARES = (("revival_weight", math.inf, "0 or more"), ("lr_decay", 1, "a share from 0 to 1"))
_OBJECTIVES = [name for name in objectives.__all__ if name != "dead_latent_revival"]


def checked_settings(settings: Mapping[str, Any]) -> FitSettings:
    """Return all settings, with numbers of Python's types and in their ranges."""
    for name in settings:
        if name not in DEFAULTS:
            raise unknown_name("setting of `fit`", name, DEFAULTS)
    found: dict[str, Any] = {**DEFAULTS, **settings}
    for name in _COUNTS:
        found[name] = as_count(name, found[name])
    for name in _ABOVE_ZERO:
        found[name] = as_number(name, found[name], "above 0")
        if not found[name] > 0:
            raise out_of_range(name, "above 0", found[name])
    for name, most, span in _SHARES:
        found[name] = as_number(name, found[name], span)
        if not 0 <= found[name] <= most:
            raise out_of_range(name, span, found[name])
    if found["progress"] is not None and not callable(found["progress"]):
        raise OrbitLensError(
            "`progress`",
            expected="a function of (epoch, epochs, loss), or None",
            received=type(found["progress"]).__name__,
            remedy="leave it out for no report",
        )
    return cast(FitSettings, found)


def training_samples(samples: object, store: ActivationStore) -> Int[np.ndarray, " n"]:
    """Return the samples of a store to train on; None stands for its training part."""
    check_store(store)
    if samples is None:
        return store.split()[0]
    chosen = as_samples(samples, store.n)
    if not len(chosen):
        raise OrbitLensError(
            "`samples`",
            expected="at least one sample",
            received="none",
            remedy="choose samples of the store, or leave it out for the training part",
        )
    return chosen


def as_saes(sae: object) -> list[SAE]:
    """Return an SAE, or some, as a list."""
    saes: list[SAE] = []
    for each in sae if isinstance(sae, list | tuple) else [sae]:
        if not isinstance(each, SAE):
            raise OrbitLensError(
                "`sae`",
                expected="an SAE, or a list of SAEs",
                received=type(each).__name__,
                remedy="build one with `orbitlens.sae`; the store comes after it",
            )
        saes.append(each)
    return saes


def as_objective(objective: object) -> Objective:
    """Return an objective that is given as a function or by its name in `objectives`."""
    if isinstance(objective, str):
        if objective not in _OBJECTIVES:
            raise unknown_name("`objective`", objective, _OBJECTIVES)
        found: Objective = getattr(objectives, objective)
        return found
    if not callable(objective):
        raise OrbitLensError(
            "`objective`",
            expected='a function of views, or its name such as "canonical"; for a list of SAEs '
            "also a list of these",
            received=type(objective).__name__,
            remedy="see orbitlens.objectives",
        )
    return objective


def local_file(checkpoint: Path | str) -> Path:
    """Return the path of a checkpoint, which is not at a URL."""
    place = address_of(checkpoint, "checkpoint")
    if isinstance(place, str):
        raise OrbitLensError(
            "`checkpoint`",
            expected="a local file",
            received=place,
            remedy="give a path, and copy the file from there",
        )
    with one_line_errors(place):
        is_folder = place.is_dir()
    if is_folder:
        raise OrbitLensError(
            "`checkpoint`",
            expected="a file, or a name that is free",
            received=f"the folder {place}",
            remedy="give the name of a file in it",
        )
    return place


def one_each(name: str, value: _T | Sequence[_T], count: int) -> list[_T]:
    """Return one value for each of `count` SAEs."""
    if isinstance(value, np.ndarray | Tensor) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence):
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
        if not isinstance(store, ActivationStore):
            raise OrbitLensError(
                "`store`",
                expected="an activation store, or one for each SAE",
                received=type(store).__name__,
                remedy="put an array [n, |G|, dim] into one with `store_from_array`",
            )
        _check_weights(sae, saes[0].b_dec.device)
        sae.check_ties()
        sae.sparsity.check()
        _check_pair(sae, store, views_of(objective))
    if saes[0].b_dec.device.type == "cpu":
        check_training(sum(each.numel() for sae in saes for each in sae.parameters()))
    weights = [id(each) for sae in saes for each in sae.parameters()]
    if len(set(weights)) != len(weights):
        raise OrbitLensError(
            "`sae`",
            expected="SAEs with weights of their own",
            received="weights that are part of two of them",
            remedy="build each from its own parts",
        )


def _check_weights(sae: SAE, device: torch.device) -> None:
    """Check that the weights of an SAE can be trained as they are."""
    kinds = {own.dtype for own in sae.parameters()}
    devices = {own.device for own in sae.parameters()}
    faults = (
        (
            kinds == {torch.float32},
            "float32 weights",
            ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds)),
            "call `sae.float()`; convert the trained SAE afterwards",
        ),
        (
            devices == {device},
            f"all SAEs on one device, {device}",
            ", ".join(sorted(map(str, devices))),
            "move them with `sae.to(device)`",
        ),
        (
            any(own.requires_grad for own in sae.parameters()),
            "at least one part that may be trained",
            "frozen weights alone",
            "call `sae.requires_grad_()`",
        ),
        (
            not any(own.is_inference() for own in sae.parameters()),
            "weights that gradients can be computed of",
            "weights made in `torch.inference_mode`",
            "build or load the SAE outside of it",
        ),
    )
    for right, expected, received, remedy in faults:
        if not right:
            raise OrbitLensError("`sae`", expected=expected, received=received, remedy=remedy)


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
