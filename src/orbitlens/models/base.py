"""A network to look into, as a record."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orbitlens.models.layers import ALL_LAYERS, get_layer

Prepare = Callable[[Tensor], Tensor]


def as_they_are(images: Tensor) -> Tensor:
    """Return the images unchanged: the preparation of networks that need none."""
    return images


@dataclass(frozen=True, eq=False)
class BaseModel:
    """A network, the layer to look at, and how images are made ready for it.

    Args:
        name: What it is called in stores and reports, such as "hf:facebook/dinov2-small".
        module: The network; it is put into evaluation mode.
        layer: Dotted name of the submodule whose output is harvested, or "all" where none is
            singled out.
        prepare: Makes images [n, channels, height, width] in [0, 1] ready for the network: size,
            channels, normalisation. It is applied after the group has moved the images.

    Raises:
        OrbitLensError: If the network has no such layer.

    Example:
        >>> BaseModel("tiny", nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), layer="1").layer
        '1'
    """

    name: str
    module: nn.Module
    layer: str
    prepare: Prepare = as_they_are

    def __post_init__(self) -> None:
        if self.layer != ALL_LAYERS:
            get_layer(self.module, self.layer)
        self.module.eval()


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Draw initial weights from a seed, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
