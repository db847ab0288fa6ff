"""Arguments, sequences and codes at the door of topographic VAEs."""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from orbitlens.checks import as_count
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name
from orbitlens.symmetry.split._doors import as_like, as_values
from orbitlens.symmetry.split.coherence import _check_windows

_COHERENCES = ("shifting", "still", "none")

_Sequences = Float[Tensor, "n frames *shape"]
_Latents = Float[Tensor, "n frames capsules slots"]


def as_shape(shape: object) -> tuple[int, ...]:
    """Return the shape of a frame, of one axis or more."""
    sizes = tuple(shape) if isinstance(shape, Iterable) and not isinstance(shape, str) else ()
    if not sizes:
        raise out_of_range("shape", "sizes such as (1, 16, 16)", repr(shape), "list its axes")
    return tuple(as_count("shape", size) for size in sizes)


def as_windows(
    frames: int, slots: int, coherence: object, reach: object, spread: object
) -> tuple[str, int | None, int]:
    """Return the name of a coherence and the sides of its window, which fits the axes."""
    if not isinstance(coherence, str) or coherence not in _COHERENCES:
        raise unknown_name("`coherence`", str(coherence), _COHERENCES)
    frame = None if reach is None else as_count("reach", reach, least=0)
    slot = as_count("spread", spread, least=0)
    if coherence != "none":
        _check_windows(frames, slots, frame, slot, coherence == "shifting")
    return coherence, frame, slot


def as_sequences(
    x: object, frames: int, shape: tuple[int, ...], network: nn.Module, *, pixels: bool = False
) -> _Sequences:
    """Return sequences of frames; of pixels in [0, 1], if these are asked for."""
    x, wanted = as_values("x", x, "...", network=network), (frames, *shape)
    if x.ndim < 2 or tuple(x.shape[1:]) != wanted:
        raise OrbitLensError(
            "`x` of TopographicVAE",
            expected=f"sequences of shape [n, {', '.join(map(str, wanted))}]",
            received=f"shape {list(x.shape)}",
            remedy="bring the frames to axis 1, or build the model for this shape; a frame "
            "needs its neighbours, so one alone is no input",
        )
    low, high = x.detach().aminmax() if pixels and x.numel() else (0, 1)
    if not (low >= 0 and high <= 1):
        raise out_of_range(
            "x",
            "values from 0 to 1, as of Bernoulli pixels",
            f"{float(low):.4g} to {float(high):.4g}",
            "scale the frames",
        )
    return x


def as_squares(squares: object, z: _Latents, coherence: str) -> _Latents | None:
    """Return u^2 of the shape of z, 0 or more; None without coherence."""
    if (squares is None) != (coherence == "none"):
        raise OrbitLensError(
            "`squares`",
            expected="None" if coherence == "none" else "u^2, as there is coherence",
            received="None" if squares is None else type(squares).__name__,
            remedy=f'this model has the coherence "{coherence}"',
        )
    if squares is None:
        return None
    found = as_like("squares", squares, "z", z).to(z)
    if bool((found < 0).any()):
        raise out_of_range("squares", "0 or more", f"{float(found.min()):.4g}", "give u^2")
    return found


def as_parts(split: object) -> tuple[object, object]:
    """Return the invariant part and the pose of a code."""
    if not isinstance(split, tuple | list) or len(split) != 2:
        raise OrbitLensError(
            "a split code of TopographicVAE",
            expected="two parts, the invariant one and the pose",
            received=type(split).__name__
            + (f" of {len(split)}" if isinstance(split, tuple | list) else ""),
            remedy="give Split(invariant, pose)",
        )
    return split[0], split[1]


def check_slots(slots: int, frames: int) -> None:
    """Check that a roll of all slots is a whole sequence."""
    if slots != frames:
        raise OrbitLensError(
            "a split code of TopographicVAE",
            expected=f"one slot per frame, {frames}, so that a roll of all slots is none",
            received=slots,
            remedy="build the model without `slots`",
        )


def check_finite(capsules: Shaped[Tensor, "*axes"]) -> None:
    """Check that capsules are numbers, from which a pose can be read."""
    if not bool(torch.isfinite(capsules).all()):
        raise OrbitLensError(
            "capsules of TopographicVAE",
            expected="finite numbers",
            received="NaN or infinite ones",
            remedy="look at the weights; a training may have diverged",
        )
