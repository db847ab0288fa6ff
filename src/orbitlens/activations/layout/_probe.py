"""Evidence of the layout of an output: moved inputs, and inputs that change in one place."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.actions import Action
from orbitlens.activations.layout._atoms import PLACE, kind_of_axis
from orbitlens.activations.layout._axes import OutputAxes, layouts_of
from orbitlens.activations.layout._trace import axes_of_inputs
from orbitlens.errors import OrbitLensError

Outputs = Mapping[str, Float[Tensor, "batch *_"]]
_SAME, _OTHER = 0.05, 0.5  # of the squared difference of a moved output, where layouts differ
_LOCAL, _SPREAD = 0.4, 2.0  # shares of an axis that a local change reaches


@final
class Probe:
    """Outputs for moved and for locally changed inputs, run when they are first needed."""

    def __init__(
        self,
        run: Callable[[Tensor], Outputs],
        ready: Callable[[Tensor], Tensor],
        inputs: Tensor,
        action: Action | None,
    ) -> None:
        self._outputs, self._ready = run, ready
        self._inputs, self._action = inputs[:1], action
        self._moved: Outputs | None = None
        self._changed: Outputs | None = None

    def _run(self, batch: Tensor) -> Outputs:
        found = self._outputs(self._ready(batch))
        return {name: output.detach().float().clone() for name, output in found.items()}

    def choose(self, layer: str, shape: tuple[int, ...]) -> OutputAxes | None:
        """Return the layout under which places alone move, or change; None if none stands out."""
        usual = layouts_of(shape)
        if self._action is None or len(usual) < 2:
            return None
        errors = [self._error(layer, axes, self._action) for axes in usual]
        best = min(errors)
        if best < _SAME and sorted(errors)[1] > _OTHER:
            return usual[errors.index(best)]
        local = [axes for axes in usual if self._is_local(layer, axes)]
        return replace(local[0], first=None) if len(local) == 1 else None

    def _error(self, layer: str, axes: OutputAxes, action: Action) -> float:
        """Return how far lengths of channels are from moving as the places do, 1 for no relation.

        Lengths do not change where the group permutes channels.
        """
        if not action.exact or action.grid is None:
            return math.inf
        if self._moved is None:
            self._moved = self._run(action.orbit(self._inputs).flatten(0, 1))
        output = self._moved[layer]
        if len(output) != action.group.order:
            return math.inf
        places = axes.places(tuple(output.shape))
        try:
            moves = grid_of(action, places)
        except OrbitLensError:
            return math.inf
        lengths = axes.rows(output).norm(dim=-1).double()
        lengths = lengths - lengths.mean(1, keepdim=True)
        moved = lengths.gather(1, torch.from_numpy(moves).to(lengths.device))
        spread = lengths[0].square().sum().item()
        wrong = (moved - lengths[0]).square().sum(1).mean().item() / 2
        return wrong / spread if spread > 0 else math.inf

    def _is_local(self, layer: str, axes: OutputAxes) -> bool:
        """Return whether a change at one place of the input reaches few places, many channels."""
        if self._changed is None:
            changed = self._inputs.clone()
            kinds = axes_of_inputs(self._action, tuple(changed.shape))
            where = tuple(
                slice(size // 3, size // 3 + max(1, size // 8))
                if kind_of_axis(axis) == PLACE
                else slice(None)
                for axis, size in zip(kinds, changed.shape, strict=True)
            )
            if all(part == slice(None) for part in where):
                return False
            changed[where] = _other(changed[where].flip(1), changed)
            self._changed = self._run(torch.cat([self._inputs, changed]))
        output = self._changed[layer]
        if len(output) != 2:
            return False
        energy = axes.rows((output[1] - output[0])[None])[0].square().double()
        shares = [_share(energy.sum(1 - axis)) for axis in (0, 1)]
        return 0 < shares[0] < _LOCAL and shares[1] > _SPREAD * shares[0]


def _other(part: Tensor, inputs: Tensor) -> Tensor:
    """Return other numbers, in [0, 1] for inputs in it: images may be refused beyond."""
    if not inputs.is_floating_point():
        return torch.zeros_like(part)
    low, high = inputs.aminmax()
    return 1 - part if low >= 0 and high <= 1 else part + 1


def _share(values: Float[Tensor, " k"]) -> float:
    """Return the share of an axis on which most of its sum lies."""
    squares = len(values) * values.square().sum().item()
    return values.sum().item() ** 2 / squares if squares > 0 else 0.0


def grid_of(action: Action, places: tuple[int, ...]) -> Any:
    """Return where places move, [group, place]; an OrbitLensError if the action has no such grid.

    Places in a row are a map of height 1.
    """
    if action.grid is None:
        raise OrbitLensError(
            f"places under {action.name}",
            expected="an action that moves places to places",
            received="one that does not",
            remedy="pool the places",
        )
    known: dict[str, tuple[int, ...]] = {"images": (2,), "volumes": (3,)}
    axes = known.get(action.name, (1, 2, 3) if action.name.startswith("own:") else (1, 2))
    if len(places) not in axes:
        raise _no_grid(action, places, " or ".join(map(str, axes)))
    try:
        return action.grid(*([1] if len(places) == 1 else []), *places)
    except TypeError as error:  # a function of fewer sizes or more
        raise _no_grid(action, places, "other") from error


def _no_grid(action: Action, places: tuple[int, ...], axes: str) -> OrbitLensError:
    return OrbitLensError(
        f"places under {action.name}",
        expected=f"{axes} axes of places",
        received=f"{' x '.join(map(str, places))} places",
        remedy="pool the places, or choose another layer",
    )
