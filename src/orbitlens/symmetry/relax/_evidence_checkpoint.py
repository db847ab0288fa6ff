"""Checkpoints of a training by the evidence, see `orbitlens._checkpoints`."""

from collections.abc import Mapping
from typing import Any, final

from jaxtyping import Shaped
from torch import Tensor

from orbitlens._checkpoints import SealedCheckpoint, checksum, kinds


@final
class EvidenceCheckpoint(SealedCheckpoint):
    """The file of a training, with its place: the step that comes next."""

    form, schema, function = "orbitlens-evidence", 2, "fit_with_evidence"

    @staticmethod
    def sums(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return type and shape of each tensor, and the checksum of all."""
        return {"tensors": kinds(tensors), "numbers": checksum(tensors)}

    def read(self) -> tuple[dict[str, Shaped[Tensor, "..."]], dict[str, int]] | None:
        """Return tensors and place of an earlier training; None if there is no file."""
        earlier = self.opened()
        return None if earlier is None else (earlier[0], dict(earlier[1]["place"]))

    def write(self, tensors: Mapping[str, Tensor], place: Mapping[str, int]) -> None:
        """Replace the file by a new one."""
        self.replace(tensors, place=dict(place))
