"""Shared by the built-in networks: checks of their sizes and reproducible initial weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from orbitlens.checks import as_count, as_seed


def check_sizes(**sizes: int) -> None:
    """Raise an OrbitLensError that names the first size below 1."""
    for name, value in sizes.items():
        as_count(name, value)


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Draw initial weights from a seed, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(as_seed(seed))
        yield
