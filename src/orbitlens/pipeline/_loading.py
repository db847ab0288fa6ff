"""Transports and SAEs loaded for a store: each is checked to belong to it."""

import math
from pathlib import Path
from typing import Any, TypeVar

from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.files import read_json
from orbitlens.io import load
from orbitlens.io._transports import check_built_on
from orbitlens.sae import SAE
from orbitlens.training import FitResult, History
from orbitlens.transport import Transport

_Part = TypeVar("_Part", SAE, Transport)


def load_transport(path: Path, store: ActivationStore) -> Transport:
    """Load a transport of the same group, width, model and layer as a store."""
    transport = _load(path, Transport, "a transport", "an SAE", verb="transport")
    transport.check_fits(store.group, store.dim)
    source = source_of(store)
    if transport.source != source:
        raise OrbitLensError(
            "`transport`",
            expected=f"one fitted on {source}",
            received=f"one fitted on {transport.source}",
            remedy="fit the transport on activations of this model and layer",
        )
    return transport


def load_sae(path: Path, store: ActivationStore) -> SAE:
    """Load an SAE of the same group, width, model and layer as a store."""
    sae = _load(path, SAE, "an SAE", "a transport", verb="train")
    if sae.d_in != store.dim:
        raise OrbitLensError(
            str(path),
            expected=f"d_in = {store.dim}, the width of the store",
            received=sae.d_in,
            remedy="train the SAE on activations of this model and layer",
        )
    noted = read_json(path / "cfg.json").get("metadata", {})
    for name, value in origin_of(store).items():
        if name in noted and noted[name] != value:
            raise OrbitLensError(
                str(path),
                expected=f"an SAE of {name} {value!r}, as the store",
                received=f"one of {name} {noted[name]!r}",
                remedy="train the SAE on activations of this group, model and layer",
            )
    source, built_on = source_of(store), sae.dictionary.source
    if built_on and built_on != source:
        raise OrbitLensError(
            str(path),
            expected=f"an SAE of {source}, as the store",
            received=f"an orbit SAE built on the transport of {built_on}",
            remedy="train the SAE on activations of this model and layer",
        )
    return sae


def load_fit(path: Path, store: ActivationStore) -> FitResult:
    """Load a trained SAE of a run with its history."""
    sae = load_sae(path / "sae", store)
    record = read_json(path / "history.json")
    try:
        # JSON has no NaN: a loss that diverged is null there.
        curves: dict[str, Any] = {
            name: [math.nan if value is None else value for value in values]
            for name, values in record.pop("history").items()
        }
        return FitResult(sae=sae, history=History(**curves), **record)
    except (KeyError, TypeError, AttributeError):
        raise OrbitLensError(
            str(path / "history.json"),
            expected="history, status and scale",
            received=sorted(record),
            remedy="the file is incomplete; train the SAE again",
        ) from None


def check_one_motion(transport: Transport) -> None:
    """Check that one matrix moves all positions, because SAEs share latents between them."""
    if transport.motion.tokens is not None:
        raise OrbitLensError(
            "`transport` spatial of an SAE",
            expected="one matrix for all positions",
            received="tokens before the patches that have their own",
            remedy="use the transport exact, or harvest positions cls or a feature map",
        )


def check_transport_of(sae: SAE, transport: Transport) -> None:
    """Check that a transport can be used with an SAE; an orbit SAE must be built on it."""
    check_one_motion(transport)
    if sae.dictionary.group is not None:
        check_built_on(sae, transport)


def origin_of(store: ActivationStore) -> dict[str, str]:
    """Return the names that an SAE notes about the store that it was trained on."""
    return {"group": store.group.name, "model_name": store.model, "hook_name": store.layer}


def source_of(store: ActivationStore) -> str:
    """Return model and layer of a store, as a transport notes them."""
    return f"{store.model}:{store.layer}"


def _load(path: Path, kind: type[_Part], wanted: str, other: str, *, verb: str) -> _Part:
    part = load(path)
    if not isinstance(part, kind):
        raise OrbitLensError(
            str(path),
            expected=wanted,
            received=other,
            remedy=f"give the folder that `orbitlens {verb}` wrote",
        )
    return part
