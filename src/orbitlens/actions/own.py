"""An action of one's own: from a function that moves inputs, checked to be a left action."""

from collections.abc import Callable

from jaxtyping import Int, Shaped
from numpy import ndarray
from torch import Tensor

from orbitlens.actions._checks import check_is_action
from orbitlens.actions.base import Action
from orbitlens.checks import as_switch
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group


def own(
    group: Group | str,
    apply: Callable[[Tensor, int], Tensor],
    *,
    example: Shaped[Tensor, "n *axes"] | None = None,
    exact: bool = True,
    grid: Callable[..., Int[ndarray, "group position"]] | None = None,
) -> Action:
    """Return the action of a group by a function, and check that it is one.

    ex = x   and   g(hx) = (gh)x   for element 0 and all elements, on the example

    Args:
        group: The group that acts, or its name; its elements come in the order of its family.
        apply: `apply(inputs, g)` returns gx for inputs [n, ...] and the index g of an element. It
            keeps shape and type, moves each input by itself, and writes nothing into its inputs.
            The meaning of the axes after n is its own.
        example: A few inputs to check the action on, [n, ...]; random numbers show more than inputs
            that are symmetric themselves. None (the default) checks at the first use, for example
            on the first inputs of a harvest.
        exact: True (the default) if gx is exact up to the rounding of floats; False if it
            interpolates, so that g(hx) may differ from (gh)x.
        grid: Where places of a feature map move, see `Action` and `places_moved`; without it (the
            default) activations are harvested from vectors and as means over places.

    Returns:
        The action, named "own:" and the name of the function.

    Raises:
        OrbitLensError: If `apply` is no function; or, given an example, if element 0 moves it, if
            g(hx) is not (gh)x, if shape or type change, or if `grid` moves places in another way. A
            right action and elements in another order are named as such, with what to do.

    Warns:
        OrbitLensWarning: If an interpolated action is further from an action than interpolation can
            make it.

    Example:
        >>> import torch
        >>> def turn_phase(signals, g):
        ...     return signals * torch.tensor([1, 1j, -1, -1j])[g]
        >>> own("C4", turn_phase, example=torch.randn(2, 8, dtype=torch.complex64))
        Action(own:turn_phase, C4)
    """
    group = as_group(group)
    for name, part in (("apply", apply), ("grid", grid)):
        if not callable(part) and not (name == "grid" and part is None):
            raise OrbitLensError(
                f"`{name}` of own",
                expected="a function of inputs and the index of an element"
                if name == "apply"
                else "a function of the sizes of a map, or None",
                received=type(part).__name__,
                remedy="see orbitlens.actions.Action",
            )
    action = Action(
        name=f"own:{getattr(apply, '__name__', type(apply).__name__)}",
        group=group,
        apply=apply,
        check=_check,
        exact=as_switch("exact", exact),
        grid=grid,
    )
    if example is not None:
        if not isinstance(example, Tensor) or example.ndim == 0 or len(example) == 0:
            raise OrbitLensError(
                "`example` of own",
                expected="a tensor of at least one input, [n, ...]",
                received=f"shape {list(example.shape)}"
                if isinstance(example, Tensor)
                else type(example).__name__,
                remedy="give some of the inputs, for example inputs[:2]",
            )
        if example.is_floating_point() and not bool(example.isfinite().all()):
            raise OrbitLensError(
                "`example` of own",
                expected="finite numbers, which can be compared",
                received="NaN or infinity",
                remedy="give other inputs",
            )
        check_is_action(action, example)
    return action


def _check(inputs: Tensor) -> None:
    if inputs.ndim == 0:
        raise OrbitLensError(
            "inputs of an action",
            expected="shape [n, ...]",
            received=list(inputs.shape),
            remedy="give one input as inputs[None]",
        )
