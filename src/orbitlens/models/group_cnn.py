"""A network that is equivariant by construction, with a knob that breaks the symmetry."""

from typing import final

import numpy as np
import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import conv2d

from orbitlens.actions import Action, images
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.groups import Group
from orbitlens.models._building import check_sizes, seeded_weights


@final
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
        check_sizes(channels=channels, features=features, kernel=kernel)
        if kernel % 2 == 0:
            raise out_of_range("kernel", "an odd number of pixels", kernel)
        if not 0 <= broken <= 1:
            raise out_of_range("broken", "0 to 1", broken)
        self.group, self.broken = group, broken
        action = _exact(group)
        alone = np.zeros((group.order, 1), dtype=np.int64)
        relative = group.table[group.inverses]
        with seeded_weights(seed):
            self.lift = _TiedConv2d(action, alone, channels, features, kernel, broken)
            self.conv1 = _TiedConv2d(action, relative, features, features, kernel, broken)
            self.conv2 = _TiedConv2d(action, relative, features, features, kernel, broken)
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
class _TiedConv2d(nn.Module):
    """A convolution onto functions on the group: one kernel W per feature, moved by every element.

        kernels[f |G| + g, c P + h] = g W[f, c, planes[g, h]] + broken * free

    `planes[g, h]` is one of the P planes of W: for functions on the group that of g^-1 h; images
    have one plane only.
    """

    planes: Tensor

    def __init__(
        self,
        action: Action,
        planes: Int[np.ndarray, "group plane"],
        inputs: int,
        features: int,
        kernel: int,
        broken: float,
    ) -> None:
        super().__init__()
        self.action, self.broken = action, broken
        self.register_buffer("planes", torch.from_numpy(planes.copy()), persistent=False)
        fan_in = inputs * planes.shape[1] * kernel**2
        shape = (features, inputs, planes.shape[1], kernel, kernel)
        # He et al. 2015: the variance survives the ReLUs.
        self.tied = nn.Parameter(torch.randn(shape) * (2 / fan_in) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(features))
        with torch.no_grad():
            tied = self._moved()
            free = torch.randn(tied.shape)
            self.free = nn.Parameter(free * tied.norm() / free.norm())

    def forward(
        self, maps: Float[Tensor, "batch in height width"]
    ) -> Float[Tensor, "batch out height width"]:
        kernels = self._moved() + self.broken * self.free
        bias = repeat(self.bias, "feature -> (feature group)", group=self.action.group.order)
        return conv2d(maps, kernels, bias, padding="same")

    def _moved(self) -> Float[Tensor, "out in kernel kernel"]:
        """Return the kernels of all elements, moved by them, with their planes permuted."""
        shape, moved = self.tied.shape[:2], []
        for g in range(self.action.group.order):
            kernels = self.tied[:, :, self.planes[g]].flatten(0, 1)
            moved.append(self.action.apply(kernels, g).unflatten(0, shape))
        return rearrange(
            torch.stack(moved),
            "group feature channel plane y x -> (feature group) (channel plane) y x",
        )


def _exact(group: Group) -> Action:
    action = images(group, interpolation="bilinear")
    if not action.exact:
        raise OrbitLensError(
            "`group` of GroupCNN",
            expected="C1, C2, C4, D1, D2 or D4, which move pixels to pixels",
            received=group.name,
            remedy="choose one of these",
        )
    return action


@final
class _Mean(nn.Module):
    """The mean over some axes as a layer."""

    def __init__(self, pattern: str, **sizes: int) -> None:
        super().__init__()
        self.pattern, self.sizes = pattern, sizes

    def forward(self, x: Float[Tensor, "batch *axes"]) -> Float[Tensor, "batch out"]:
        return reduce(x, self.pattern, "mean", **self.sizes)
