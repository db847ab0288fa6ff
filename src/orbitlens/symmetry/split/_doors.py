"""Numbers and networks at the door of world models and topographic VAEs."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from orbitlens.checks import as_axes, as_indices, as_tensor, check_kind
from orbitlens.errors import OrbitLensError


def as_values(
    name: str,
    value: object,
    axes: str,
    *,
    sizes: Mapping[str, int] | None = None,
    network: nn.Module | None = None,
) -> Float[Tensor, "..."]:
    """Return numbers as floats with the axes that a text names; booleans are errors.

    With a network they become of the type and on the device of its weights. NaN is not looked for;
    it shows in what is computed.
    """
    tensor: Tensor = as_axes(name, value, axes, sizes=sizes, finite=False)
    _refuse_booleans(name, value)
    return tensor if network is None else tensor.to(next(network.parameters()))


def as_like(name: str, value: object, of: str, like: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return numbers as floats of the shape of others, which were given as `of`."""
    tensor = as_values(name, value, "...")
    if tensor.shape != like.shape:
        raise OrbitLensError(
            f"`{name}`",
            expected=f"the shape of `{of}`, {list(like.shape)}",
            received=list(tensor.shape),
            remedy="give one for each of the others",
        )
    return tensor


def as_any_indices(name: str, value: object, *, most: int) -> Int[Tensor, "..."]:
    """Return whole numbers from 0 to `most`, with any axes."""
    dim = as_tensor(name, value, dtype=None).ndim
    found: Tensor = as_indices(name, value, " ".join(f"axis{at}" for at in range(dim)), most=most)
    return found


def as_steps(name: str, value: object) -> Int[Tensor, " steps"]:
    """Return a list of whole numbers, which may be below 0."""
    steps = as_axes(name, value, "steps", dtype=torch.float64)
    _refuse_booleans(name, value)
    if bool((steps != steps.round()).any()):
        raise OrbitLensError(
            f"`{name}`",
            expected="whole numbers",
            received="fractions",
            remedy="round them",
        )
    return steps.long()


def drawn_on(generator: torch.Generator | None, device: torch.device | None) -> torch.device | None:
    """Return the device on which a generator draws; without one, the device that was given."""
    if generator is None:
        return device
    check_kind("generator", generator, torch.Generator, "give torch.Generator().manual_seed(0)")
    return generator.device


def check_function(name: str, function: object, what: str) -> None:
    """Check that an argument can be called."""
    if not callable(function):
        raise OrbitLensError(
            f"`{name}`",
            expected=f"a function that returns {what}",
            received=type(function).__name__,
            remedy="give the function itself",
        )


def _refuse_booleans(name: str, value: object) -> None:
    """Refuse booleans among numbers that were read, so that a list is one of one length."""
    boolean = (
        value.dtype == torch.bool
        if isinstance(value, Tensor)
        else np.asarray(value).dtype.kind == "b"
    )
    if boolean:
        raise OrbitLensError(
            f"`{name}`",
            expected="numbers",
            received="booleans",
            remedy="convert them if they are meant as 0 and 1",
        )
