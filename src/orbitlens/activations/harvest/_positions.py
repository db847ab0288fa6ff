"""From the output of a layer to activations: which positions and which directions are stored.

Outputs are vectors [n, dim], tokens [n, positions, dim] or maps [n, dim, height, width].
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
from orbitlens.errors import OrbitLensError

POSITIONS = ("auto", "cls", "mean", "all")
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
        basis: Orthonormal directions of the channels, one per row; None keeps all channels.
        kept_variance: Share of the power of the trial that lies in these directions.
    """

    kind: str
    positions: str
    width: int
    all_places: int
    moves: Int[np.ndarray, "group position"] | None = None
    prefix: int = 0
    kept: Int[np.ndarray, " kept"] | None = None
    basis: Float[Tensor, "dim channels"] | None = None
    kept_variance: float = 1.0

    @property
    def places(self) -> int:
        """Positions stored of each input."""
        if self.positions == "all":
            return self.all_places if self.kept is None else len(self.kept)
        return self.prefix + 1

    @property
    def dim(self) -> int:
        """Numbers stored of each position."""
        return self.width if self.basis is None else len(self.basis)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the activations of one moved input, [dim] or [positions, dim]."""
        with_positions = self.positions == "all" or self.prefix > 0
        return (self.places, self.dim) if with_positions else (self.dim,)

    def take(self, output: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch *position dim"]:
        """Return a float32 copy of the activations in the output of a batch."""
        rows = self._rows(output.float())
        # A copy even if a view would do: the next layer may write in place.
        return rows.clone() if self.basis is None else rows @ self.basis.T

    def _rows(self, output: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch *_"]:
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


def chosen_layout(
    output: Float[Tensor, "batch *rest"],
    *,
    positions: str,
    layer: str,
    action: Action,
    model: nn.Module,
    square: bool,
) -> Layout:
    """Return the layout for a user's choice of positions, see `harvest`.

    The model may state how many of its tokens are not patches. The patches of `square` inputs may
    be a square grid.
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
    return Layout(kind, positions, *_sizes(output, kind), moves)


def limited_layout(
    output: Float[Tensor, "batch *rest"],
    *,
    most: int,
    layer: str,
    action: Action,
    model: nn.Module,
    square: bool,
) -> Layout:
    """Return the layout that keeps class token, registers and at most `most` places.

    The group moves these places among themselves, see `whole_orbits`. If it is not known how places
    move, or if every orbit of places is larger, the layout keeps their mean. A map of one place is
    a vector.
    """
    kind = kind_by_shape(output) or ""
    sizes = _sizes(output, kind)
    if kind == "vectors" or output.shape[2:] == (1, 1):
        return Layout("vectors", "mean", *sizes)
    prefix: int | None = 0
    if kind == "tokens" and action.name == "images":
        prefix = _prefix(model, output.shape[1]) if square else None
    try:
        moves = _moves(output, kind, layer, action, prefix)
    except OrbitLensError:  # it is not known how places move
        return Layout(kind, "mean", *sizes, prefix=prefix or 0)
    start = prefix or 0
    places = whole_orbits(moves[:, start:] - start, most)
    if len(places) == 0:
        return Layout(kind, "mean", *sizes, prefix=start)
    if start + len(places) == moves.shape[1]:
        return Layout(kind, "all", *sizes, moves, start)
    kept = np.concatenate([np.arange(start), start + places])
    return Layout(kind, "all", *sizes, np.searchsorted(kept, moves[:, kept]), start, kept)


def kind_by_shape(output: Float[Tensor, "..."]) -> str | None:
    """Return "vectors", "tokens" or "maps"; None for any other output."""
    return _KINDS.get(output.ndim)


def whole_orbits(
    moves: Int[np.ndarray, "group position"], most: int
) -> Int[np.ndarray, " position_kept"]:
    """Choose at most `most` places, in rising order, that the group moves among themselves.

    Orbits of full size come first, then smaller ones if there is room. Orbits of one size are
    ordered by their first places and taken at equal intervals, from a start that is drawn with
    seed 0: they spread over the map and prefer no kind of place. If even the smallest orbit is too
    large, no place is chosen.
    """
    if moves.shape[1] <= most:
        return np.arange(moves.shape[1])
    first = moves.min(axis=0)  # all places of an orbit share its first place
    orbits, sizes = np.unique(first, return_counts=True)
    start = np.random.default_rng(0).random()
    chosen, room = [np.zeros(0, dtype=np.int64)], most
    for size in np.unique(sizes)[::-1]:
        alike = orbits[sizes == size]
        count = min(len(alike), room // int(size))
        every = len(alike) / max(1, count)
        chosen.append(alike[((np.arange(count) + start) * every).astype(np.int64)])
        room -= count * int(size)
    return np.flatnonzero(np.isin(first, np.concatenate(chosen)))


def _sizes(output: Float[Tensor, "batch *rest"], kind: str) -> tuple[int, int]:
    """Return channels and positions of an output."""
    if kind == "tokens":
        return output.shape[2], output.shape[1]
    return output.shape[1], math.prod(output.shape[2:])


def _moves(
    output: Float[Tensor, "batch *rest"],
    kind: str,
    layer: str,
    action: Action,
    prefix: int | None,
) -> Int[np.ndarray, "group position"]:
    """Return where positions move: places by the grid; class token and registers stay."""
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
    """Return the number of tokens before a square grid of patches; None if there is no such grid.

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
