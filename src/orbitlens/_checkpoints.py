"""Checkpoints: a training that is stopped at any step continues to the same bits.

A checkpoint is one safetensors file with every tensor of the training. Its metadata have a record
with the settings, the sums of the tensors and a seal, which is a digest of the rest. The file is
written under a temporary name and renamed.
"""

import json
import os
import shutil
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import google_crc32c
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from orbitlens.checks import bytes_of
from orbitlens.errors import DamageError, OrbitLensError, one_line, warn
from orbitlens.files import TO_READ, as_path, check_regular, digest_of, one_line_errors, place_error
from orbitlens.processes import Interruptible

Tensors = Mapping[str, Tensor]


class SealedCheckpoint(Interruptible):
    """The file of a training, written every `seconds` and when a signal stops the process.

    A file with other settings is refused with an error that names them. One whose training began
    with other weights than `start` is warned of; where `start` is None, it may begin with any.
    """

    # The name of the record among the metadata, and its version.
    form: ClassVar[str]
    schema: ClassVar[int]
    # The function that trains, in errors.
    function: ClassVar[str]

    def __init__(
        self,
        path: Path | str,
        settings: Mapping[str, Any],
        start: Tensors | None,
        seconds: float,
    ) -> None:
        super().__init__(seconds)
        self.path = as_path("checkpoint", path)
        self._settings = json.loads(json.dumps(settings))
        self._start = None if start is None else checksum(start)
        # The next training clears what a kill leaves here.
        self._room = self.path.with_name(f".{self.path.name}.writing")
        with one_line_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._room, ignore_errors=True)
            # A place that cannot be written is found before the training, not at its end.
            self._room.mkdir()
            self._room.rmdir()

    @staticmethod
    @abstractmethod
    def sums(tensors: Tensors) -> dict[str, Any]:
        """Return what stands for the tensors in the record, so that the seal is of them too."""

    def opened(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and record of an earlier training; None if there is no file."""
        with one_line_errors(self.path):
            if not self.path.exists():
                return None
        check_regular(self.path)
        with self.understood():
            # Safetensors says of a file that it may not read that there is none.
            self.path.open("rb").close()
            with safe_open(self.path, "pt") as file:
                record = json.loads((file.metadata() or {})[self.form])
                # Copied, since products round differently in memory that torch did not align.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            self._check_schema(record["schema"])
            self._check_seal(record, self.sums(tensors))
            self._check_settings(record["settings"])
        self._compare_starts(record)
        return tensors, record

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Turn what a damaged or a foreign file raises in the block into an error that says so."""
        try:
            yield
        except OrbitLensError:
            raise
        except OSError as error:
            raise place_error(self.path, error, TO_READ) from error
        except Exception as error:  # a header that was changed can raise almost anything
            raise DamageError(
                f"checkpoint {self.path}",
                expected=f"a checkpoint of `{self.function}`, as it was written",
                received=f"{type(error).__name__}: {one_line(error)}",
                remedy="remove it to start again",
            ) from error

    def _check_schema(self, schema: object) -> None:
        if schema != self.schema:
            raise OrbitLensError(
                f"checkpoint {self.path}",
                expected=f"schema {self.schema}",
                received=f"schema {schema}",
                remedy="continue with the version that wrote it, or remove it to start again",
            )

    def _check_seal(self, record: dict[str, Any], sums: Mapping[str, Any]) -> None:
        """Remove the seal from a record; refuse a record or tensors that it does not fit."""
        if "seal" in record:
            fits = record.pop("seal") == digest_of({**record, **sums})
        else:  # trainings of earlier versions have a checksum of their numbers alone
            fits = record["checksum"] == sums["checksum"]
        if not fits:
            raise DamageError(
                f"checkpoint {self.path}",
                expected="the numbers and the record that were written, by their checksum",
                received="other numbers or another record",
                remedy="remove it to start again, since it is damaged",
            )

    def _check_settings(self, old: Mapping[str, Any]) -> None:
        new = self._settings
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if names:
            raise OrbitLensError(
                f"checkpoint {self.path} with other settings",
                expected=", ".join(f"{name} {old.get(name)!r}" for name in names),
                received=", ".join(f"{name} {new.get(name)!r}" for name in names),
                remedy="train with the settings that it began with, or remove it to start again",
            )

    def _compare_starts(self, record: Mapping[str, Any]) -> None:
        """Warn of a training that began with other weights; earlier versions did not note them."""
        start = record.get("start", self._start)
        if start != self._start:
            warn(
                f"checkpoint {self.path}",
                found="its training began with other weights than those given, and goes on from "
                "the checkpoint",
                remedy="give each training a checkpoint of its own, or remove it to start again",
            )
        self._start = start

    def replace(self, tensors: Tensors, **facts: Any) -> None:
        """Replace the file by a new one, whose record has these facts beside the settings."""
        whole = _apart(tensors)
        record = {"schema": self.schema, "settings": self._settings, **facts, **self.sums(whole)}
        if self._start is not None:
            record["start"] = self._start
        record["seal"] = digest_of(record)
        with one_line_errors(self.path):
            self._room.mkdir(exist_ok=True)
            try:
                save_file(whole, self._room / "new", metadata={self.form: json.dumps(record)})
                os.replace(self._room / "new", self.path)
            except SafetensorError as error:  # mostly a full disk, in the words of another language
                raise OSError(one_line(error)) from error
            finally:
                shutil.rmtree(self._room, ignore_errors=True)
        self.wrote()


def _apart(tensors: Tensors) -> dict[str, Tensor]:
    """Return the tensors, with a copy of each that shares memory with another, as tied ones do."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        found[name] = own.clone() if place in seen else own
        seen.add(place)
    return found


def checksum(tensors: Tensors) -> int:
    """Return the CRC-32C of the numbers of all tensors, in the order of their names."""
    found = 0
    for _, tensor in sorted(tensors.items()):
        found = google_crc32c.extend(found, bytes_of(tensor))
    return found


def kinds(tensors: Tensors) -> dict[str, list[str | int]]:
    """Return the type and the shape of each tensor."""
    return {name: [str(each.dtype), *each.shape] for name, each in tensors.items()}
