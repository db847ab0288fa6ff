"""Transports and SAEs loaded for a store: each is checked to belong to it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from orbitlens.activations import ActivationStore
from orbitlens.errors import DamageError, OrbitLensError
from orbitlens.files import read_json, to_json, write_json
from orbitlens.io import load
from orbitlens.io._saes import read_sae
from orbitlens.io._sealed import seal_of
from orbitlens.io._transports import check_built_on
from orbitlens.pipeline.config import TRAINING, RunConfig, with_current_names
from orbitlens.sae import SAE
from orbitlens.training import FitResult, History
from orbitlens.transport import Transport

_Part = TypeVar("_Part", SAE, Transport)
_SAE, _WEIGHTS = "sae", "sae_weights.safetensors"


def load_transport(
    path: Path, store: ActivationStore, notes: Mapping[str, Any] | None = None
) -> Transport:
    """Load a transport of the same group, width, model and layer as a store.

    With `notes` it must have been saved with these, as far as both have them.
    """
    transport = _load(path, Transport, "a transport", "an SAE", verb="transport")
    _check_notes(path, "transport.json", notes or {})
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


def load_sae(path: Path, store: ActivationStore, *, finite: bool = True) -> SAE:
    """Load an SAE of the same group, width, model and layer as a store.

    Without `finite` it may be one whose training diverged.
    """
    if finite or not (path / "cfg.json").is_file():
        sae = _load(path, SAE, "an SAE", "a transport", verb="train")
    else:
        sae = read_sae(path, finite=False)
    if sae.d_in != store.dim:
        raise OrbitLensError(
            str(path),
            expected=f"d_in = {store.dim}, the width of the store",
            received=sae.d_in,
            remedy="train the SAE on activations of this model and layer",
        )
    _check_notes(path, "cfg.json", origin_of(store))
    check_layer_of(sae, store, str(path))
    return sae


def check_layer_of(sae: SAE, store: ActivationStore, subject: str) -> None:
    """Check that an orbit SAE was built on a transport of the layer of a store."""
    source, built_on = source_of(store), sae.dictionary.source
    if built_on and built_on != source:
        raise OrbitLensError(
            subject,
            expected=f"an SAE of {source}, as the store",
            received=f"an orbit SAE built on the transport of {built_on}",
            remedy="train the SAE on activations of this model and layer",
        )


def load_fit(path: Path, store: ActivationStore, notes: Mapping[str, Any]) -> FitResult:
    """Load a trained SAE of a run, saved with these notes, with its history."""
    record = read_of_sae(path / "history.json")
    try:
        # JSON has no NaN: a loss that diverged is null there.
        curves: dict[str, Any] = {
            name: [math.nan if value is None else _number(value) for value in values]
            for name, values in record.pop("history").items()
        }
        status, scale = str(record.pop("status")), float(record.pop("scale"))
        history = History(**curves, **record)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DamageError(
            str(path / "history.json"),
            expected="history, status and scale",
            received=", ".join(sorted(record)) or "none of them",
            remedy="the file is incomplete; train the SAE again",
        ) from None
    sae = load_sae(path / "sae", store, finite=status == "completed")
    _check_notes(path / "sae", "cfg.json", notes)
    return FitResult(sae=sae, history=history, status=status, scale=scale)


def _number(value: Any) -> float | int:
    """Return a number of JSON as it is, a whole one too; raise for anything else."""
    return value if type(value) in (int, float) else float(value)


def write_of_sae(record: Mapping[str, Any], path: Path) -> None:
    """Write a record on the SAE in the folder sae/ beside it; it notes the seal of that SAE."""
    write_json({**record, _SAE: seal_of(path.parent / "sae" / _WEIGHTS)}, path)


def read_of_sae(path: Path) -> dict[str, Any]:
    """Read a record on the SAE in the folder sae/ beside it; one on another SAE is refused."""
    record = read_json(path)
    # In runs of earlier versions neither has a seal.
    if record.pop(_SAE, "") != seal_of(path.parent / "sae" / _WEIGHTS):
        raise DamageError(
            str(path),
            expected="figures of the SAE beside it",
            received="those of another",
            remedy="restore both from one copy, or train the SAE again",
        )
    return record


def check_settings_of(metrics: Mapping[str, Any], path: Path, config: Mapping[str, Any]) -> None:
    """Check that figures are of the settings of their run, as far as both name them."""
    written = metrics.get("config")
    written = with_current_names(written) if isinstance(written, Mapping) else {}
    differing = [name for name in written if name in config and written[name] != config[name]]
    if differing or not isinstance(metrics.get("saes"), Mapping):
        named = ", ".join(f"{name} {written[name]!r}" for name in differing)
        raise OrbitLensError(
            str(path),
            expected="the figures of this run",
            received=f"those of one with {named}" if named else "no `saes`",
            remedy="restore the file, or remove it and continue the run with --resume",
        )


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


def training_notes(config: RunConfig, objective: str, store: ActivationStore) -> dict[str, Any]:
    """Return what an SAE of a run notes: objective, settings and activations of its training."""
    settings = {name: getattr(config, name) for name in TRAINING if name != "device"}
    notes = {"objective": objective, **origin_of(store), "training": settings}
    return {**notes, **_numbers_of(store)}


def transport_notes(role: str, seed: int, store: ActivationStore) -> dict[str, Any]:
    """Return what a transport of a run notes: what it is for, and its activations."""
    return {"role": role, "seed": seed, **_numbers_of(store)}


def _numbers_of(store: ActivationStore) -> dict[str, str]:
    return {"activations": store.fingerprint} if store.fingerprint else {}


def _check_notes(path: Path, file: str, wanted: Mapping[str, Any]) -> None:
    """Check what was noted when something was saved; earlier versions noted less."""
    noted = read_json(path / file).get("metadata") if wanted else None
    found, expected = _flat(noted), _flat(json.loads(to_json(wanted)))
    for name, value in expected.items():
        if name in found and found[name] != value:
            raise DamageError(
                str(path),
                expected=f"{name} {value!r}, as the store and the settings here",
                received=f"{name} {found[name]!r}",
                remedy="it is of another training; put the right one there, or train it again",
            )


def _flat(notes: object) -> dict[str, Any]:
    if not isinstance(notes, Mapping):
        return {}
    inner = notes.get("training")
    return {**notes, **(inner if isinstance(inner, Mapping) else {}), "training": None}


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
