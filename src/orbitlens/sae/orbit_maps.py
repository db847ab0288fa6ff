"""Orbit SAEs on feature maps and tokens: codes at every place that move with the input.

A spatial transport moves whole maps about a mean map mu. An orbit SAE reads the deviations from mu.
When the input moves, its codes change place and orientation, and keep their atom:

    psi(gx)[gp] = mu[gp] + rho(g) (psi(x)[p] - mu[p]),   z(gx)[gp, gh, c] = z(x)[p, h, c]
"""

import math

import numpy as np
import torch

from orbitlens.activations.layout import OutputAxes, layouts_of, read_layout
from orbitlens.checks import as_count, as_indices, as_tensor
from orbitlens.errors import OrbitLensError
from orbitlens.sae.dictionaries.orbit import OrbitDictionary
from orbitlens.sae.model import SAE, orbit_dictionary
from orbitlens.typing import Float, Int, Tensor

_PlaceCodes = Float[Tensor, "n position group atoms"]


def encode_maps(
    sae: SAE,
    maps: Float[Tensor, "n *axes"],
    *,
    mean: Float[Tensor, "..."] | None = None,
    layout: str | None = None,
) -> _PlaceCodes:
    """Return the codes of an orbit SAE at every position of feature maps or tokens.

    Args:
        sae: An orbit SAE of the layer.
        maps: Maps or tokens, such as [n, dim, height, width] or [n, positions, dim]; the axis of
            channels is the one as wide as the SAE.
        mean: The mean map mu that the SAE was trained about, shape [positions, dim]; None for none.
        layout: The axes of the maps in letters, such as "n c h w" or "n l c"; needed only if two
            axes are as wide as the SAE.

    Returns:
        Codes z[p, g, c], shape [n, positions, |G|, n_atoms]; places of a map row by row.

    Raises:
        OrbitLensError: If the SAE is not tied over a group, or the maps or the mean are of another
            shape.

    Example:
        >>> import orbitlens as ol
        >>> model = ol.models.GroupCNN(ol.groups.cyclic(4), features=2)
        >>> pictures, turn = torch.rand(60, 1, 5, 5), ol.actions.images(ol.groups.cyclic(4))
        >>> store = ol.harvest(
        ...     model, layer="conv1", inputs=pictures, action=turn, positions="all"
        ... )
        >>> rho = ol.fit_transport(store, "spatial")
        >>> sae = ol.sae.orbit_sae(store.dim, 4, 2, rho)
        >>> result = ol.fit(sae, store.about(rho.motion.mean), epochs=1)
        >>> maps = model.conv1(model.lift(pictures[:3]).relu())
        >>> encode_maps(sae, maps, mean=rho.motion.mean).shape
        torch.Size([3, 25, 4, 4])
    """
    dictionary, maps = orbit_dictionary(sae), as_tensor("maps", maps, dtype=None)
    tokens = _axes_of(maps, sae.d_in, layout).rows(maps)
    deviations = tokens if mean is None else tokens - _checked(mean, tokens)
    codes = sae.encode(deviations.flatten(0, 1))
    return dictionary.by_element(codes).unflatten(0, tokens.shape[:2])


def decode_maps(
    sae: SAE,
    codes: _PlaceCodes,
    *,
    mean: Float[Tensor, "..."] | None = None,
    size: tuple[int, ...] | None = None,
) -> Float[Tensor, "n *axes"]:
    """Return the feature maps or tokens that codes reconstruct.

    Args:
        sae: An orbit SAE.
        codes: Codes from `encode_maps`, changed or not, shape [n, positions, |G|, n_atoms].
        mean: The mean map that the SAE was trained about, shape [positions, dim]; None for none.
        size: Height and width of maps, or depth, height and width of maps of volumes; None (the
            default) for tokens.

    Returns:
        Tokens, shape [n, positions, dim], or maps, shape [n, dim, *size].

    Raises:
        OrbitLensError: If the SAE is not tied over a group, or codes, mean or size do not fit.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import isotypic_basis, regular
        >>> from orbitlens.sae import OrbitDictionary, TopK, compose
        >>> dictionary = OrbitDictionary(3, isotypic_basis(regular(cyclic(4))))
        >>> sae = compose(TopK(2), dictionary)
        >>> decode_maps(sae, torch.zeros(2, 6, 4, 3), size=(2, 3)).shape
        torch.Size([2, 4, 2, 3])
    """
    codes = _checked_codes(orbit_dictionary(sae), codes)
    positions = codes.shape[1]
    tokens = sae.decode(codes.flatten(-2).flatten(0, 1)).unflatten(0, codes.shape[:2])
    if mean is not None:
        tokens = tokens + _checked(mean, tokens)
    if size is None:
        return tokens
    known = len(size) in (2, 3) and not isinstance(size, str)  # a text has a length too
    if not known or math.prod(as_count("size", side) for side in size) != positions:
        raise OrbitLensError(
            "`size`",
            expected=f"height times width = {positions}, the positions of the codes, or depth "
            "times both",
            received=size,
            remedy="give the size of the maps, or leave it out for tokens",
        )
    return tokens.mT.unflatten(2, [int(side) for side in size])


