"""From the output of a layer to activations: vectors, tokens and maps.

Vectors are [n, dim], tokens [n, positions, dim], maps [n, dim, height, width].
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.activations.harvest._places import whole_orbits
from orbitlens.errors import OrbitLensError, unknown_name

CHOICES = ("auto", "cls", "mean", "all")
_KINDS = {2: "vectors", 3: "tokens", 4: "maps"}
_ALLOWED = {"vectors": ("mean",), "tokens": ("cls", "mean", "all"), "maps": ("mean", "all")}


@final
@dataclass(frozen=True, eq=False)
class Layout:
    """How activations are taken out of a layer's output.

    Args:
        kind: "vectors", "tokens" or "maps".
        positions: "cls", "mean" or "all".
        moves: `moves[g, p]` is the position to which position p moves under g; None unless
            positions are kept.
        prefix: Tokens before the patches, class token and registers, which "mean" leaves alone.
        kept: Positions that "all" keeps, in this order; None keeps every one.
    """

    kind: str
    positions: str
    moves: Int[np.ndarray, "group position"] | None
    prefix: int = 0
    kept: Int[np.ndarray, " kept"] | None = None

    def take(self, output: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch *position dim"]:
        """Return the activations of a batch: [batch, dim], or [batch, positions, dim] for "all"."""
        if self.kind == "vectors":
            return output.flatten(1)  # of a map with one place too
        if self.kind == "maps":
            output = rearrange(output, "batch dim height width -> batch (height width) dim")
        if self.positions == "cls":
            return output[:, 0]
        if self.positions == "mean":
            mean = reduce(output[:, self.prefix :], "batch position dim -> batch dim", "mean")
            return torch.cat([output[:, : self.prefix], mean[:, None]], 1) if self.prefix else mean
        if self.kept is None:
            return output
        return output.index_select(1, torch.from_numpy(self.kept).to(output.device))


def layout_of(
    output: Float[Tensor, "batch *rest"],
    *,
    positions: str,
    layer: str,
    action: Action,
    model: nn.Module,
    square: bool,
) -> Layout:
    """Decide how activations are taken out of a layer's output, from one batch of it.

    Args:
        output: What the layer puts out.
        positions: "auto", "cls" (the first token), "mean" (pooled) or "all"; "auto" takes the class
            token where there is one, and the mean elsewhere.
        layer: The layer's name, for messages.
        action: How the group moves inputs, hence positions.
        model: The network, which may say how many of its tokens are no patches.
        square: Whether the inputs are as high as wide; then their patches may be a square grid.

    Raises:
        OrbitLensError: If the output is of no known kind, if it has no such positions, or if it is
            not known how the group moves them.
    """
    kind = kind_by_shape(output)
    if kind is None:
        raise OrbitLensError(
            f"layer {layer!r}",
            expected="vectors [n, dim], tokens [n, positions, dim] or maps [n, dim, height, width]",
            received=f"shape {list(output.shape)}",
            remedy="choose another layer, or wrap the network so that it returns one of these",
        )
    images = action.name == "images"
    prefix = _prefix(model, output.shape[1]) if kind == "tokens" and images else 0
    if positions == "auto":
        positions = "mean" if prefix == 0 else "cls"
    if positions not in _ALLOWED[kind]:
        raise OrbitLensError(
            f"`positions` for the {kind} of layer {layer!r}, shape {list(output.shape)}",
            expected=f"auto or {' or '.join(_ALLOWED[kind])}",
            received=repr(positions),
            remedy="leave `positions` out",
        )
    moves = None
    if positions == "all":
        moves = _moves(output, kind, layer, action, prefix if square else None)
    return Layout(kind, positions, moves)


def kept_layout(
    output: Float[Tensor, "batch *rest"],
    *,
    most: int,
    layer: str,
    action: Action,
    model: nn.Module,
    square: bool,
) -> Layout:
    """Decide which positions of a layer's output are kept where there are too many to keep all.

    Class token and registers come first, then at most `most` places that the group moves among
    themselves, see `whole_orbits`; where it is not known how places move, or where no orbit of
    places is that small, their mean. A map of one place is a vector.

    Args:
        output: What the layer puts out: vectors, tokens or maps.
        most: Places at most.
        layer: The layer's name.
        action: How the group moves inputs, hence places.
        model: The network, which may say how many of its tokens are no patches.
        square: Whether the inputs are as high as wide; then their patches may be a square grid.
    """
    kind = kind_by_shape(output) or ""
    if kind == "vectors" or output.shape[2:] == (1, 1):
        return Layout("vectors", "mean", None)
    prefix: int | None = 0
    if kind == "tokens" and action.name == "images":
        prefix = _prefix(model, output.shape[1]) if square else None
    try:
        moves = _moves(output, kind, layer, action, prefix)
    except OrbitLensError:  # it is not known how places move
        return Layout(kind, "mean", None, prefix or 0)
    start = prefix or 0
    places = whole_orbits(moves[:, start:] - start, most)
    if len(places) == 0:
        return Layout(kind, "mean", None, start)
    if start + len(places) == moves.shape[1]:
        return Layout(kind, "all", moves, start)
    kept = np.concatenate([np.arange(start), start + places])
    return Layout(kind, "all", np.searchsorted(kept, moves[:, kept]), start, kept)


def kind_by_shape(output: Float[Tensor, "..."]) -> str | None:
    """Return "vectors", "tokens" or "maps", None where an output is none of them."""
    return _KINDS.get(output.ndim)


def check_choice(positions: str) -> None:
    """Check the name of a choice of positions.

    Raises:
        OrbitLensError: If it is none of auto, cls, mean and all.
    """
    if positions not in CHOICES:
        raise unknown_name("`positions`", positions, CHOICES)


def _moves(
    output: Float[Tensor, "batch *rest"],
    kind: str,
    layer: str,
    action: Action,
    prefix: int | None,
) -> Int[np.ndarray, "group position"]:
    """Say where every position goes: places by the grid, class token and registers nowhere."""
    if action.grid is None:
        raise OrbitLensError(
            f"`positions` under {action.name} of {action.group.name}",
            expected=_instead(kind),
            received="'all', but it is not known where positions move under this action",
            remedy=f"choose {_instead(kind)}",
        )
    if kind == "maps":
        return action.grid(output.shape[2], output.shape[3])
    tokens = output.shape[1]
    if action.name != "images":
        return action.grid(1, tokens)
    if prefix is None:
        raise OrbitLensError(
            f"layer {layer!r}",
            expected="patches of a square grid, alone or after a class token and stated registers",
            received=f"{tokens} tokens",
            remedy=f"choose `positions` {_instead(kind)}, or give square images",
        )
    side = math.isqrt(tokens - prefix)
    stay = np.tile(np.arange(prefix), (action.group.order, 1))
    return np.concatenate([stay, prefix + action.grid(side, side)], axis=1)


def _prefix(model: nn.Module, tokens: int) -> int | None:
    """Return how many tokens come before a square grid of patches, None if there is no such grid.

    A network of timm or transformers may state its class token and registers.
    """
    stated = getattr(model, "num_prefix_tokens", None)
    registers = getattr(getattr(model, "config", None), "num_register_tokens", None)
    if isinstance(registers, int):
        stated = 1 + registers
    for prefix in (stated, 0) if isinstance(stated, int) else (0, 1):
        patches = tokens - prefix
        if patches > 0 and math.isqrt(patches) ** 2 == patches:
            return prefix
    return None


def _instead(kind: str) -> str:
    return " or ".join(choice for choice in _ALLOWED[kind] if choice != "all")
