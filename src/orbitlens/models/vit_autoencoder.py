"""A small vision transformer as an autoencoder: the ViT of the Shapes experiment, trained here.

The architecture is that of Dosovitskiy et al. 2021, arXiv 2010.11929, with the norm first in each
block. Erdogan & Lucic, arXiv 2511.09432, look into a ViT-B/16 with ImageNet weights, which has to
be downloaded; this one needs no network.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.errors import OrbitLensError
from orbitlens.models.autoencoders import check_sizes, mlp_decoder
from orbitlens.models.base import seeded_weights

_WIDTH = 128
_HIDDEN = 2 * _WIDTH
_SPREAD = 0.02  # of the initial class token and positions, as in the source


@final
class ViTAutoencoder(nn.Module):
    """Vision transformer whose class token is the code of an image.

        encoder: patches p x p - 128, class token, + positions, blocks, LayerNorm, Linear 128 - d
                 of the class token
        decoder: ReLU, Linear d - d, ReLU, Linear d - c s^2

    Source: Dosovitskiy et al. 2021, arXiv 2010.11929, equations 1 to 4; the decoder is the one of
    `MLPAutoencoder`.

    Args:
        size: Height and width s of the images, in pixels; a multiple of `patch`.
        channels: Their channels c.
        dim: Width d of the code.
        patch: Height and width p of a patch, in pixels.
        depth: Number of blocks.
        heads: Attention heads of each block; a divisor of 128.
        seed: Seed of the initial weights.

    Raises:
        OrbitLensError: If one of the sizes is below 1, if `size` is no multiple of `patch`, or 128
            none of `heads`.

    Example:
        >>> import torch
        >>> model = ViTAutoencoder(size=16, dim=32, patch=4)
        >>> model.encoder(torch.zeros(2, 1, 16, 16)).shape, model(torch.zeros(2, 1, 16, 16)).shape
        (torch.Size([2, 32]), torch.Size([2, 1, 16, 16]))
    """

    def __init__(
        self,
        size: int = 64,
        channels: int = 1,
        dim: int = 256,
        patch: int = 16,
        depth: int = 4,
        heads: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(size=size, channels=channels, dim=dim, patch=patch, depth=depth, heads=heads)
        if size % patch:
            raise OrbitLensError(
                "`size` of ViTAutoencoder",
                expected=f"a multiple of the patch size {patch}",
                received=size,
                remedy=f"resize the images to {size - size % patch or patch} pixels",
            )
        if _WIDTH % heads:
            raise OrbitLensError(
                "`heads`",
                expected=f"a divisor of {_WIDTH}",
                received=heads,
                remedy="choose for example 4",
            )
        self.size, self.channels, self.dim = size, channels, dim
        with seeded_weights(seed):
            self.encoder = _Encoder((size // patch) ** 2, channels, dim, patch, depth, heads)
            self.decoder = mlp_decoder(size, channels, dim)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the reconstruction of the images."""
        reconstruction: Tensor = self.decoder(self.encoder(images))
        return reconstruction


@final
class _Encoder(nn.Module):
    """From images to the final class token."""

    def __init__(
        self, patches: int, channels: int, dim: int, patch: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(channels, _WIDTH, patch, stride=patch)
        self.class_token = nn.Parameter(_SPREAD * torch.randn(1, 1, _WIDTH))
        self.positions = nn.Parameter(_SPREAD * torch.randn(1 + patches, _WIDTH))
        # nn.TransformerEncoder copies one block, so that all would start from the same weights.
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    _WIDTH,
                    heads,
                    _HIDDEN,
                    dropout=0.0,
                    activation="gelu",
                    batch_first=True,
                    norm_first=True,
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(_WIDTH)
        self.head = nn.Linear(_WIDTH, dim)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim"]:
        patches = self.embedding(images).flatten(2).mT
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)
        code: Tensor = self.head(self.norm(self.blocks(tokens + self.positions)[:, 0]))
        return code
