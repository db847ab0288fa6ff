"""The base models of the Shapes experiment: an MLP and a CNN autoencoder.

Source: Erdogan & Lucic, arXiv 2511.09432. Their SAEs explain the output of `encoder`, before its
ReLU, which is therefore the first layer of `decoder`.
"""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from orbitlens.errors import OrbitLensError
from orbitlens.models.base import seeded_weights

_WIDTHS = (16, 32)
_SHRINKAGE = 4  # of the CNN's two layers of stride 2


@final
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
        OrbitLensError: If one of the sizes is below 1.

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
        with seeded_weights(seed):
            self.encoder = nn.Sequential(
                nn.Flatten(), nn.Linear(pixels, dim), nn.ReLU(), nn.Linear(dim, dim)
            )
            self.decoder = mlp_decoder(size, channels, dim)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the reconstruction of the images."""
        reconstruction: Tensor = self.decoder(self.encoder(images))
        return reconstruction


@final
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
        OrbitLensError: If one of the sizes is below 1, or `size` is no multiple of 4.

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
        narrow, wide = _WIDTHS
        kernel = size // _SHRINKAGE
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

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the reconstruction of the images."""
        reconstruction: Tensor = self.decoder(self.encoder(images))
        return reconstruction


@final
class _WholeConv2d(nn.Conv2d):
    """A convolution whose kernel covers the whole map: one product, in a third of the time."""

    def forward(
        self, input: Float[Tensor, "batch channels size size"]
    ) -> Float[Tensor, "batch out 1 1"]:
        return linear(input.flatten(1), self.weight.flatten(1), self.bias)[:, :, None, None]


@final
class _WholeConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of one pixel: one product as well."""

    def forward(
        self,
        input: Float[Tensor, "batch channels 1 1"],
        output_size: list[int] | None = None,
    ) -> Float[Tensor, "batch out size size"]:
        kernel = self.weight.flatten(1)
        spread = (input.flatten(1) @ kernel).unflatten(1, self.weight.shape[1:])
        return spread if self.bias is None else spread + self.bias[:, None, None]


def mlp_decoder(size: int, channels: int, dim: int) -> nn.Sequential:
    """Return the untrained decoder from a code, before its ReLU, to an image.

        ReLU, Linear d - d, ReLU, Linear d - c s^2

    Source: Erdogan & Lucic, arXiv 2511.09432, the MLP autoencoder.

    Args:
        size: Height and width s of the images, in pixels.
        channels: Their channels c.
        dim: Width d of the code.

    Returns:
        A network from [batch, dim] to [batch, channels, size, size].

    Example:
        >>> import torch
        >>> mlp_decoder(4, 3, 8)(torch.zeros(2, 8)).shape
        torch.Size([2, 3, 4, 4])
    """
    return nn.Sequential(
        nn.ReLU(),
        nn.Linear(dim, dim),
        nn.ReLU(),
        nn.Linear(dim, channels * size * size),
        nn.Unflatten(1, (channels, size, size)),
    )


def check_sizes(**sizes: int) -> None:
    """Check that sizes are positive.

    Raises:
        OrbitLensError: If one of them is below 1; it is named.
    """
    for name, value in sizes.items():
        if value < 1:
            raise OrbitLensError(
                f"`{name}`",
                expected="at least 1",
                received=value,
                remedy="choose a positive number",
            )
