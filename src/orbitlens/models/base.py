"""A network to look into, as a record."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from orbitlens.models._layers import ALL_LAYERS, check_network, get_layer

Prepare = Callable[[Tensor], Tensor]


def as_they_are(images: Tensor) -> Tensor:
    """Return the images unchanged: the preparation for networks that need none."""
    return images


@dataclass(frozen=True, eq=False)
class BaseModel:
    """A network, one of its layers, and the preparation of images for it.

    Args:
        name: Its name in stores and reports, such as "hf:facebook/dinov2-small".
        module: The network; it is put into evaluation mode.
        layer: Dotted name of the submodule whose output is harvested, or "all" for every layer.
        prepare: Prepares images [n, channels, height, width] in [0, 1] for the network: size,
            channels, normalisation. It is applied after the group has moved the images.
        image_size: Side in pixels of the square images that the network is made for; None (the
            default) if it does not say.
        channels: Channels of the images that the network is made for; None likewise.

    Raises:
        OrbitLensError: If it is no network that can be looked into, or has no such layer.

    Example:
        >>> BaseModel("tiny", nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), layer="1").layer
        '1'
    """

    name: str
    module: nn.Module
    layer: str
    prepare: Prepare = as_they_are
    image_size: int | None = None
    channels: int | None = None

    def __post_init__(self) -> None:
        check_network(self.module, f"`module` of {self.name}")
        if self.layer != ALL_LAYERS:
            get_layer(self.module, self.layer)
        self.module.eval()
