"""Autoencoders as base models: the MLP and the CNN of the Shapes experiment, and a small ViT.

Source: Erdogan & Lucic, arXiv 2511.09432. Their SAEs explain the output of `encoder`, before its
ReLU, which is therefore the first layer of `decoder`. The ViT has the architecture of Dosovitskiy
et al. 2021, arXiv 2010.11929, with the norm first in each block. The paper uses a ViT-B/16 with
ImageNet weights, which has to be downloaded; this one is trained here.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from orbitlens.checks import check_weights
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.models._building import check_sizes, seeded_weights
from orbitlens.models._settings import keeps_settings

_Images = Float[Tensor, "batch channels height width"]

_CNN_WIDTHS = (16, 32)
_SHRINKAGE = 4  # of the CNN's two layers of stride 2
_VIT_WIDTH = 128
_SPREAD = 0.02  # of the ViT's initial class token and positions, as in the source


@final
@keeps_settings
class MLPAutoencoder(nn.Module):
    """Fully connected autoencoder.

        encoder: Linear c s^2 - d, ReLU, Linear d - d
        decoder: ReLU, Linear d - d, ReLU, Linear d - c s^2

    Source: Erdogan & Lucic, arXiv 2511.09432.

    Args:
        size: Height and width s of the images, in pixels.
        channels: Their channels c.
        dim: Width d of the code.
        seed: Seed of the initial weights.

    Raises:
        OrbitLensError: If a size is below 1.

    Example:
        >>> import torch
        >>> model = MLPAutoencoder(size=16, channels=3, dim=32)
        >>> model.encoder(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 32])
    """

    def __init__(self, size: int = 64, channels: int = 1, dim: int = 256, seed: int = 0) -> None:
        super().__init__()
        check_sizes(size=size, channels=channels, dim=dim)
        self.size, self.channels, self.dim = size, channels, dim
        pixels = channels * size * size
        check_weights(dim, max(dim, pixels))
        with seeded_weights(seed):
            self.encoder = nn.Sequential(
                nn.Flatten(), nn.Linear(pixels, dim), nn.ReLU(), nn.Linear(dim, dim)
            )
            self.decoder = _mlp_decoder(size, channels, dim)

    def forward(self, images: _Images) -> _Images:
        """Return the reconstruction of the images."""
        reconstruction: Tensor = self.decoder(self.encoder(images))
        return reconstruction


@final
@keeps_settings
class CNNAutoencoder(nn.Module):
    """Convolutional autoencoder whose code is a single vector.

        encoder: Conv c-16 3x3 s2 p1, ReLU, Conv 16-32 3x3 s2 p1, ReLU, Conv 32-d kxk
        decoder: ReLU, ConvT d-32 kxk, ReLU, ConvT 32-16 3x3 s2 p1 op1, ReLU,
                 ConvT 16-c 3x3 s2 p1 op1

    with k = s / 4, which is 16 at the paper's size of 64 pixels.

    Source: Erdogan & Lucic, arXiv 2511.09432.

    Args:
        size: Height and width s of the images, in pixels; a multiple of 4.
        channels: Their channels c.
        dim: Width d of the code.
        seed: Seed of the initial weights.

    Raises:
        OrbitLensError: If a size is below 1, or `size` is no multiple of 4.

    Example:
        >>> import torch
        >>> model = CNNAutoencoder(size=16, dim=32)
        >>> model.encoder(torch.zeros(2, 1, 16, 16)).shape, model(torch.zeros(2, 1, 16, 16)).shape
        (torch.Size([2, 32]), torch.Size([2, 1, 16, 16]))
    """

    def __init__(self, size: int = 64, channels: int = 1, dim: int = 256, seed: int = 0) -> None:
        super().__init__()
        check_sizes(size=size, channels=channels, dim=dim)
        if size % _SHRINKAGE:
            raise OrbitLensError(
                "`size` of CNNAutoencoder",
                expected=f"a multiple of {_SHRINKAGE}",
                received=size,
                remedy=f"resize the images to {size - size % _SHRINKAGE or _SHRINKAGE} pixels",
            )
        self.size, self.channels, self.dim = size, channels, dim
        narrow, wide = _CNN_WIDTHS
        kernel = size // _SHRINKAGE
        check_weights(dim, max(dim, wide * kernel**2))
        with seeded_weights(seed):
            self.encoder = nn.Sequential(
                nn.Conv2d(channels, narrow, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(narrow, wide, 3, stride=2, padding=1),
                nn.ReLU(),
                _WholeConv2d(wide, dim, kernel),
                nn.Flatten(),
            )
            self.decoder = nn.Sequential(
                nn.ReLU(),
                nn.Unflatten(1, (dim, 1, 1)),
                _WholeConvTranspose2d(dim, wide, kernel),
                nn.ReLU(),
                nn.ConvTranspose2d(wide, narrow, 3, stride=2, padding=1, output_padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(narrow, channels, 3, stride=2, padding=1, output_padding=1),
            )

    def forward(self, images: _Images) -> _Images:
        """Return the reconstruction of the images."""
        reconstruction: Tensor = self.decoder(self.encoder(images))
        return reconstruction


@final
class _WholeConv2d(nn.Conv2d):
    """A convolution whose kernel covers the whole map: one product takes a third of the time."""

    def forward(
        self, input: Float[Tensor, "batch channels size size"]
    ) -> Float[Tensor, "batch out 1 1"]:
        return linear(input.flatten(1), self.weight.flatten(1), self.bias)[:, :, None, None]


@final
class _WholeConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of one pixel, as one product."""

    def forward(
        self,
        input: Float[Tensor, "batch channels 1 1"],
        output_size: list[int] | None = None,
    ) -> Float[Tensor, "batch out size size"]:
        kernel = self.weight.flatten(1)
        spread = (input.flatten(1) @ kernel).unflatten(1, self.weight.shape[1:])
        return spread if self.bias is None else spread + self.bias[:, None, None]


