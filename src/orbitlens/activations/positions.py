"""From the output of a layer to activations: vectors, tokens and maps.

Vectors are [n, dim], tokens [n, positions, dim], maps [n, dim, height, width].
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn

from orbitlens.actions.base import Action
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
        moves: `moves[g, p]` is the position to which position p moves under g; None unless all
            positions are kept.
    """

    kind: str
    positions: str
    moves: Int[np.ndarray, "group position"] | None

    def take(self, output: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch *position dim"]:
        """Return the activations of a batch: [batch, dim], or [batch, positions, dim] for "all"."""
        if self.kind == "vectors":
            return output
        if self.kind == "maps":
            output = rearrange(output, "batch dim height width -> batch (height width) dim")
        if self.positions == "cls":
            return output[:, 0]
        if self.positions == "mean":
            return reduce(output, "batch position dim -> batch dim", "mean")
        return output


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
    kind = _KINDS.get(output.ndim)
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
