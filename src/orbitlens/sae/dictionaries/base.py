"""The interface of a dictionary, from codes to a reconstruction, and its transpose, an encoder."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, final

import torch
from torch import nn

from orbitlens.checks import check_kind
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.kernels import SparseCodes, branches
from orbitlens.sae.encoders import Encoder, LinearEncoder, MLPEncoder
from orbitlens.typing import Float, StackedActivations, StackedCodes, Tensor


class Dictionary(nn.Module, ABC):
    """The interface: directions D_i with a bias, x_hat = sum_i z_i D_i + b_dec.

    A new dictionary is one module, its export in `orbitlens.sae` and its test. `io` finds it by its
    `name`, and builds it again with `from_settings`.
    """

    name = ""
    """The dictionary's name in files; empty for one that files have no name for."""
    encoders: tuple[type[Encoder], ...] = (LinearEncoder, MLPEncoder)
    """The encoders that `make_encoder` builds."""
    d_sae: int
    d_in: int
    b_dec: Tensor
    has_coordinates = False
    """Whether the encoder takes other coordinates than those of activations."""
    group: Group | None = None
    """The group that the directions are tied over; None for none."""
    source = ""
    """Model and layer of the transport that the directions follow, as in "shapes-mlp:encoder"."""

    @property
    def orbit_order(self) -> int:
        """Elements of the orbits that `orbit` reconstructs; 0 if it reconstructs none."""
        return 0

    compares = False
    """Whether `admitted` looks at several latents together."""

    def settings(self) -> dict[str, Any]:
        """Return the fields of `cfg.json` that build the dictionary again, besides its widths."""
        return {"dictionary": self.name}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Dictionary":
        """Build the dictionary from the fields of `cfg.json`; its tensors are loaded afterwards."""
        return cls(settings["d_sae"], settings["d_in"])

    def make_encoder(self, *, hidden: int | None, seed: int) -> Encoder:
        """Build an encoder for this dictionary.

        Args:
            hidden: Width of the hidden layer; None for a linear encoder, which starts as the
                transpose of the dictionary.
            seed: Seed of the weights.
        """
        if hidden is not None:
            return MLPEncoder(self.d_in, hidden, self.d_sae, seed=seed)
        encoder = LinearEncoder(self.d_in, self.d_sae, seed=seed)
        with torch.no_grad():
            encoder.W_enc.copy_(self.directions.mT)
        return encoder

    @property
    @abstractmethod
    def directions(self) -> Float[Tensor, "*stack latents dim"]:
        """One direction per latent, D, shape [d_sae, d_in]."""

    @property
    def bias_weights(self) -> nn.Parameter:
        """The weights that `b_dec` follows from."""
        return self.get_parameter("b_dec")

    @property
    def oriented(self) -> Float[Tensor, "*stack latents dim"]:
        """The directions in the coordinates that the encoder takes, shape [d_sae, d_in]."""
        return self.directions

    @abstractmethod
    def project_(self) -> None:
        """Restore the constraints on the directions; the training loop calls it after each step."""

    @torch.no_grad()
    def center_(self, orbit_means: Float[Tensor, "group dim"]) -> None:
        """Start the bias at the mean activation, given the mean of every element's."""
        self.b_dec.copy_(orbit_means.mean(0))

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Scale the bias, so that D_new(factor z) = factor D_old(z)."""
        self.b_dec.mul_(factor)

    def forward(self, codes: StackedCodes) -> StackedActivations:
        """Return reconstructions, shape [batch, d_in]."""
        return codes @ self.directions + self.b_dec.unsqueeze(-2)

    def sums(self, *codes: SparseCodes) -> list[Float[Tensor, "member batch dim"]]:
        """Return sum_i z_i D_i of each of some selected codes, shape [member, batch, d_in] each."""
        uses = branches(self.directions, len(codes))
        return [each.sums(own) for each, own in zip(codes, uses, strict=True)]

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

    def pooled(self, codes: StackedCodes) -> Float[Tensor, "*stack batch pooled"]:
        """Return the codes that do not depend on the orientation of the input; all by default."""
        return codes

    def pooled_sparse(self, codes: SparseCodes) -> Float[Tensor, "member batch pooled"]:
        """Return codes summed over the group from selected codes of a stack."""
        del codes
        raise self._without_group()

    def orbit(self, codes: StackedCodes) -> Float[Tensor, "*stack batch group dim"]:
        """Reconstruct whole orbits from canonical codes, shape [batch, |G|, d_in]."""
        del codes
        raise self._without_orbits()

    def orbit_of_sparse(self, codes: SparseCodes) -> Float[Tensor, "member batch group dim"]:
        """Reconstruct whole orbits from selected codes of a stack; see `orbit`."""
        del codes
        raise self._without_orbits()

    def check_views(self, names: Collection[str]) -> None:
        """Check that the dictionary serves the views that an objective names.

        Raises:
            OrbitLensError: If x_hat_orbit or a pooled view needs another dictionary.
        """
        if "x_hat_orbit" in names and not self.orbit_order:
            raise self._without_orbits()
        if {"pooled", "pooled_moved"} & set(names) and self.group is None:
            raise self._without_group()

    def _without_group(self) -> OrbitLensError:
        return OrbitLensError(
            "`sae`",
            expected="an orbit SAE, whose codes are over (element, atom)",
            received=f"an SAE with a {type(self).__name__}",
            remedy="build the SAE with `orbit_sae`",
        )

    def _without_orbits(self) -> OrbitLensError:
        return OrbitLensError(
            "`objective`",
            expected="x_hat_orbit only of an SAE with one dictionary block for each element",
            received=type(self).__name__,
            remedy="build the SAE with `crosscoder_sae`",
        )

    def admitted(self, pre: StackedCodes) -> StackedCodes:
        """Return the pre-activations that may become codes, -inf for the others."""
        return pre

    def together(
        self, per_latent: Float[Tensor, "*stack latents"]
    ) -> Float[Tensor, "*stack latents"]:
        """Give each latent the sum over the latents that live and die with it, shape [d_sae]."""
        return per_latent

    def settle_(self) -> None:
        """Update the state that follows from the directions; called at the start of each epoch."""


@final
class TransposedEncoder(Encoder):
    """The dictionary transposed, a = D y: one set of weights, with the gradients of both sides.

    It has no weights of its own and no bias. For an orbit dictionary these are the products with
    every orientation of each atom.

    Args:
        dictionary: The dictionary of the same SAE.

    Example:
        >>> from orbitlens.sae import FreeDictionary
        >>> dictionary = FreeDictionary(8, 4)
        >>> encoder = TransposedEncoder(dictionary)
        >>> bool((encoder.W_enc.mT == dictionary.W_dec).all()), list(encoder.parameters())
        (True, [])
    """

    def __init__(self, dictionary: Dictionary) -> None:
        super().__init__()
        check_kind("dictionary", dictionary, Dictionary, "for example FreeDictionary(d_sae, d_in)")
        # In a tuple, so that it is not a part of the encoder too, with its weights twice.
        self._of = (dictionary,)
        self.d_in, self.d_sae = dictionary.d_in, dictionary.d_sae

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary that it transposes."""
        return self._of[0]

    @property
    def vectors(self) -> Float[Tensor, "*stack latents width"]:
        """The directions in the coordinates of the encoder, shape [d_sae, d_in]."""
        return self.dictionary.oriented

    @property
    def W_enc(self) -> Float[Tensor, "*stack width latents"]:  # type: ignore[override]  # noqa: N802  # follows from the dictionary
        """The directions as columns, shape [d_in, d_sae]."""
        return self.vectors.mT

    @property
    def b_enc(self) -> Float[Tensor, "*stack latents"]:  # type: ignore[override]  # there is none
        """Zeros, shape [d_sae]."""
        stack = self.dictionary.centre.shape[:-1]
        return self.dictionary.centre.detach().new_zeros(*stack, self.d_sae)

    def scale_(self, factor: float) -> None:
        """Do nothing: there is no bias to scale."""
        del factor

    @torch.no_grad()
    def dense(self, T_inverse: Float[Tensor, "dim dim"]) -> LinearEncoder:
        """Return the linear encoder of activations with these columns."""
        linear = LinearEncoder(self.d_in, self.d_sae)
        linear.W_enc.copy_(T_inverse.mT @ self.W_enc)
        return linear