def move_codes(
    sae: SAE, codes: _PlaceCodes, element: int, moves: Int[np.ndarray, "elements position"]
) -> _PlaceCodes:
    """Return the codes of the moved input, moved[gp, gh, c] = codes[p, h, c].

    Args:
        sae: An orbit SAE.
        codes: Codes of the input, shape [n, positions, |G|, n_atoms].
        element: g, in the order of the SAE's group.
        moves: `moves[g, p]` is the position to which p moves under g, as in `store.moves`, for the
            elements of the SAE's group, shape [|G|, positions].

    Returns:
        Codes of the same shape.

    Raises:
        OrbitLensError: If the SAE is not tied over a group, or codes, element or moves do not fit.

    Example:
        >>> import orbitlens as ol
        >>> from orbitlens.reps import isotypic_basis, regular
        >>> dictionary = OrbitDictionary(1, isotypic_basis(regular(ol.groups.cyclic(2))))
        >>> sae = ol.sae.compose(ol.sae.TopK(1), dictionary)
        >>> codes = torch.tensor([[[[1.0], [0.0]], [[0.0], [2.0]]]])  # two places, two elements
        >>> move_codes(sae, codes, 1, np.array([[0, 1], [1, 0]])).squeeze().tolist()
        [[2.0, 0.0], [0.0, 1.0]]
    """
    dictionary = orbit_dictionary(sae)
    codes = _checked_codes(dictionary, codes)
    group, positions = dictionary.group, codes.shape[1]
    element = as_count("element", element, least=0)
    moves = as_indices("moves", moves, "group position", most=positions - 1).cpu().numpy()
    if element >= group.order or moves.shape != (group.order, positions):
        raise OrbitLensError(
            "`element` and `moves`",
            expected=f"an element of {group.name} and shape {[group.order, positions]}",
            received=f"{element} and {list(moves.shape)}",
            remedy="give the moves of the elements of the SAE's group at these positions",
        )
    places = torch.from_numpy(moves[element]).to(codes.device)
    elements = torch.from_numpy(group.table[element].copy()).to(codes.device)
    moved = torch.empty_like(codes)
    moved[:, places[:, None], elements] = codes
    return moved


def _axes_of(maps: Float[Tensor, "n *axes"], dim: int, layout: str | None) -> OutputAxes:
    """Return the axes of maps; the channels are as many as the SAE is wide."""
    shape = tuple(maps.shape)
    stated = None if layout is None else read_layout(layout)
    usual = [axes for axes in layouts_of(shape) if axes.letters != ("c",)]
    possible = usual if stated is None else [stated] if stated.fits(shape) else []
    fitting = [axes for axes in possible if axes.channels(shape) == dim]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise OrbitLensError(
            "`maps`",
            expected=f"one axis of width {dim}, as the SAE",
            received=f"shape {list(shape)}",
            remedy=f"say which with `layout`, {' or '.join(repr(str(axes)) for axes in fitting)}",
        )
    raise OrbitLensError(
        "`maps`",
        expected=f"shape [n, {dim}, height, width] or [n, positions, {dim}]"
        + ("" if layout is None else f", laid out as {layout!r}"),
        received=list(shape),
        remedy="give whole maps or all tokens of the layer of the SAE",
    )


def _checked(
    mean: Float[Tensor, "..."], tokens: Float[Tensor, "n position dim"]
) -> Float[Tensor, "position dim"]:
    mean = as_tensor("mean", mean, dtype=None)
    if mean.shape != tokens.shape[1:]:
        raise OrbitLensError(
            "`mean`",
            expected=f"shape {list(tokens.shape[1:])}, as the maps",
            received=list(mean.shape),
            remedy="give the mean map of the layer's transport, `rho.motion.mean`",
        )
    return mean.to(tokens.device)


def _checked_codes(dictionary: OrbitDictionary, codes: _PlaceCodes) -> _PlaceCodes:
    codes = as_tensor("codes", codes, dtype=None)
    pair = (dictionary.group.order, dictionary.n_atoms)
    if codes.shape[2:] != pair:
        raise OrbitLensError(
            "`codes`",
            expected=f"shape [n, positions, {pair[0]}, {pair[1]}]",
            received=list(codes.shape),
            remedy="give codes as `encode_maps` returns them",
        )
    return codes
