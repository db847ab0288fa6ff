"""The keyword settings of `fit`, and their defaults."""

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import numpy as np

from orbitlens.typing import Int


class FitSettings(TypedDict, total=False):
    """Settings of `fit` that are equal for all SAEs; `fit` explains each of them."""

    epochs: int
    batch_size: int
    lr: float
    lr_decay: float
    samples: Int[np.ndarray, " n"] | None
    revival_weight: float
    dead_after: int
    precision: str
    memory_gib: float
    checkpoint: Path | str | None
    checkpoint_seconds: float
    progress: Callable[[int, int, float], None] | None


DEFAULTS: FitSettings = {
    "epochs": 100,
    "batch_size": 256,
    "lr": 5e-4,
    "lr_decay": 0.0,
    "samples": None,
    "revival_weight": 1 / 32,
    "dead_after": 1,
    "precision": "auto",
    "memory_gib": 4.0,
    "checkpoint": None,
    "checkpoint_seconds": 600.0,
    "progress": None,
}