@final
@keeps_settings
class ViTAutoencoder(nn.Module):
    """Vision transformer whose class token is the code of an image.

        encoder: patches p x p - 128, class token, + positions, blocks, LayerNorm, Linear 128 - d
                 of the class token
        decoder: ReLU, Linear d - d, ReLU, Linear d - c s^2

    Source: Dosovitskiy et al. 2021, arXiv 2010.11929, equations 1 to 4; the decoder is that of
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
        OrbitLensError: If a size is below 1, `size` is no multiple of `patch`, or 128 is none of
            `heads`.

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
        if _VIT_WIDTH % heads:
            raise out_of_range("heads", f"a divisor of {_VIT_WIDTH}, such as 4", heads)
        self.size, self.channels, self.dim = size, channels, dim
        check_weights(dim, max(dim, channels * size**2))
        with seeded_weights(seed):
            self.encoder = _ViTEncoder((size // patch) ** 2, channels, dim, patch, depth, heads)
            self.decoder = _mlp_decoder(size, channels, dim)

    def forward(self, images: _Images) -> _Images:
        """Return the reconstruction of the images."""
        reconstruction: Tensor = self.decoder(self.encoder(images))
        return reconstruction


@final
class _ViTEncoder(nn.Module):
    """The encoder from images to the code, which is read off the final class token."""

    def __init__(
        self, patches: int, channels: int, dim: int, patch: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(channels, _VIT_WIDTH, patch, stride=patch)
        self.class_token = nn.Parameter(_SPREAD * torch.randn(1, 1, _VIT_WIDTH))
        self.positions = nn.Parameter(_SPREAD * torch.randn(1 + patches, _VIT_WIDTH))
        # nn.TransformerEncoder copies one block, so all blocks would start from the same weights.
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    _VIT_WIDTH,
                    heads,
                    2 * _VIT_WIDTH,
                    dropout=0.0,
                    activation="gelu",
                    batch_first=True,
                    norm_first=True,
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(_VIT_WIDTH)
        self.head = nn.Linear(_VIT_WIDTH, dim)

    def forward(self, images: _Images) -> Float[Tensor, "batch dim"]:
        patches = self.embedding(images).flatten(2).mT
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)
        code: Tensor = self.head(self.norm(self.blocks(tokens + self.positions)[:, 0]))
        return code


def _mlp_decoder(size: int, channels: int, dim: int) -> nn.Sequential:
    """Return an untrained decoder from codes [batch, dim], before their ReLU, to images."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Linear(dim, dim),
        nn.ReLU(),
        nn.Linear(dim, channels * size * size),
        nn.Unflatten(1, (channels, size, size)),
    )
