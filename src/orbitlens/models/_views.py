"""Networks that are shown several views of each input, such as all of its turns."""

from abc import ABC, abstractmethod

from torch import nn


class ShowsViews(nn.Module, ABC):
    """A module that shows its submodule `network` several views of each input at once.

    The layers of that network then have several rows for each input.
    """

    network: nn.Module

    @property
    @abstractmethod
    def views(self) -> int:
        """Views of each input that the network sees."""


def network_of_views(model: nn.Module, layer: str) -> str | None:
    """Return the name of the network that sees several views and holds a layer; None if none does.

    Example:
        >>> network_of_views(nn.Sequential(nn.ReLU()), "0") is None
        True
    """
    parts = layer.split(".")
    for depth in range(len(parts)):
        above = model.get_submodule(".".join(parts[:depth]))
        if isinstance(above, ShowsViews) and above.views > 1 and parts[depth] == "network":
            return ".".join(parts[: depth + 1])
    return None
