"""What a harvest is told, whether it looks at one layer or at many; checked at the door."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.activations.harvest._inputs import (
    Batches,
    Progress,
    check_inputs,
    device_of,
    digest_of,
    made_ready,
    moved_batches,
)
from orbitlens.activations.store._dtypes import check_dtype
from orbitlens.activations.store._resume_settings import name_of, weights_digest
from orbitlens.activations.store._write_store import check_labels, check_out, describe
from orbitlens.data.lazy import Rows
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.models.base import Prepare


@final
@dataclass(frozen=True, eq=False)
class Work:
    """What is harvested, and how; see `harvest` for each of the settings.

    Args:
        model: The network.
        inputs: The inputs x, [n, ...].
        action: How the group moves them.
        target: Where the store, or the stores, will be; None for memory.
        labels: One class index per input, or None.
        class_names: Their names.
        batch_size: Moved inputs per forward pass.
        dtype: How activations are stored.
        workers: Processes that run the network.
        resume: Go on with what is there.
        prepare: Makes moved inputs ready for the network.
        name: Recorded name of the network.
        progress: Called with (inputs done, n).

    Raises:
        OrbitLensError: If these do not fit together, or something is at the target already.
    """

    model: nn.Module
    inputs: Rows
    action: Action
    target: Path | str | None
    labels: Int[np.ndarray, " labels"] | None
    class_names: tuple[str, ...]
    batch_size: int
    dtype: str
    workers: int
    resume: bool
    prepare: Prepare
    name: str
    progress: Progress | None

    def __post_init__(self) -> None:
        _check_workers(self.workers, self.target)
        check_dtype(self.dtype)
        if not self.resume:
            check_out(self.target)
        check_inputs(self.inputs, self.action, self.batch_size)
        check_labels(self.labels, self.class_names, len(self.inputs))

    @property
    def order(self) -> int:
        """|G|."""
        return self.action.group.order

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return device_of(self.model, self.inputs)

    def ready(self, moved: Shaped[Tensor, "moved *axes"]) -> Tensor:
        """Return moved inputs as the network takes them, where it takes them."""
        return made_ready(self.prepare, moved.to(self.device))

    def batches(self, start: int, stop: int) -> Iterator[Batches]:
        """Yield some inputs, moved and made ready; whole orbits together."""
        for batches in moved_batches(self.inputs, self.action, self.batch_size, start, stop):
            yield tuple(map(self.ready, batches))

    def described(
        self, moves: Mapping[str, Int[np.ndarray, "group position"] | None]
    ) -> dict[str, dict[str, Any]]:
        """Return the attributes of the store of each layer, from how positions move there."""
        digest = digest_of(self.inputs, self.labels, self.class_names)
        return {
            layer: {
                **describe(
                    group=self.action.group,
                    action=self.action.name,
                    action_config=self.action.config,
                    model=self.name,
                    layer=layer,
                    digest=digest,
                    class_names=self.class_names,
                    moves=its,
                    dtype=self.dtype,
                ),
                "labelled": self.labels is not None,
            }
            for layer, its in moves.items()
        }

    def settings(self) -> dict[str, Any]:
        """Return what decides the bits of a harvest and is not known from its stores."""
        return {
            "batch_size": self.batch_size,
            "prepare": name_of(self.prepare),
            "weights digest": weights_digest(self.model),
        }


def _check_workers(workers: int, target: Path | str | None) -> None:
    if workers < 1:
        raise out_of_range("workers", "at least 1", workers)
    if workers > 1 and (target is None or str(target).startswith("memory://")):
        raise OrbitLensError(
            "`workers`",
            expected="1 for a store in memory",
            received=workers,
            remedy="give a folder as `out`, or leave `workers` out",
        )
