"""The margin of maps whose opposite sides are joined.

PyTorch has it as a padding, whose gradient takes nine times as long as the padding itself.
"""

from typing import Any, final

import torch
from jaxtyping import Shaped
from torch import Tensor


def joined(
    maps: Shaped[Tensor, "batch channels height width"], before: int, after: int
) -> Shaped[Tensor, "batch channels taller wider"]:
    """Return maps of a torus with a margin that continues them; a negative one cuts places off.

    Args:
        maps: Maps of shape [batch, channels, height, width].
        before: Rows above and columns on the left, at most the height and width of the map;
            negative if so many are cut off.
        after: Rows below and columns on the right, likewise.

    Example:
        >>> joined(torch.arange(9.0).reshape(1, 1, 3, 3), 1, 0)[0, 0, 0].tolist()
        [8.0, 6.0, 7.0, 8.0]
    """
    wide = maps
    if before > 0 or after > 0:
        wide = _Joined.apply(maps, max(before, 0), max(after, 0))  # type: ignore[no-untyped-call]
    first, cut = max(-before, 0), max(-after, 0)
    height, width = wide.shape[-2:]
    return wide[..., first : height - cut, first : width - cut]


@final
class _Joined(torch.autograd.Function):
    """Columns, then rows; the gradient adds the margin to the places that it continues."""

    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor, before: int, after: int) -> Tensor:
        height, width = maps.shape[-2:]
        columns = maps[..., width - before :], maps, maps[..., :after]
        wider = torch.cat(columns, dim=-1)
        rows = wider[..., height - before :, :], wider, wider[..., :after, :]
        return torch.cat(rows, dim=-2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        _, ctx.before, ctx.after = inputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), before, after = gradients, ctx.before, ctx.after
        height, width = (size - before - after for size in gradient.shape[-2:])
        rows = gradient[..., before : before + height, :].clone()
        rows[..., height - before :, :] += gradient[..., :before, :]
        rows[..., :after, :] += gradient[..., before + height :, :]
        places = rows[..., before : before + width].clone()
        places[..., width - before :] += rows[..., :before]
        places[..., :after] += rows[..., before + width :]
        return places, None, None
