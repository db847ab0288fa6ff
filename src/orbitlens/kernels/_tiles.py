"""The trilinear form of tied weights, tile by tile, with its three derivatives.

    T(y, w, z) = sum_g sum_k kernel[k, g] sum_{b, c} z[b, g, c] <y_b[left_k], w_c[right_k]>

The derivative by z is the products with all orientations, the derivative by y their sums, the
derivative by w the gradient of the weights. The derivatives of each are the other two. Plain tensor
operations would wait for memory, since the coefficients are as large as the codes. Here a tile of
rows stays in cache from the matrix products to the sum over k, or the reverse, without copies.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from orbitlens.typing import Float, Tensor

_TILE = 2**22
"""Coefficients of a tile, 16 MiB in float32, which fit into the last cache."""
_FEWEST_ROWS = 64
"""Rows of a tile, below which a matrix product reads its weights too often."""

Rows = Float[Tensor, "member batch coordinates"]
Weights = Float[Tensor, "member atoms dim"]
Oriented = Float[Tensor, "member batch group atoms"]


@dataclass(frozen=True, eq=False)
class Form:
    """The constants of the trilinear form.

    Args:
        kernel: Coefficients, shape [coefficients, |G|].
        pairs: For each coefficient the coordinates of y and those of w that it multiplies.
    """

    kernel: Float[Tensor, "coefficients group"]
    pairs: tuple[tuple[slice, slice], ...]


def tiled_products(form: Form, y: Rows, weights: Weights) -> Oriented:
    """Return dT/dz, the products of y with the weights in every orientation.

    Args:
        form: The form.
        y: Rows, shape [member, batch, coordinates].
        weights: One row for each atom, shape [member, atoms, dim].

    Returns:
        Products, shape [member, batch, |G|, atoms].

    Example:
        >>> form = Form(torch.tensor([[1.0, -1.0]]), ((slice(0, 2), slice(0, 2)),))
        >>> tiled_products(form, torch.ones(1, 1, 2), torch.ones(1, 1, 2)).flatten().tolist()
        [2.0, -2.0]
    """
    return _Products.apply(form, y, weights)  # type: ignore[no-untyped-call]


def tiled_sums(form: Form, z: Oriented, weights: Weights, coordinates: int) -> Rows:
    """Return dT/dy, the sums of the weights in every orientation, weighted by z.

    Args:
        form: The form.
        z: Coefficients of the sum, shape [member, batch, |G|, atoms].
        weights: One row for each atom, shape [member, atoms, dim].
        coordinates: Number of coordinates of y.

    Returns:
        Sums, shape [member, batch, coordinates].

    Example:
        >>> form = Form(torch.tensor([[1.0, -1.0]]), ((slice(0, 2), slice(0, 2)),))
        >>> z = torch.tensor([[[[5.0], [2.0]]]])
        >>> tiled_sums(form, z, torch.ones(1, 1, 2), 2).flatten().tolist()
        [3.0, 3.0]
    """
    return _Sums.apply(form, z, weights, coordinates)  # type: ignore[no-untyped-call]


def _tiled_weights(form: Form, y: Rows, z: Oriented, dim: int) -> Weights:
    """Return dT/dw, shape [member, atoms, dim]."""
    return _Weights.apply(form, y, z, dim)  # type: ignore[no-untyped-call]


class _Products(torch.autograd.Function):
    """dT/dz."""

    @staticmethod
    def forward(ctx: Any, form: Form, y: Rows, weights: Weights) -> Oriented:
        ctx.form = form
        ctx.save_for_backward(y, weights)
        out = y.new_empty(*y.shape[:2], form.kernel.shape[1], weights.shape[1])
        write_products(form, y, weights, out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Oriented) -> tuple[Tensor | None, ...]:
        y, weights = ctx.saved_tensors
        _, by_y, by_w = ctx.needs_input_grad
        return (
            None,
            tiled_sums(ctx.form, grad, weights, y.shape[-1]) if by_y else None,
            _tiled_weights(ctx.form, y, grad, weights.shape[-1]) if by_w else None,
        )


class _Sums(torch.autograd.Function):
    """dT/dy."""

    @staticmethod
    def forward(ctx: Any, form: Form, z: Oriented, weights: Weights, coordinates: int) -> Rows:
        ctx.form = form
        ctx.save_for_backward(z, weights)
        out = z.new_zeros(*z.shape[:2], coordinates)
        for members, rows, Z in _fold(form, z):
            for k, (left, right) in enumerate(form.pairs):
                out[members, rows, left].baddbmm_(Z[:, :, k], weights[members, :, right])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Rows) -> tuple[Tensor | None, ...]:
        z, weights = ctx.saved_tensors
        _, by_z, by_w, _ = ctx.needs_input_grad
        return (
            None,
            tiled_products(ctx.form, grad, weights) if by_z else None,
            _tiled_weights(ctx.form, grad, z, weights.shape[-1]) if by_w else None,
            None,
        )


class _Weights(torch.autograd.Function):
    """dT/dw."""

    @staticmethod
    def forward(ctx: Any, form: Form, y: Rows, z: Oriented, dim: int) -> Weights:
        ctx.form = form
        ctx.save_for_backward(y, z)
        out = y.new_zeros(len(y), z.shape[-1], dim)
        for members, rows, Z in _fold(form, z):
            for k, (left, right) in enumerate(form.pairs):
                out[members, :, right].baddbmm_(Z[:, :, k].mT, y[members, rows, left])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Weights) -> tuple[Tensor | None, ...]:
        y, z = ctx.saved_tensors
        _, by_y, by_z, _ = ctx.needs_input_grad
        return (
            None,
            tiled_sums(ctx.form, z, grad, y.shape[-1]) if by_y else None,
            tiled_products(ctx.form, y, grad) if by_z else None,
            None,
        )


def write_products(form: Form, y: Rows, weights: Weights, out: Oriented) -> None:
    """Write dT/dz to `out`, which is contiguous, without gradients."""
    for members, rows, F in _tiles(form, out):
        for k, (left, right) in enumerate(form.pairs):
            torch.bmm(y[members, rows, left], weights[members, :, right].mT, out=F[:, :, k])
        here = out[members, rows].flatten(0, 1)
        torch.bmm(form.kernel.T.expand(len(here), -1, -1), F.flatten(0, 1), out=here)


def _fold(form: Form, z: Oriented) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield members, rows and Z[k] = sum_g kernel[k, g] z[g] of each tile."""
    z = z.contiguous()
    for members, rows, Z in _tiles(form, z):
        here = z[members, rows].flatten(0, 1)
        torch.bmm(form.kernel.expand(len(here), -1, -1), here, out=Z.flatten(0, 1))
        yield members, rows, Z


def _tiles(form: Form, oriented: Oriented) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield members, rows and buffer of each tile; its part of `oriented` is contiguous."""
    members, batch, _, atoms = oriented.shape
    shape = (len(form.pairs), atoms)
    most = max(_FEWEST_ROWS, _TILE // (len(form.pairs) * atoms))
    rows = max(1, min(batch, most))
    together = min(members, most // rows)
    room = oriented.new_empty(together * rows, *shape)
    for m in range(0, members, together):
        own = slice(m, min(m + together, members))
        for b in range(0, batch, rows):
            some = slice(b, min(b + rows, batch))
            count = (own.stop - m, some.stop - b)
            yield own, some, room[: count[0] * count[1]].view(*count, *shape)
