"""Loader of "recipe:NAME" and of the folders of kept networks."""

from pathlib import Path

from orbitlens.errors import OrbitLensError
from orbitlens.models.base import BaseModel
from orbitlens.models.saved import read_network


def from_saved(folder: Path, *, name: str, layer: str | None, random_weights: bool) -> BaseModel:
    """Return the network in the folder that a name stands for; its weights are the kept ones."""
    if random_weights:
        raise OrbitLensError(
            name,
            expected="the weights that were kept",
            received="random weights",
            remedy="leave out --random-weights",
        )
    return read_network(folder, layer=layer)
