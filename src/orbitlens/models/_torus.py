"""The margin of maps whose opposite sides are joined.

PyTorch has it as a padding, whose gradient takes nine times as long as the padding itself.
"""

from typing import Any, final

import torch
from jaxtyping import Shaped
from torch import Tensor

from orbitlens.errors import OrbitLensError


def joined(
    maps: Shaped[Tensor, "batch channels height width"], before: int, after: int
) -> Shaped[Tensor, "batch channels taller wider"]:
    """Return maps of a torus with a margin that continues them; a negative one cuts places off.

    Args:
        maps: Maps of shape [batch, channels, height, width].
        before: Rows above and columns on the left, at most the height and width of the map;
            negative if so many are cut off.
        after: Rows below and columns on the right, likewise.

    Raises:
        OrbitLensError: If a margin goes around the torus more than once.

    Example:
        >>> joined(torch.arange(9.0).reshape(1, 1, 3, 3), 1, 0)[0, 0, 0].tolist()
        [8.0, 6.0, 7.0, 8.0]
    """
    wide = maps
    if max(before, after) > min(maps.shape[-2:]):
        raise OrbitLensError(
            f"a margin of maps of {maps.shape[-2]} x {maps.shape[-1]} places",
            expected="at most their height and width, as it goes around the torus once",
            received=max(before, after),
            remedy="choose smaller kernels or larger maps",
        )
    if before > 0 or after > 0:
        wide = _Joined.apply(maps, max(before, 0), max(after, 0))  # type: ignore[no-untyped-call]
    if before < 0 or after < 0:
        height, width = wide.shape[-2:]
        first, cut = max(-before, 0), max(-after, 0)
        wide = wide[..., first : height - cut, first : width - cut]
    return wide


@final
class _Joined(torch.autograd.Function):
    """Columns, then rows; the gradient adds the margin to the places that it continues.

    Maps keep their order in memory, and parts are written in place: torch.cat does neither.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor, before: int, after: int) -> Tensor:
        height, width = maps.shape[-2:]
        wide = _empty_like(maps, height + before + after, width + before + after)
        rows = wide[..., before : before + height, :]
        rows[..., before : before + width] = maps
        if before:
            rows[..., :before] = maps[..., width - before :]
        if after:
            rows[..., before + width :] = maps[..., :after]
        if before:
            wide[..., :before, :] = rows[..., height - before :, :]
        if after:
            wide[..., before + height :, :] = rows[..., :after, :]
        return wide

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        _, ctx.before, ctx.after = inputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), before, after = gradients, ctx.before, ctx.after
        height, width = (size - before - after for size in gradient.shape[-2:])
        rows = gradient[..., before : before + height, :].clone()
        if before:
            rows[..., height - before :, :] += gradient[..., :before, :]
        if after:
            rows[..., :after, :] += gradient[..., before + height :, :]
        places = rows[..., before : before + width].clone()
        if before:
            places[..., width - before :] += rows[..., :before]
        if after:
            places[..., :after] += rows[..., before + width :]
        return places, None, None


def _empty_like(maps: Tensor, height: int, width: int) -> Tensor:
    batch, channels = maps.shape[:2]
    shape, pixels = (batch, channels, height, width), height * width
    if maps.stride(1) == 1:
        return maps.new_empty_strided(shape, (channels * pixels, 1, channels * width, channels))
    return maps.new_empty(shape)
