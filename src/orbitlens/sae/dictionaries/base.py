"""The interface of a dictionary: from codes to a reconstruction."""

from abc import ABC, abstractmethod

from torch import nn

from orbitlens.typing import Activations, Codes, Float, Tensor


class Dictionary(nn.Module, ABC):
    """Directions that codes are sums of, x_hat = sum_i z_i D_i + b_dec."""

    d_sae: int
    d_in: int
    b_dec: nn.Parameter

    @property
    @abstractmethod
    def directions(self) -> Float[Tensor, "latents dim"]:
        """One direction per latent, D, shape [d_sae, d_in]."""

    @abstractmethod
    def project_(self) -> None:
        """Restore the constraints on the directions; the training loop calls it after each step."""

    @abstractmethod
    def scale_(self, factor: float) -> None:
        """Scale the bias, so that D_new(factor z) = factor D_old(z)."""

    def forward(self, codes: Codes) -> Activations:
        """Return reconstructions, shape [batch, d_in]."""
        return codes @ self.directions + self.b_dec
