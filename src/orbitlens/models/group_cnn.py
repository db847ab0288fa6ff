"""A network that is equivariant by construction, with a knob that breaks the symmetry."""

from typing import final

from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.groups import Group
from orbitlens.models._building import check_sizes, seeded_weights
from orbitlens.models._settings import keeps_settings
from orbitlens.models.group_layers import GroupConv2d, LiftingConv2d


@final
@keeps_settings
class GroupCNN(nn.Module):
    """Convolutional network over a group of turns and flips, with untrained weights.

        lift      F_0[f, g] = b_f + sum_c x_c * (g W_fc)
        conv1, 2  F_l[f, g] = b_f + sum_{f', h} relu(F_{l-1})[f', h] * (g W_ff'[g^-1 h])
        pool      v[f, g]   = mean over places of relu(F_2)[f, g]
        readout   y[f]      = mean over g of v[f, g]

    with * a correlation padded with zeros, and g W the kernel moved as `actions.images` does.
    Channel f |G| + g of a layer holds [f, g]. On square images the layers are equivariant up to
    rounding: g acts by I (x) regular(g) on the channels of maps, and on their places as on pixels;
    by I (x) regular(g) on "pool"; "readout" is invariant. Maps are read before their ReLU.

    So the network is a known answer for transports.

    Source: Cohen & Welling 2016, arXiv 1602.07576, *Group Equivariant Convolutional Networks*:
    G-correlations, on images and on functions on the group.

    Args:
        group: C1, C2, C4, D1, D2 or D4.
        channels: Channels c of the images.
        features: Features f of each layer, which has features * |G| channels.
        kernel: Height and width of the kernels, in pixels; odd.
        broken: Degree of broken symmetry, 0 to 1: the network adds `broken` times free kernels to
            the tied ones. Both start with the same norm.
        seed: Seed of the initial weights, which do not depend on `broken`.

    Raises:
        OrbitLensError: If the group moves pixels off the grid, if a size is below 1, if the kernel
            is even, or if `broken` is out of range.

    Example:
        >>> import torch
        >>> from orbitlens.groups import dihedral
        >>> model, picture = GroupCNN(dihedral(4)), torch.rand(1, 1, 8, 8)
        >>> model.lift(picture).shape, model(picture).shape
        (torch.Size([1, 32, 8, 8]), torch.Size([1, 4]))
        >>> torch.allclose(model(picture), model(picture.flip(-2)), atol=1e-5)
        True
    """

    def __init__(
        self,
        group: Group,
        channels: int = 1,
        features: int = 4,
        kernel: int = 3,
        broken: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(channels=channels)
        self.group, self.broken = group, broken
        with seeded_weights(seed):
            self.lift = LiftingConv2d(group, channels, features, kernel, broken=broken)
            self.conv1 = GroupConv2d(group, features, features, kernel, broken=broken)
            self.conv2 = GroupConv2d(group, features, features, kernel, broken=broken)
        self.pool = _Mean("batch channels height width -> batch channels")
        self.readout = _Mean("batch (features order) -> batch features", order=group.order)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features"]:
        """Return the invariant features of the images."""
        maps = self.lift(images)
        maps = self.conv1(maps.relu())
        maps = self.conv2(maps.relu())
        readout: Tensor = self.readout(self.pool(maps.relu()))
        return readout


@final
class _Mean(nn.Module):
    """The mean over some axes as a layer."""

    def __init__(self, pattern: str, **sizes: int) -> None:
        super().__init__()
        self.pattern, self.sizes = pattern, sizes

    def forward(self, x: Float[Tensor, "batch *axes"]) -> Float[Tensor, "batch out"]:
        return reduce(x, self.pattern, "mean", **self.sizes)
