"""The grid of an action of one's own: its places must move as `apply` moves them."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from orbitlens.actions.base import Action
from orbitlens.errors import OrbitLensError

_AXES = 3  # of places: those of a volume


def check_grid(action: Action, inputs: Shaped[Tensor, "n *axes"], elements: Sequence[int]) -> None:
    """Refuse a `grid` that moves places of inputs in another way than `apply`.

    The axes of places are not known, so all neighbouring ones are tried, the most first. Nothing
    is said of inputs for which there is no grid, or whose numbers `apply` does not only rearrange.
    """
    verdicts = list(_verdicts(action, inputs, elements))
    if not verdicts or any(g is None and (whole or not i) for i, (g, whole) in enumerate(verdicts)):
        return
    name = action.group.element_names[verdicts[0][0] or 0]
    raise OrbitLensError(
        f"`grid` of action {action.name!r} of {action.group.name}",
        expected="places that move as `apply` moves them",
        received=f"others under {name}",
        remedy="correct it, for example with orbitlens.actions.places_moved",
    )


def _verdicts(
    action: Action, inputs: Shaped[Tensor, "n *axes"], elements: Sequence[int]
) -> Iterator[tuple[int | None, bool]]:
    """Yield, for axes that `apply` moves, the first element that differs from the grid, or None.

    The second value says whether these must be the places: all other axes stay, and a single axis
    is not one of an image.
    """
    axes = inputs.ndim
    runs = [range(i, i + n) for n in range(_AXES, 0, -1) for i in range(axes - n, 0, -1)]
    for run in runs:
        grid = _grid(action, [inputs.shape[axis] for axis in run])
        found = None if grid is None else _origins(action, inputs, run, elements)
        if grid is None or found is None or _stay(found):
            continue
        others = [range(axis, axis + 1) for axis in range(1, axes) if axis not in run]
        whole = (len(run) > 1 or axes <= 3) and all(
            _stay(_origins(action, inputs, other, elements)) for other in others
        )
        wrong = (found.argsort(axis=1) != grid[list(elements)]).any(axis=1)
        yield (
            next((g for g, is_wrong in zip(elements, wrong, strict=True) if is_wrong), None),
            whole,
        )


def _stay(origins: Int[np.ndarray, "element place"] | None) -> bool:
    return origins is not None and bool((origins == np.arange(origins.shape[1])).all())


def _grid(action: Action, sizes: list[int]) -> Int[np.ndarray, "group place"] | None:
    """Return where places of a map move; None if the action has no grid of these sizes."""
    if action.grid is None:
        return None
    try:
        grid = np.asarray(action.grid(*([1] if len(sizes) == 1 else []), *sizes))
    except Exception:  # it is a grid of other sizes
        return None
    return grid if grid.shape == (action.group.order, math.prod(sizes)) else None


def _origins(
    action: Action, inputs: Shaped[Tensor, "n *axes"], run: range, elements: Sequence[int]
) -> Int[np.ndarray, "element place"] | None:
    """Return which place arrives at each place of some axes; None if not only places move."""
    shape = [size if axis in run else 1 for axis, size in enumerate(inputs.shape)]
    places = torch.arange(math.prod(shape), device=inputs.device)
    numbers = places.to(_wide(inputs.dtype)).reshape(shape).expand(1, *inputs.shape[1:])
    found = []
    for g in elements:
        try:
            moved = action.apply(numbers.clone(), g)
        except Exception:  # it moves inputs of its own kind only
            return None
        if moved.shape != numbers.shape or moved.dtype != numbers.dtype:
            return None
        rows = moved.movedim(list(run), list(range(-len(run), 0))).reshape(-1, len(places))
        origins = rows[0].real.long() if moved.is_complex() else rows[0].long()
        if not (rows == origins).all() or not torch.equal(origins.sort().values, places):
            return None
        found.append(origins.cpu().numpy())
    return np.stack(found)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Return a type that counts places exactly."""
    if not (dtype.is_floating_point or dtype.is_complex):
        return torch.int64
    return dtype if dtype.itemsize >= torch.float32.itemsize else torch.float32
