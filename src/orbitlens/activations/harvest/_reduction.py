"""What is taken out of a layer's output: some of its positions, and the directions that matter.

The directions are found in a trial before the harvest: whole orbits of the first inputs, so that
the group moves what is seen there among itself.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.actions import Action
from orbitlens.activations.harvest._inputs import moved_batches
from orbitlens.activations.harvest._positions import Layout
from orbitlens.activations.store._write_store import check_finite
from orbitlens.data.lazy import Rows

_TRIAL_ROWS = 2048
_TRIAL_NUMBERS = 2**26  # of one layer: 256 MiB

Forward = Callable[[Tensor, Mapping[str, "Taking"]], dict[str, Tensor]]


@final
@dataclass(frozen=True, eq=False)
class Taking:
    """How the activations of one layer are taken out of its output.

    Args:
        layout: Which positions.
        shape: The shape of one input's activations before the projection: (positions, channels),
            or (channels,) for one row per input.
        all_places: Positions that the layer has.
        basis: Orthonormal directions of the channels, one per row; None keeps all channels.
        kept_variance: Share of the power of the trial that lies in these directions.
    """

    layout: Layout
    shape: tuple[int, ...]
    all_places: int
    basis: Float[Tensor, "dim channels"] | None = None
    kept_variance: float = 1.0

    @classmethod
    def of(cls, layout: Layout, output: Float[Tensor, "batch *rest"]) -> "Taking":
        """Return how to take all channels, from what a layer has put out."""
        of_tokens = layout.kind == "tokens"
        all_places = output.shape[1] if of_tokens else math.prod(output.shape[2:])
        return cls(layout, tuple(layout.take(output).shape[1:]), all_places)

    @property
    def places(self) -> int:
        """Positions kept of each input."""
        return self.shape[0] if len(self.shape) == 2 else 1

    @property
    def width(self) -> int:
        """Channels of the layer."""
        return self.shape[-1]

    @property
    def dim(self) -> int:
        """Numbers that are left of a row of channels."""
        return self.width if self.basis is None else len(self.basis)

    @property
    def kept_shape(self) -> tuple[int, ...]:
        """The shape of what is stored of one moved input."""
        return (*self.shape[:-1], self.dim)

    def take(self, output: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch *position dim"]:
        """Return a float32 copy of what is taken out of the output of a batch."""
        rows = self.layout.take(output.float())
        # The copy is made even where a view would do: the next layer may write in place.
        return rows.clone() if self.basis is None else rows @ self.basis.T


def with_bases(
    takings: Mapping[str, Taking],
    forward: Forward,
    inputs: Rows,
    action: Action,
    *,
    max_dim: int,
    batch_size: int,
    device: torch.device,
) -> dict[str, Taking]:
    """Give a basis of `max_dim` principal directions to every layer that is wider.

    Args:
        takings: How each layer is taken; those that have a basis keep it.
        forward: From moved inputs to what is taken of the given layers.
        inputs: The inputs; the first are the trial, at most about 2,048 rows per layer.
        action: How the group moves them.
        max_dim: Width of the layers at most.
        batch_size: Moved inputs per forward pass.
        device: Where the network is.

    Raises:
        OrbitLensError: If an activation of the trial is NaN or infinite; names the layer.
    """
    wide = {name: taking for name, taking in takings.items() if taking.dim > max_dim}
    if not wide:
        return dict(takings)
    rows = _trial(wide, forward, inputs, action, max_dim, batch_size)
    reduced = dict(takings)
    for name, taking in wide.items():
        found = rows.pop(name)  # freed once it is dealt with
        orbits = found.unflatten(0, (-1, action.group.order)).numpy()
        check_finite(orbits, 0, f"activations of layer {name!r}")
        basis, kept = principal_directions(found.flatten(0, -2), max_dim)
        reduced[name] = replace(taking, basis=basis.to(device), kept_variance=kept)
    return reduced


def principal_directions(
    rows: Float[Tensor, "row channels"], most: int
) -> tuple[Float[Tensor, "dim channels"], float]:
    """Return the directions in which rows have most power, and the share of it that they keep.

        sum over rows of <row, direction>^2

    is greatest for the first direction, and so on: principal components about zero, so that the
    mean is kept like anything else.

    Args:
        rows: Shape [rows, channels].
        most: Directions at most; there are no more than rows or channels.

    Returns:
        Orthonormal directions, one per row, float32; and their share of the power, 1 where rows
        are all zero.

    Example:
        >>> basis, kept = principal_directions(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), 1)
        >>> basis.abs().tolist(), round(kept, 6)
        ([[1.0, 0.0]], 0.9)
    """
    values = rows.cpu().double()
    dim = min(most, *values.shape)
    if values.shape[1] <= values.shape[0]:
        power, directions = torch.linalg.eigh(values.T @ values)
        directions = directions[:, -dim:].flip(1)
    else:
        # The same directions out of the smaller matrix of inner products; where rows depend on each
        # other some of them have no length, and the QR decomposition puts others in their place.
        power, combinations = torch.linalg.eigh(values @ values.T)
        directions = torch.linalg.qr(values.T @ combinations[:, -dim:].flip(1)).Q
    total = power.sum()
    kept = float(power[-dim:].sum() / total) if total > 0 else 1.0
    return directions.T.float().contiguous(), min(1.0, kept)


def _trial(
    wide: Mapping[str, Taking],
    forward: Forward,
    inputs: Rows,
    action: Action,
    max_dim: int,
    batch_size: int,
) -> dict[str, Float[Tensor, "moved *position channels"]]:
    """Return the activations of wide layers for whole orbits of the first inputs."""
    order = action.group.order
    wanted = {}
    for name, taking in wide.items():
        enough = min(max(_TRIAL_ROWS, max_dim), _TRIAL_NUMBERS // taking.width)
        wanted[name] = order * max(1, min(len(inputs), enough // (order * taking.places)))
    parts: dict[str, list[Tensor]] = {name: [] for name in wide}
    done = 0
    for batches in moved_batches(inputs, action, batch_size, 0, max(wanted.values()) // order):
        for moved in batches:
            lacking = {name: wide[name] for name in wide if wanted[name] > done}
            for name, rows in forward(moved, lacking).items():
                parts[name].append(rows[: wanted[name] - done].cpu())
            done += len(moved)
    return {name: torch.cat(rows) for name, rows in parts.items()}
