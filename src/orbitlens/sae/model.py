"""A sparse autoencoder is an encoder, a sparsity rule and a dictionary."""

from typing import NamedTuple, final

from torch import nn

from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.sae.dictionaries.base import Dictionary
from orbitlens.sae.dictionaries.orbit import OrbitDictionary
from orbitlens.sae.encoders import Encoder
from orbitlens.sae.sparsity import Sparsity
from orbitlens.typing import (
    Activations,
    Codes,
    Float,
    StackedActivations,
    StackedCodes,
    Tensor,
)


class SAEOutput(NamedTuple):
    """The result of one forward pass.

    Attributes:
        pre: Pre-activations, shape [batch, d_sae].
        codes: Sparse non-negative codes z, shape [batch, d_sae].
        x_hat: Reconstructions, shape [batch, d_in].
    """

    pre: StackedCodes
    codes: StackedCodes
    x_hat: StackedActivations


@final
class SAE(nn.Module):
    """The composition x -> E(x - b_dec) -> z -> x_hat = z D + b_dec.

    An invariance objective and a transport make it the paper's equivariant SAE,
    psi(gx) ~ rho(g) D(E(psi(gx))). The objective `reconstruction` makes it an ordinary SAE.

    Args:
        encoder: Activation to pre-activations.
        sparsity: Pre-activations to codes.
        dictionary: Codes to reconstruction.

    Raises:
        OrbitLensError: If the widths of the parts differ, or k exceeds the number of latents.

    Example:
        >>> import torch
        >>> from orbitlens.sae import topk_sae
        >>> sae = topk_sae(d_in=4, d_sae=8, k=2)
        >>> codes = sae.encode(torch.randn(3, 4))
        >>> codes.shape, sae.decode(codes).shape
        (torch.Size([3, 8]), torch.Size([3, 4]))
    """

    def __init__(self, encoder: Encoder, sparsity: Sparsity, dictionary: Dictionary) -> None:
        super().__init__()
        widths = (encoder.d_in, encoder.d_sae)
        if widths != (dictionary.d_in, dictionary.d_sae):
            raise OrbitLensError(
                "`dictionary`",
                expected=f"(d_in, d_sae) = {widths} as in the encoder",
                received=(dictionary.d_in, dictionary.d_sae),
                remedy="build both parts with the same widths",
            )
        if sparsity.k > encoder.d_sae:
            raise out_of_range(
                "k",
                f"at most the number of latents, {encoder.d_sae}",
                sparsity.k,
                "lower k or take more latents",
            )
        self.encoder, self.sparsity, self.dictionary = encoder, sparsity, dictionary

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return self.encoder.d_in

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return self.encoder.d_sae

    @property
    def W_dec(self) -> Float[Tensor, "*stack latents dim"]:  # noqa: N802
        """One direction per latent, shape [d_sae, d_in]."""
        return self.dictionary.directions

    @property
    def b_dec(self) -> Float[Tensor, "*stack dim"]:
        """The reconstruction of an empty code, shape [d_in]."""
        return self.dictionary.b_dec

    def forward(self, x: StackedActivations) -> SAEOutput:
        """Encode and decode.

        Args:
            x: Activations, shape [batch, d_in].

        Returns:
            Pre-activations, codes and reconstructions.
        """
        return self.of_coordinates(self.dictionary.coordinates(x))

    def of_coordinates(self, y: StackedActivations) -> SAEOutput:
        """Encode and decode activations in the dictionary's coordinates.

        Args:
            y: Activations from `dictionary.coordinates`, shape [batch, d_in].

        Returns:
            Pre-activations, codes, and reconstructions of the activations themselves.
        """
        pre = self.encoder(y - self.dictionary.centre.unsqueeze(-2))
        codes = self.sparsity(self.dictionary.admitted(pre))
        return SAEOutput(pre=pre, codes=codes, x_hat=self.dictionary(codes))

    def encode(self, x: Activations) -> Codes:
        """Return the codes z of activations, shape [batch, d_sae]."""
        return self(x).codes

    def decode(self, codes: Codes) -> Activations:
        """Return the reconstructions of codes, shape [batch, d_in]."""
        return self.dictionary(codes)

    def fold_scale_(self, scale: float) -> None:
        """Turn an SAE trained on scale * x into the same SAE on x.

        Biases and thresholds are divided by `scale`. Then f_new(x) = f_old(scale x) / scale for
        codes and reconstructions. Directions keep their unit length.

        Args:
            scale: The factor of the training activations.
        """
        for part in (self.encoder, self.sparsity, self.dictionary):
            part.scale_(1.0 / scale)


def orbit_dictionary(sae: SAE, *, name: str = "`sae`") -> OrbitDictionary:
    """Return the dictionary of an orbit SAE or a stack; refuse another SAE, called `name`."""
    if not isinstance(sae.dictionary, OrbitDictionary):
        raise OrbitLensError(
            name,
            expected="an orbit SAE, whose codes are over (element, atom)",
            received=f"an SAE with a {type(sae.dictionary).__name__}",
            remedy="build the SAE with `orbit_sae`",
        )
    return sae.dictionary
