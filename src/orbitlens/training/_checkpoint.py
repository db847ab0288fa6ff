"""Checkpoints: a training that is stopped at any step continues to the same bits.

A checkpoint is one safetensors file with every tensor of the training; its metadata has the
settings and the number of the step. It is written under a temporary name and renamed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import google_crc32c
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from orbitlens.activations import ActivationStore
from orbitlens.checks import bytes_of
from orbitlens.errors import OrbitLensError, one_line, warn
from orbitlens.files import check_regular, digest_of, one_line_errors
from orbitlens.processes import Interruptible
from orbitlens.sae import SAE
from orbitlens.training._objective_values import Values, same_values
from orbitlens.training._views import Objective
from orbitlens.typing import Int, Tensor

_FORMAT = "orbitlens-training"
_SCHEMA = 2


@final
class Checkpoint(Interruptible):
    """The file of a training, written every `seconds` and when a signal stops the process.

    A file with other settings, or of objectives with other values, is refused with an error that
    names them. One whose training began with other weights than `start` is warned of.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        start: Mapping[str, Tensor],
        seconds: float,
        objectives: Sequence[Values] = (),
    ) -> None:
        super().__init__(seconds)
        self.path = path
        self._start, self._objectives = _checksum(start), list(objectives)
        self._settings = json.loads(json.dumps(settings))
        # The next training clears what a kill leaves here.
        self._room = path.with_name(f".{path.name}.writing")
        with one_line_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._room, ignore_errors=True)

    def read(self) -> tuple[dict[str, Tensor], dict[str, int]] | None:
        """Return tensors and place of an earlier training; None if there is no file."""
        with one_line_errors(self.path):
            if not self.path.exists():
                return None
        check_regular(self.path)
        try:
            with safe_open(self.path, "pt") as file:
                record = json.loads((file.metadata() or {})[_FORMAT])
                # Copied, since products round differently in memory that torch did not align.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            # Checkpoints of earlier versions have a checksum of their numbers alone.
            seal = record.pop("seal", None)
            fits = _checksum(tensors) == record["checksum"]
            fits = fits and seal in (None, _seal(record, tensors))
            self._check(record)
            self._check_objectives(record)
            place = {name: int(record["place"][name]) for name in ("epoch", "batch")}
        except OrbitLensError:
            raise
        except Exception as error:  # a header that was changed can raise almost anything
            received = f"{type(error).__name__}: {one_line(error)}"
            raise self._refusal("a checkpoint of `fit`", received) from error
        if not fits:
            expected = "the numbers and the record that were written, by their checksum"
            raise self._refusal(expected, "others", "it is damaged; ")
        self._compare_starts(record)
        return tensors, place

    def _compare_starts(self, record: Mapping[str, Any]) -> None:
        """Warn of a training that began with other weights; earlier versions did not note them."""
        start = record.get("start", self._start)
        if start != self._start:
            warn(
                f"checkpoint {self.path}",
                found="its training began with other weights than those of this SAE, and goes on "
                "from the checkpoint",
                remedy="give each SAE a checkpoint of its own, or remove it to start again",
            )
        self._start = start

    def _refusal(self, expected: str, received: str, remedy: str = "") -> OrbitLensError:
        return OrbitLensError(
            f"checkpoint {self.path}",
            expected=expected,
            received=received,
            remedy=f"{remedy}remove it to start again",
        )

    def _check(self, record: Mapping[str, Any]) -> None:
        if record["schema"] != _SCHEMA:
            remedy = "continue with the version that wrote it, or "
            raise self._refusal(f"schema {_SCHEMA}", f"schema {record['schema']}", remedy)
        old, new = record["settings"], self._settings
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if names:
            raise OrbitLensError(
                f"checkpoint {self.path} with other settings",
                expected=", ".join(f"{name} {old.get(name)!r}" for name in names),
                received=", ".join(f"{name} {new.get(name)!r}" for name in names),
                remedy="train with the settings that it began with, or remove it to start again",
            )

    def _check_objectives(self, record: Mapping[str, Any]) -> None:
        """Compare what objectives of one name compute; earlier versions did not note it."""
        before = record.get("objectives", self._objectives)
        for name, old, new in zip(
            self._settings["objective"], before, self._objectives, strict=True
        ):
            if not same_values(old, new):
                raise OrbitLensError(
                    f"checkpoint {self.path} of another objective",
                    expected=f"the objective {name!r} that it began with",
                    received="one of the same name that computes other values",
                    remedy="train with that one, give each objective a checkpoint of its own, or "
                    "remove it to start again",
                )

    def write(self, tensors: Mapping[str, Tensor], place: Mapping[str, int]) -> None:
        """Replace the file by a new one."""
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        record: dict[str, Any] = {
            "schema": _SCHEMA,
            "settings": self._settings,
            "place": dict(place),
            "start": self._start,
            "objectives": self._objectives,
            "checksum": _checksum(whole),
        }
        record["seal"] = _seal(record, whole)
        with one_line_errors(self.path):
            self._room.mkdir(exist_ok=True)
            try:
                save_file(whole, self._room / "new", metadata={_FORMAT: json.dumps(record)})
                os.replace(self._room / "new", self.path)
            except SafetensorError as error:
                raise OSError(one_line(error)) from error
            finally:
                shutil.rmtree(self._room, ignore_errors=True)
        self.wrote()


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32C of the numbers of all tensors, in the order of their names."""
    checksum = 0
    for _, tensor in sorted(tensors.items()):
        checksum = google_crc32c.extend(checksum, bytes_of(tensor))
    return checksum


def _seal(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return a digest of everything but the numbers, for which the record has a checksum."""
    shapes = {name: [str(each.dtype), *each.shape] for name, each in tensors.items()}
    return digest_of({**record, "tensors": shapes})


def sae_parts(sae: SAE) -> str:
    """Return the parts of an SAE and their widths, as in "LinearEncoder, TopK, ..., k 2"."""
    names = ", ".join(type(part).__name__ for part in sae.children())
    return f"{names}, d_in {sae.d_in}, d_sae {sae.d_sae}, k {sae.sparsity.k}"


def store_identity(store: ActivationStore) -> str:
    """Return the shape of a store and the origin of its activations."""
    shape = f"{store.n} x {store.positions} x {store.group.name} x {store.dim}"
    numbers = f", numbers {store.fingerprint}" if store.fingerprint else ""
    return f"{store.model}:{store.layer}, inputs {store.digest}, {shape}{numbers}"


def objective_name(objective: Objective) -> str:
    """Return the name of an objective and its weights, as in "canonical(weight=0.5)"."""
    if isinstance(objective, partial):
        weights = ", ".join(f"{name}={value}" for name, value in objective.keywords.items())
        return f"{objective_name(objective.func)}({weights})"
    return getattr(objective, "__name__", type(objective).__name__)


def fingerprint(samples: Int[np.ndarray, " n"] | None) -> str:
    """Return a text that differs between choices of samples."""
    if samples is None:
        return "training part"
    return hashlib.sha256(np.asarray(samples, np.int64).tobytes()).hexdigest()[:16]
