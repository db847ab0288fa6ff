"""Checkpoints of a training by the evidence: stopped at any step, it continues to the same bits.

A checkpoint is one safetensors file with every tensor of the training; its metadata has the
settings and the number of the step. It is written under a temporary name and renamed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import google_crc32c
from jaxtyping import Shaped
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from orbitlens.checks import bytes_of
from orbitlens.errors import OrbitLensError, one_line, warn
from orbitlens.files import check_regular, digest_of, new_file, one_line_errors
from orbitlens.processes import Interruptible

_FORMAT = "orbitlens-evidence"
_SCHEMA = 1
Tensors = Mapping[str, Tensor]


@final
class EvidenceCheckpoint(Interruptible):
    """The file of a training, written every `seconds` and when a signal stops the process.

    A file with other settings is refused with an error that names them. One whose training began
    with other weights than `start` is warned of.
    """

    def __init__(
        self, path: Path, settings: Mapping[str, Any], start: Tensors, seconds: float
    ) -> None:
        super().__init__(seconds)
        self.path = path
        self._settings = json.loads(json.dumps(settings))
        self._start = checksum(start)
        with one_line_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)

    def read(self) -> tuple[dict[str, Shaped[Tensor, "..."]], dict[str, int]] | None:
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
            seal = record.pop("seal")
            settings, place, start = record["settings"], dict(record["place"]), record["start"]
        except Exception as error:  # a header that was changed can raise almost anything
            received = f"{type(error).__name__}: {one_line(error)}"
            raise self._refusal("a checkpoint of `fit_with_evidence`", received) from error
        if seal != _seal(record, tensors):
            raise self._refusal("what was written, by its checksum", "others", "it is damaged; ")
        self._check(settings)
        if start != self._start:
            warn(
                f"checkpoint {self.path}",
                found="its training began with other weights than those of this network, and goes "
                "on from the checkpoint",
                remedy="give each network a checkpoint of its own, or remove it to start again",
            )
        self._start = start
        return tensors, place

    def _check(self, old: Mapping[str, Any]) -> None:
        new = self._settings
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if names:
            raise OrbitLensError(
                f"checkpoint {self.path} with other settings",
                expected=", ".join(f"{name} {old.get(name)!r}" for name in names),
                received=", ".join(f"{name} {new.get(name)!r}" for name in names),
                remedy="train with the settings that it began with, or remove it to start again",
            )

    def _refusal(self, expected: str, received: str, remedy: str = "") -> OrbitLensError:
        return OrbitLensError(
            f"checkpoint {self.path}",
            expected=expected,
            received=received,
            remedy=f"{remedy}remove it to start again",
        )

    def write(self, tensors: Tensors, place: Mapping[str, int]) -> None:
        """Replace the file by a new one."""
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        record: dict[str, Any] = {
            "schema": _SCHEMA,
            "settings": self._settings,
            "place": dict(place),
            "start": self._start,
        }
        record["seal"] = _seal(record, whole)
        with new_file(self.path) as file:
            save_file(whole, file, metadata={_FORMAT: json.dumps(record)})
        self.wrote()


def checksum(tensors: Tensors) -> int:
    """Return the CRC-32C of the numbers of all tensors, in the order of their names."""
    found = 0
    for _, tensor in sorted(tensors.items()):
        found = google_crc32c.extend(found, bytes_of(tensor))
    return found


def _seal(record: Mapping[str, Any], tensors: Tensors) -> str:
    """Return a digest of everything that a checkpoint holds."""
    shapes = {name: [str(each.dtype), *each.shape] for name, each in tensors.items()}
    return digest_of({**record, "tensors": shapes, "numbers": checksum(tensors)})
