"""Shared by the built-in networks: checks of their sizes and reproducible initial weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from orbitlens.errors import out_of_range


def check_sizes(**sizes: int) -> None:
    """Raise an OrbitLensError that names the first size below 1."""
    for name, value in sizes.items():
        if value < 1:
            raise out_of_range(name, "at least 1", value)


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Draw initial weights from a seed, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
