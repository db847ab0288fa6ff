"""The interface of a dictionary: from codes to a reconstruction."""

from abc import ABC, abstractmethod

import torch
from torch import nn

from orbitlens.kernels.sparse_codes import SparseCodes
from orbitlens.typing import Float, StackedActivations, StackedCodes, Tensor


class Dictionary(nn.Module, ABC):
    """Directions that codes are sums of, x_hat = sum_i z_i D_i + b_dec."""

    d_sae: int
    d_in: int
    b_dec: Tensor
    has_coordinates = False
    """Whether the encoder takes other coordinates than those of activations."""

    @property
    @abstractmethod
    def directions(self) -> Float[Tensor, "*stack latents dim"]:
        """One direction per latent, D, shape [d_sae, d_in]."""

    @abstractmethod
    def project_(self) -> None:
        """Restore the constraints on the directions; the training loop calls it after each step."""

    @torch.no_grad()
    def center_(self, orbit_means: Float[Tensor, "group dim"]) -> None:
        """Start the bias at the mean activation, given the mean of every element's."""
        self.b_dec.copy_(orbit_means.mean(0))

    @abstractmethod
    def scale_(self, factor: float) -> None:
        """Scale the bias, so that D_new(factor z) = factor D_old(z)."""

    def forward(self, codes: StackedCodes) -> StackedActivations:
        """Return reconstructions, shape [batch, d_in]."""
        return codes @ self.directions + self.b_dec.unsqueeze(-2)

    def sums(self, codes: SparseCodes) -> Float[Tensor, "member batch dim"]:
        """Return sum_i z_i D_i of selected codes of a stack, shape [member, batch, d_in]."""
        return codes.sums(self.directions)

    def coordinates(self, x: StackedActivations) -> StackedActivations:
        """Return activations in the coordinates that the encoder takes, shape [batch, d_in]."""
        return x

    def shares_coordinates(self, other: "Dictionary") -> bool:
        """Say whether another dictionary of this kind has the same coordinates."""
        del other
        return True

    @property
    def centre(self) -> Float[Tensor, "*stack dim"]:
        """The bias in these coordinates, which the encoder takes as the origin, shape [d_in]."""
        return self.b_dec

    compares = False
    """Whether `admitted` looks at several latents together."""

    def admitted(self, pre: StackedCodes) -> StackedCodes:
        """Return the pre-activations that may become codes, -inf for the others."""
        return pre

    def together(
        self, per_latent: Float[Tensor, "*stack latents"]
    ) -> Float[Tensor, "*stack latents"]:
        """Sum over the latents that live and die together, for each of them; shape [d_sae]."""
        return per_latent

    def settle_(self) -> None:
        """Bring what follows from the directions up to date; called at the start of each epoch."""
