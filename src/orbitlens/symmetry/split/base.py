"""The protocol of every model that separates what an input shows from how it stands."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn


class Split(NamedTuple):
    """The code of a batch of inputs."""

    invariant: Float[Tensor, "n dim"]
    """What the inputs show: the same for x and gx."""
    pose: Shaped[Tensor, "n *pose"]
    """How they stand: it moves with the input."""


class SplitModel(nn.Module, ABC):
    """A model whose code has two parts: one that a group leaves as it is, one that it moves.

        encode(g x) = act(g, encode(x))        decode(act(g, code)) = g decode(code)

    Both hold exactly, or as well as the model has learned them. Elements of the group are tensors
    with one row for each input; the model says which numbers they are. `move` and `act` are left
    actions: first h, then g, is `product(g, h)`. `testing.SplitContract` tests all this.
    """

    @abstractmethod
    def encode(self, x: Float[Tensor, "n *input"]) -> Split:
        """Return the invariant part and the pose of each input."""

    @abstractmethod
    def decode(self, split: Split) -> Float[Tensor, "n *input"]:
        """Return the input that a code stands for, in its pose."""

    @abstractmethod
    def act(self, element: Shaped[Tensor, "n *element"], split: Split) -> Split:
        """Return the codes moved by one element each: the invariant part stays."""

    @abstractmethod
    def move(
        self, element: Shaped[Tensor, "n *element"], x: Float[Tensor, "n *input"]
    ) -> Float[Tensor, "n *input"]:
        """Return gx for one element g for each input x."""

    @abstractmethod
    def draw(
        self, n: int, generator: torch.Generator | None = None
    ) -> Shaped[Tensor, "n *element"]:
        """Draw n elements of the group at random."""

    @abstractmethod
    def product(
        self, g: Shaped[Tensor, "n *element"], h: Shaped[Tensor, "n *element"]
    ) -> Shaped[Tensor, "n *element"]:
        """Return the products gh, row by row: first h acts, then g."""

    def forward(self, x: Float[Tensor, "n *input"]) -> Float[Tensor, "n *input"]:
        """Return the reconstruction of the inputs."""
        return self.decode(self.encode(x))
