"""Canonicalisers for finite groups: networks that name a frame for each input.

Two give each element a score. The scores are a function on the group that moves with the input,
s(hx)[g] = s(x)[h^-1 g]. So the element with the largest score names a frame, and the frame of hx is
h times that of x.

Source: Kaba et al. 2023, arXiv 2211.06489, *Equivariance with Learned Canonicalization Functions*.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.actions import Action, images
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, PlaneGroup
from orbitlens.models import GroupConv2d, LiftingConv2d
from orbitlens.models._building import check_sizes, seeded_weights
from orbitlens.symmetry.split import Pose, index_map

_WAVES = 5  # along each axis of the template of an image


@final
class EnergyHead(nn.Module):
    """Scores of the elements of any finite group: one energy for each view of the input.

        s(x)[g] = E(g^-1 x - m)   with a network E of two layers on all numbers of an input
        m = half of max over g of g^-1 x, plus half of the min, for each number

    Then s(hx)[g] = s(x)[h^-1 g], whatever E is: hx has the views of x in another order, hence the
    same m. It takes away what all views share, such as the brightness of an image.

    Args:
        action: The action, of a finite group.
        numbers: Numbers of one input, such as channels * height * width.
        hidden: Width of E.
        seed: Seed of the first weights.

    Raises:
        OrbitLensError: If inputs have another number of numbers.

    Example:
        >>> from orbitlens.actions import images
        >>> head, x = EnergyHead(images("C4"), numbers=64), torch.rand(1, 1, 8, 8)
        >>> scores, turned = head(x), head(x.rot90(1, (-2, -1)))
        >>> torch.allclose(turned[:, 1], scores[:, 0])
        True
    """

    def __init__(self, action: Action, numbers: int, hidden: int = 32, seed: int = 0) -> None:
        super().__init__()
        check_sizes(numbers=numbers, hidden=hidden)
        self.action, self.numbers = action, numbers
        with seeded_weights(seed):
            self.energy = nn.Sequential(
                nn.Flatten(), nn.Linear(numbers, hidden), nn.Tanh(), nn.Linear(hidden, 1)
            )

    def forward(self, inputs: Float[Tensor, "n *axes"]) -> Float[Tensor, "n group"]:
        """Return the score of each element for each input."""
        numbers = inputs.shape[1:].numel()
        if numbers != self.numbers:
            raise _other_size("EnergyHead", f"{self.numbers} numbers in each", numbers)
        group = self.action.group
        views = torch.stack([self.action.moved(inputs, int(g)) for g in group.inverses])
        middle = (views.amax(0) + views.amin(0)) / 2
        energies: Tensor = self.energy((views - middle).flatten(0, 1))
        return energies.unflatten(0, (group.order, len(inputs)))[..., 0].T


@final
class ImageHead(nn.Module):
    """Scores of the turns and flips of images: a small group CNN with one feature on the group.

        s(x)[g] = mean over places u of T(g^-1 u) F[g, u]    F = conv(relu(conv(relu(lift(x - m)))))

    up to an addend that is the same for all g. T is a learned template of 5 x 5 cosine waves. It
    sees where a feature is, which a plain mean over places does not. m is half of the largest and
    half of the smallest value of a channel.

    Args:
        group: C1, C2, C4, D1, D2 or D4.
        channels: Channels of the images.
        features: Features of the two hidden layers.
        kernel: Height and width of the kernels, in pixels; odd.
        seed: Seed of the first weights.

    Raises:
        OrbitLensError: If images have other channels, or a shape that the group does not keep.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> head, x = ImageHead(cyclic(4), channels=1), torch.rand(1, 1, 8, 8)
        >>> scores, turned = head(x), head(x.rot90(1, (-2, -1)))
        >>> torch.allclose(turned[:, 1], scores[:, 0], atol=1e-6)
        True
    """

    def __init__(
        self, group: Group, channels: int, features: int = 8, kernel: int = 5, seed: int = 0
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, features=features, kernel=kernel)
        self.action, self.channels = images(group), channels
        with seeded_weights(seed):
            self.lift = LiftingConv2d(group, channels, features, kernel)
            self.hidden = GroupConv2d(group, features, features, kernel)
            self.last = GroupConv2d(group, features, 1, kernel)
            self.template = nn.Parameter(torch.randn(_WAVES, _WAVES))

    def forward(self, inputs: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n group"]:
        """Return the score of each element for each image."""
        self.action.check(inputs)
        if inputs.shape[1] != self.channels:
            raise _other_size("ImageHead", f"{self.channels} channels", inputs.shape[1])
        high, low = (find(inputs, (-2, -1), keepdim=True) for find in (torch.amax, torch.amin))
        maps = self.last(self.hidden(self.lift(inputs - (high + low) / 2).relu()).relu())
        template = _waves(inputs, -2).mT @ self.template @ _waves(inputs, -1)
        moved = [self.action.moved(template[None, None], g) for g in range(self.action.group.order)]
        terms = maps * torch.cat(moved, 1)
        # An addend for all elements: scores must be as large as the terms, whose rounding they
        # have, or equal scores that are close to 0 would seem to differ.
        return terms.mean((-2, -1)) + terms.detach().abs().mean((1, 2, 3))[:, None]


def _waves(
    inputs: Float[Tensor, "n channels height width"], axis: int
) -> Float[Tensor, "waves places"]:
    """Return cos(pi k (i + 1/2) / size) at places i of an axis, for k from 0."""
    size = inputs.shape[axis]
    places = torch.arange(size, device=inputs.device, dtype=inputs.dtype) + 0.5
    k = torch.arange(_WAVES, device=inputs.device, dtype=inputs.dtype)
    return (torch.pi / size * k[:, None] * places).cos()


@final
class PlaneHead(nn.Module):
    """Names a frame for images on a torus: the index map of group equivariant subsampling.

        g(x) = index_map(relu(lift(x)))

    The kernels are random and stay so, as no gradient flows through an index.

    Source: Xu et al. 2021, arXiv 2106.05886, *Group Equivariant Subsampling*.

    Args:
        group: The plane group.
        channels: Channels of the images.
        features: Features of the map.
        kernel: Height and width of the kernels, in pixels; odd.
        seed: Seed of the kernels.

    Example:
        >>> head, x = PlaneHead(PlaneGroup("p1", 8), channels=1), torch.rand(1, 1, 8, 8)
        >>> shift = head(x.roll((1, 2), (-2, -1))).element - head(x).element
        >>> (shift % 8).tolist()
        [[1, 2, 0]]
    """

    def __init__(
        self, group: PlaneGroup, channels: int, features: int = 8, kernel: int = 5, seed: int = 0
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, features=features, kernel=kernel)
        self.group = group
        with seeded_weights(seed):
            self.lift = LiftingConv2d(
                group.point_group, channels, features, kernel, padding="circular"
            )
        self.requires_grad_(False)

    def forward(self, inputs: Float[Tensor, "n channels side side"]) -> Pose:
        """Return the frame of each image, and whether another serves as well."""
        return index_map(self.lift(inputs).relu(), self.group)


def _other_size(head: str, expected: str, received: int) -> OrbitLensError:
    return OrbitLensError(
        f"`inputs` of {head}",
        expected=expected,
        received=received,
        remedy="make the head for inputs of this size",
    )
