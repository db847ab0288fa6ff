"""Symmetric embeddings: an ordinary network first, an exactly equivariant one behind it.

Source: Park, Biza, Zhao, van de Meent & Walters 2022, arXiv 2204.11371, *Learning Symmetric
Embeddings for Equivariant World Models*: S and E.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.actions import Action, images, places_moved
from orbitlens.checks import as_count, as_seed, check_memory, check_weights
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.groups import Group, as_group
from orbitlens.models import GroupConv2d, LiftingConv2d, ProjectingConv2d, keeps_settings
from orbitlens.symmetry.split._doors import as_values
from orbitlens.symmetry.split._functions_on_group import MapNorm, OrbitStack, three_linears
from orbitlens.symmetry.split._memory import channels_last

_KINDS = ("plain", "equivariant")
_BEYOND = 1e-3  # of [0, 1], for images that were rounded


@final
@keeps_settings
class SymmetricEmbedding(nn.Module):
    """Latents of the objects in an image, on which a group acts that does not act on pixels.

        z = E(S(x))        E(g v) = g E(v)   exactly        S(g x) ~ g S(x)   learned

    S is an ordinary convolutional network to one map for each object, with values in [0, 1]. On
    maps g acts as `actions.images` does. What g does to the image need not be known: S learns to
    draw maps that move by g, as E and all that follows leave it no other way to a low loss.

    E reads each map as functions on the group, orbit by orbit, and takes it to `copies` functions,
    by the same weights for all objects. So z of an object is that many copies of the regular
    representation.

    With `kind="equivariant"` S commutes with turned pixels as well, which assumes too much where
    images do not turn. With the group "C1" nothing is tied, and this is an ordinary network.

    Source: Park et al. 2022, arXiv 2204.11371, and its code for the layers; "3D Blocks".

    Args:
        group: C1, C2, C4, D1, D2 or D4, or its name.
        channels: Channels of the images, default 3.
        side: Height and width of the images and of the maps, in pixels; default 20.
        objects: Number K of maps, default 2.
        width: Channels of the hidden maps of S, or functions on the group if it is equivariant;
            default 16.
        hidden: Functions of the hidden layers of E, default 48.
        copies: Functions of each latent, default 2.
        kind: "plain" (the default) or "equivariant": the layers of S.
        seed: Seed of the initial weights.

    Raises:
        OrbitLensError: If the group moves pixels off the grid, the kind is unknown, a size is
            below 1, or the weights need more memory than there is.

    Example:
        >>> model = SymmetricEmbedding("C4", side=8, hidden=4)
        >>> x = torch.rand(5, 3, 8, 8)
        >>> model(x).shape
        torch.Size([5, 2, 8])
        >>> maps = model.maps(x)
        >>> turned = model.of_maps(maps.rot90(1, (-2, -1)))
        >>> by_hand = model.of_maps(maps).unflatten(-1, (2, 4)).roll(1, -1).flatten(-2)
        >>> torch.allclose(turned, by_hand, atol=1e-5)
        True
    """

    def __init__(
        self,
        group: Group | str,
        *,
        channels: int = 3,
        side: int = 20,
        objects: int = 2,
        width: int = 16,
        hidden: int = 48,
        copies: int = 2,
        kind: str = "plain",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.group, self.kind = as_group(group), kind
        self.channels, self.side = as_count("channels", channels), as_count("side", side)
        self.objects, self.copies = as_count("objects", objects), as_count("copies", copies)
        width, hidden = as_count("width", width), as_count("hidden", hidden)
        if kind not in _KINDS:
            raise unknown_name("`kind`", str(kind), _KINDS)
        order, places = self.group.order, self.side**2
        check_weights(max(width, self.objects), max(width, self.channels), 9 * order)
        check_weights(hidden, max(hidden, self.copies, places // order), order)
        check_memory("maps of a world", 8 * self.objects * order * places, "choose smaller ones")
        moves = places_moved(_exact(self.group).apply, self.group.order, self.side, self.side)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(as_seed(seed))
            layers = _plain if kind == "plain" else _equivariant
            self.maps = layers(self.group, self.channels, width, self.objects)
            self.functions = OrbitStack(moves)
            self.encoder = three_linears(self.group, self.functions.features, hidden, self.copies)

    @property
    def dim(self) -> int:
        """Numbers in the latent of an object."""
        return self.copies * self.group.order

    def forward(self, x: Float[Tensor, "n channels side side"]) -> Float[Tensor, "n objects dim"]:
        """Return the latents of the objects.

        Args:
            x: Images in [0, 1], shape [n, channels, side, side].

        Returns:
            Latents, shape [n, objects, copies * |G|]: value c |G| + g is that of function c at g.

        Raises:
            OrbitLensError: If the images have another shape, or values outside of [0, 1].
        """
        return self.of_maps(self.maps(channels_last(self.checked(x))))

    def of_maps(self, maps: Float[Tensor, "n objects side side"]) -> Float[Tensor, "n objects dim"]:
        """Return E(maps), which commutes with the group exactly.

        Raises:
            OrbitLensError: If the maps are not square, or of another size or number.
        """
        wanted = (self.objects, self.side, self.side)
        maps = as_values("maps", maps, "...", network=self)
        if maps.ndim != 4 or tuple(maps.shape[1:]) != wanted:
            raise OrbitLensError(
                "`maps` of objects",
                expected=f"shape [n, {self.objects}, {self.side}, {self.side}], one square map for "
                "each object",
                received=list(maps.shape),
                remedy="give as many maps as the embedding has objects, of its side",
            )
        latents: Tensor = self.encoder(self.functions(maps.flatten(2)))
        return latents

    def checked(
        self, x: Float[Tensor, "n channels side side"]
    ) -> Float[Tensor, "n channels side side"]:
        """Return the images as floats of the type of the weights.

        Raises:
            OrbitLensError: If they are not such as the embedding takes.
        """
        wanted, subject = (self.channels, self.side, self.side), "images of a world"
        given, x = getattr(x, "dtype", "floats"), as_values("x", x, "...", network=self)
        if x.ndim != 4 or tuple(x.shape[1:]) != wanted:
            raise OrbitLensError(
                subject,
                expected=f"shape [n, {', '.join(map(str, wanted))}], channels first and square",
                received=list(x.shape),
                remedy="cut or resize the images, or build the embedding with their channels and "
                "side",
            )
        if "float" not in str(given):
            raise OrbitLensError(
                subject,
                expected="floats in [0, 1]",
                received=str(given).removeprefix("torch."),
                remedy="convert them, for example with images.float() / 255",
            )
        low, high = (float(bound) for bound in x.detach().aminmax()) if len(x) else (0.0, 0.0)
        if not (low >= -_BEYOND and high <= 1 + _BEYOND):
            raise OrbitLensError(
                subject,
                expected="values in [0, 1]",
                received=f"values from {low:.4g} to {high:.4g}",
                remedy="divide them by their white, such as 255",
            )
        return x


def _exact(group: Group) -> Action:
    action = images(group, interpolation="bilinear")
    if not action.exact:
        raise OrbitLensError(
            "`group` of an embedding",
            expected="C1, C2, C4, D1, D2 or D4, which move pixels to pixels",
            received=group.name,
            remedy="choose one of these",
        )
    return action


def _plain(group: Group, channels: int, width: int, objects: int) -> nn.Sequential:
    del group
    layers: list[nn.Module] = []
    for inputs in (channels, width):
        conv = nn.Conv2d(inputs, width, 3, padding=1)
        nn.init.xavier_uniform_(conv.weight)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
    last = nn.Conv2d(width, objects, 3, padding=1)
    nn.init.xavier_uniform_(last.weight)
    return nn.Sequential(*layers, last, nn.Sigmoid())


def _equivariant(group: Group, channels: int, width: int, objects: int) -> nn.Sequential:
    return nn.Sequential(
        LiftingConv2d(group, channels, width),
        MapNorm(group, width),
        nn.ReLU(),
        GroupConv2d(group, width, width),
        MapNorm(group, width),
        nn.ReLU(),
        ProjectingConv2d(group, width, objects),
        nn.Sigmoid(),
    )
