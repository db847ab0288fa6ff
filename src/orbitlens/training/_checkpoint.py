"""Checkpoints of the training of SAEs, and the facts by which they recognise it.

See `orbitlens._checkpoints`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np

from orbitlens._checkpoints import SealedCheckpoint, checksum, kinds
from orbitlens.activations import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.sae import SAE
from orbitlens.training._objective_values import Values, same_values
from orbitlens.training._views import Objective
from orbitlens.typing import Int, Tensor


@final
class Checkpoint(SealedCheckpoint):
    """The file of a training, with its place: the step that comes next.

    A file of objectives with other values is refused too.
    """

    form, schema, function = "orbitlens-training", 2, "fit"

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        start: Mapping[str, Tensor],
        seconds: float,
        objectives: Sequence[Values] = (),
    ) -> None:
        super().__init__(path, settings, start, seconds)
        self._objectives = list(objectives)

    @staticmethod
    def sums(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return type and shape of each tensor, and the checksum of all."""
        return {"tensors": kinds(tensors), "checksum": checksum(tensors)}

    def read(self) -> tuple[dict[str, Tensor], dict[str, int]] | None:
        """Return tensors and place of an earlier training; None if there is no file."""
        earlier = self.opened()
        if earlier is None:
            return None
        tensors, record = earlier
        with self.understood():
            self._check_objectives(record)
            place = {name: int(record["place"][name]) for name in ("epoch", "batch")}
        return tensors, place

    def _check_objectives(self, record: Mapping[str, Any]) -> None:
        """Compare what objectives of one name compute; earlier versions did not note it."""
        before, names = record.get("objectives", self._objectives), record["settings"]["objective"]
        for name, old, new in zip(names, before, self._objectives, strict=True):
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
        self.replace(tensors, place=dict(place), objectives=self._objectives)


def sae_parts(sae: SAE) -> str:
    """Return the parts of an SAE and their widths, as in "LinearEncoder, TopK, ..., k 2"."""
    names = ", ".join(type(part).__name__ for part in sae.children())
    rule = sae.sparsity
    # Earlier versions wrote the k alone; the targets of a rule without one matter as much.
    settings = f"k {rule.k}" if rule.k else str(rule.settings())
    return f"{names}, d_in {sae.d_in}, d_sae {sae.d_sae}, {settings}"


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
