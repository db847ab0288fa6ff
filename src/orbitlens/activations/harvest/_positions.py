"""From the output of a layer to activations: which positions and which directions are stored."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.actions import Action
from orbitlens.activations.layout import OutputAxes, grid_of
from orbitlens.errors import OrbitLensError

POSITIONS = ("auto", "cls", "mean", "all")
_ALLOWED = {"vectors": ("mean",), "tokens": ("cls", "mean", "all"), "maps": ("mean", "all")}


@final
@dataclass(frozen=True, eq=False)
class Layout:
    """How activations are taken out of a layer's output.

    Args:
        axes: The meaning of the output's axes.
        shape_of_output: The shape of the output, without the axis of inputs.
        positions: "cls", "mean" or "all".
        moves: `moves[g, p]` is the position to which position p moves under g; None unless
            positions are kept.
        prefix: Tokens before the patches, class token and registers, which "mean" leaves alone.
        kept: Positions that "all" keeps, in this order; None keeps every one.
        basis: Orthonormal directions of the channels, one per row; None keeps all channels.
        kept_variance: Share of the power of the trial that lies in these directions.
    """

    axes: OutputAxes
    shape_of_output: tuple[int, ...]
    positions: str
    moves: Int[np.ndarray, "group position"] | None = None
    prefix: int = 0
    kept: Int[np.ndarray, " kept"] | None = None
    basis: Float[Tensor, "dim channels"] | None = None
    kept_variance: float = 1.0

    @property
    def kind(self) -> str:
        """The kind of the output: "vectors", "tokens" [n, positions, dim], or "maps"."""
        return {("c",): "vectors", ("l", "c"): "tokens"}.get(self.axes.letters, "maps")

    @property
    def width(self) -> int:
        """Channels of the output."""
        return self.axes.channels((1, *self.shape_of_output))

    @property
    def all_places(self) -> int:
        """Positions of the output, first tokens among them."""
        return math.prod(self.axes.places((1, *self.shape_of_output)))

    @property
    def record(self) -> dict[str, Any]:
        """A JSON-ready record of the axes."""
        return self.axes.record((1, *self.shape_of_output))

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
        if self.kind == "vectors" and self.positions != "all":
            return output.flatten(1)  # of a map with one place too
        output = self.axes.rows(output)
        if self.positions == "cls":
            return output[:, 0]
        if self.positions == "mean":
            mean = reduce(output[:, self.prefix :], "batch position dim -> batch dim", "mean")
            return torch.cat([output[:, : self.prefix], mean[:, None]], 1) if self.prefix else mean
        if self.kept is None:
            return output
        return output.index_select(1, torch.from_numpy(self.kept).to(output.device))


def chosen_layout(
    axes: OutputAxes, shape: tuple[int, ...], *, positions: str, layer: str, action: Action
) -> Layout:
    """Return the layout for a user's choice of positions, see `harvest`."""
    whole = Layout(axes, shape[1:], "mean")
    kind = whole.kind
    allowed = _ALLOWED[kind]
    if kind == "vectors" and len(shape) > 2:  # tokens or a map of one place
        allowed = _ALLOWED["tokens" if len(shape) == 3 else "maps"]
    if positions == "auto" and axes.first is None:
        raise OrbitLensError(
            f"`positions` of layer {layer!r}",
            expected=f"{' or '.join(allowed)}, because it is not known which tokens come first",
            received=f"'auto' for shape {list(shape)}",
            remedy="choose one of these, or give `layout`, such as 'n 1+l c' for a class token",
        )
    if positions == "auto":
        positions = "cls" if axes.first else "mean"
    if positions not in allowed:
        raise OrbitLensError(
            f"`positions` for the {kind} of layer {layer!r}, shape {list(shape)}",
            expected=f"auto or {' or '.join(allowed)}",
            received=repr(positions),
            remedy="leave `positions` out",
        )
    moves = _moves(axes, shape, layer, action, allowed) if positions == "all" else None
    return Layout(axes, shape[1:], positions, moves)


def limited_layout(
    axes: OutputAxes, shape: tuple[int, ...], *, most: int, layer: str, action: Action
) -> Layout:
    """Return the layout that keeps class token, registers and at most `most` places.

    The group moves these places among themselves, see `whole_orbits`. If it is not known how places
    move, or if every orbit of places is larger, the layout keeps their mean. A map of one place is
    a vector.
    """
    if axes.letters == ("c",):
        return Layout(axes, shape[1:], "mean")
    start = axes.first or 0
    try:
        moves = _moves(axes, shape, layer, action, _ALLOWED["maps"])
    except OrbitLensError:  # it is not known how places move
        return Layout(axes, shape[1:], "mean", prefix=start)
    places = whole_orbits(moves[:, start:] - start, most)
    if len(places) == 0:
        return Layout(axes, shape[1:], "mean", prefix=start)
    if start + len(places) == moves.shape[1]:
        return Layout(axes, shape[1:], "all", moves, start)
    kept = np.concatenate([np.arange(start), start + places])
    return Layout(axes, shape[1:], "all", np.searchsorted(kept, moves[:, kept]), start, kept)


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


def _moves(
    axes: OutputAxes,
    shape: tuple[int, ...],
    layer: str,
    action: Action,
    allowed: tuple[str, ...],
) -> Int[np.ndarray, "group position"]:
    """Return where positions move: places by the grid; class token and registers stay."""
    instead = " or ".join(choice for choice in allowed if choice != "all")
    if action.grid is None:
        raise OrbitLensError(
            f"`positions` under {action.name} of {action.group.name}",
            expected=instead,
            received="'all', but it is not known where positions move under this action",
            remedy=f"choose {instead}",
        )
    if axes.letters == ("c",):  # one place
        return np.zeros((action.group.order, 1), dtype=np.int64)
    places = axes.places(shape)
    if "l" not in axes.letters:
        return grid_of(action, places)
    first, grid = axes.first, axes.grid
    if action.name not in ("images", "volumes") and grid is None and first is not None:
        grid = (places[0] - first,)
    if first is None or not grid:
        raise OrbitLensError(
            f"layer {layer!r}",
            expected="places of a grid that is known, alone or after first tokens that are known",
            received=f"{places[0]} tokens",
            remedy=f"choose `positions` {instead}, or give `layout`, such as 'n 1+l c'",
        )
    stay = np.tile(np.arange(first), (action.group.order, 1))
    return np.concatenate([stay, first + grid_of(action, grid)], axis=1)
