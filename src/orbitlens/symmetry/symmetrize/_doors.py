"""Arguments that all heads take, checked before any work."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from orbitlens.actions import as_prefix_mask
from orbitlens.checks import as_count, as_number
from orbitlens.errors import OrbitLensError, out_of_range


def as_noise_scale(value: float) -> float:
    """Return the scale of the noise, 0 or more."""
    scale = as_number("noise_scale", value)
    if scale < 0:
        raise out_of_range("noise_scale", "0 (no noise) or more", scale)
    return float(scale)


def check_call(
    inputs: Shaped[Tensor, "n points columns"],
    n_samples: int,
    mask: Bool[Tensor, "n points"] | None,
) -> Bool[Tensor, "n points"] | None:
    """Return the mask; no input is empty, padding comes last, and there is a sample."""
    as_count("n_samples", n_samples)
    if inputs.ndim != 3:
        raise OrbitLensError(
            "`inputs`",
            expected="shape [n, points, columns]",
            received=list(inputs.shape),
            remedy="give a batch, with one row for each point or node",
        )
    n, points = inputs.shape[:2]
    if points == 0:
        raise OrbitLensError(
            "`inputs`",
            expected="at least one point or node in each",
            received="inputs without any",
            remedy="leave empty inputs out",
        )
    return None if mask is None else as_prefix_mask(mask, n, points).to(inputs.device)


def check_noise(noise: Float[Tensor, "n samples points noise"], *shape: int) -> None:
    """Check the shape of noise that was given."""
    if tuple(noise.shape) != shape:
        raise OrbitLensError(
            "`noise`",
            expected=f"shape {list(shape)}, [n, samples, points, columns]",
            received=list(noise.shape),
            remedy="draw it with the `draw_noise` of the head",
        )


def place_of(inputs: Tensor, generator: torch.Generator | None) -> torch.device:
    """Return the device to draw on, which a generator decides."""
    return inputs.device if generator is None else generator.device
