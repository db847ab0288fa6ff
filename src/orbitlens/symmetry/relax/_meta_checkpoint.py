"""Checkpoints of meta-learning: a training that is stopped at any step continues to the same bits.

A checkpoint is one safetensors file with every tensor of the training; its metadata has the
settings. It is written under a temporary name and renamed.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import google_crc32c
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from orbitlens.checks import bytes_of
from orbitlens.errors import DamageError, OrbitLensError, one_line
from orbitlens.files import as_path, check_regular, digest_of, one_line_errors
from orbitlens.processes import Interruptible

_FORMAT = "orbitlens-meta-learning"
_SCHEMA = 1


@final
class MetaCheckpoint(Interruptible):
    """The file of a training, written every `seconds` and when a signal stops the process."""

    def __init__(self, path: Path | str, settings: Mapping[str, Any], seconds: float) -> None:
        super().__init__(seconds)
        self.path = as_path("checkpoint", path)
        self._settings = json.loads(json.dumps(settings))
        # The next training clears what a kill leaves here.
        self._room = self.path.with_name(f".{self.path.name}.writing")
        with one_line_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._room, ignore_errors=True)

    def read(self) -> dict[str, Tensor] | None:
        """Return the tensors of an earlier training; None if there is no file."""
        if not self.path.exists():
            return None
        check_regular(self.path)
        try:
            with safe_open(self.path, "pt") as file:
                record = json.loads((file.metadata() or {})[_FORMAT])
                # Copied, since products round differently in memory that torch did not align.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            fits = record.pop("seal") == _seal(record, tensors) and record["schema"] == _SCHEMA
            before = record["settings"]
        except Exception as error:  # a header that was changed can raise almost anything
            raise self._damaged(f"{type(error).__name__}: {one_line(error)}") from error
        if not fits:
            raise self._damaged("other numbers or another record")
        names = [n for n in {**before, **self._settings} if before.get(n) != self._settings.get(n)]
        if names:
            raise OrbitLensError(
                f"checkpoint {self.path} with other settings",
                expected=", ".join(f"{name} {before.get(name)!r}" for name in names),
                received=", ".join(f"{name} {self._settings.get(name)!r}" for name in names),
                remedy="train with the settings that it began with, or remove it to start again",
            )
        return tensors

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the file by a new one."""
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        record: dict[str, Any] = {"schema": _SCHEMA, "settings": self._settings}
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

    def _damaged(self, received: str) -> DamageError:
        return DamageError(
            f"checkpoint {self.path}",
            expected="a checkpoint of `meta_learn`, as it was written",
            received=received,
            remedy="remove it to start again",
        )


def _seal(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return a digest of the record and of all tensors."""
    sums = {
        name: [str(each.dtype), *each.shape, google_crc32c.value(bytes(bytes_of(each)))]
        for name, each in tensors.items()
    }
    return digest_of({**record, "tensors": sums})
