"""Checkpoints: a training that was stopped at any step goes on as if it had not been.

A checkpoint is one safetensors file, written under a temporary name and renamed: every tensor of
the training, and in its metadata the settings and where it stood.
"""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, final

import google_crc32c
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from orbitlens.errors import OrbitLensError, one_line
from orbitlens.files import one_line_errors
from orbitlens.typing import Tensor

_FORMAT = "orbitlens-training"
_SCHEMA = 2


@final
class Checkpoint:
    """The file of a training, written at intervals and when the process is told to stop.

    Args:
        path: The file.
        settings: What the training is; a file of other settings is refused.
        seconds: Interval between two writings.

    Raises:
        OrbitLensError: If the folder cannot be written, or the file is of another training; names
            the settings that differ.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self._settings = json.loads(json.dumps(settings))
        self._written = time.monotonic()
        self._signal = 0
        # Where it is written: what a kill leaves there is cleared by the next training.
        self._room = path.with_name(f".{path.name}.writing")
        with one_line_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._room, ignore_errors=True)

    def read(self) -> tuple[dict[str, Tensor], dict[str, int]] | None:
        """Return tensors and place of an earlier training; None if there was none."""
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                record = json.loads((file.metadata() or {})[_FORMAT])
                # Copied: products round otherwise in memory that is not aligned as torch aligns it.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise OrbitLensError(
                f"checkpoint {self.path}",
                expected="a checkpoint of `fit`",
                received=f"{type(error).__name__}: {one_line(error)}",
                remedy="remove it to begin anew",
            ) from error
        self._check(record)
        computed = _checksum(tensors)
        if computed != record["checksum"]:
            raise OrbitLensError(
                f"checkpoint {self.path}",
                expected=f"checksum {record['checksum']:08x} as when it was written",
                received=f"{computed:08x}",
                remedy="it is damaged; remove it to begin anew",
            )
        return tensors, record["place"]

    def _check(self, record: Mapping[str, Any]) -> None:
        if record["schema"] != _SCHEMA:
            raise OrbitLensError(
                f"checkpoint {self.path}",
                expected=f"schema {_SCHEMA}",
                received=f"schema {record['schema']}",
                remedy="go on with the version that wrote it, or remove it to begin anew",
            )
        old, new = record["settings"], self._settings
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if names:
            raise OrbitLensError(
                f"checkpoint {self.path} with other settings",
                expected=", ".join(f"{name} {old.get(name)!r}" for name in names),
                received=", ".join(f"{name} {new.get(name)!r}" for name in names),
                remedy="train with the settings it was begun with, or remove it to begin anew",
            )

    def write(self, tensors: Mapping[str, Tensor], place: Mapping[str, int]) -> None:
        """Put the file in the place of the last one."""
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        record = {
            "schema": _SCHEMA,
            "settings": self._settings,
            "place": dict(place),
            "checksum": _checksum(whole),
        }
        with one_line_errors(self.path):
            self._room.mkdir(exist_ok=True)
            try:
                save_file(whole, self._room / "new", metadata={_FORMAT: json.dumps(record)})
                os.replace(self._room / "new", self.path)
            except SafetensorError as error:
                raise OSError(one_line(error)) from error
            finally:
                shutil.rmtree(self._room, ignore_errors=True)
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether to write now: the interval has passed, or the process was told to stop."""
        return bool(self._signal) or time.monotonic() - self._written >= self.seconds

    def stop_if_told(self) -> None:
        """End the process as the signal asks, once the checkpoint is written.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
            SystemExit: After SIGTERM, with 143.
        """
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal:
            raise SystemExit(128 + self._signal)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note SIGTERM and Ctrl-C instead of ending at once; a second one ends at once."""
        # Only the main thread may set handlers; elsewhere the interval alone decides.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}

        def note(number: int, frame: FrameType | None) -> None:
            del frame
            self._signal = number
            signal.signal(number, before[signal.Signals(number)] or signal.SIG_DFL)

        for name in before:
            signal.signal(name, note)
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler or signal.SIG_DFL)


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32C of the numbers of all tensors, by name."""
    checksum = 0
    for _, tensor in sorted(tensors.items()):
        numbers = tensor.contiguous().view(-1).view(torch.uint8).numpy()
        checksum = google_crc32c.extend(checksum, numbers)
    return checksum
