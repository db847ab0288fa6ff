"""Checkpoints of meta-learning, see `orbitlens._checkpoints`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from torch import Tensor

from orbitlens._checkpoints import SealedCheckpoint, checksum, kinds


@final
class MetaCheckpoint(SealedCheckpoint):
    """The file of a training, whose tensors tell the step too."""

    form, schema, function = "orbitlens-meta-learning", 1, "meta_learn"

    def __init__(self, path: Path | str, settings: Mapping[str, Any], seconds: float) -> None:
        # A file with the weights of another start is the training that goes on.
        super().__init__(path, settings, None, seconds)

    @staticmethod
    def sums(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return type, shape and checksum of each tensor."""
        shown = kinds(tensors)
        return {"tensors": {n: [*shown[n], checksum({n: each})] for n, each in tensors.items()}}

    def read(self) -> dict[str, Tensor] | None:
        """Return the tensors of an earlier training; None if there is no file."""
        earlier = self.opened()
        return None if earlier is None else earlier[0]

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the file by a new one."""
        self.replace(tensors)
