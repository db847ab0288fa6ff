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

from orbitlens.kernels._dense import multiply
from orbitlens.typing import Float, Tensor

_TILE = 2**22
"""Coefficients of a tile, 16 MiB in float32, which fit into the last cache."""
_Y, _Z = 0, 2
"""Places of y and z among the arguments of the form."""
_FEWEST_ROWS = 64
"""Rows of a tile, below which a matrix product reads its weights too often."""

Rows = Float[Tensor, "member batch coordinates"]
Weights = Float[Tensor, "member atoms dim"]
Oriented = Float[Tensor, "member batch group atoms"]


@dataclass(frozen=True, eq=False)
class Form:
    """A trilinear form: `kernel`, and the coordinates of y and w that each coefficient pairs."""

    kernel: Float[Tensor, "coefficients group"]
    pairs: tuple[tuple[slice, slice], ...]


def tiled_products(form: Form, y: Rows, weights: Weights) -> Oriented:
    """Return dT/dz, the products of y with the weights in every orientation."""
    return _derive(form, _Z, 0, y, weights, None)


def tiled_sums(form: Form, z: Oriented, weights: Weights, coordinates: int) -> Rows:
    """Return dT/dy, the sums of the weights in every orientation, weighted by z."""
    return _derive(form, _Y, coordinates, None, weights, z)


def _derive(
    form: Form, by: int, width: int, y: Rows | None, weights: Weights | None, z: Oriented | None
) -> Tensor:
    """Return the derivative by one of y, w, z, which is None; its last axis has this width."""
    return _Derivative.apply(form, by, width, y, weights, z)  # type: ignore[no-untyped-call]


class _Derivative(torch.autograd.Function):
    """The derivative of the form by one argument; its own derivatives are the other two."""

    @staticmethod
    def forward(ctx: Any, form: Form, by: int, width: int, *given: Any) -> Tensor:
        ctx.form, ctx.by = form, by
        ctx.save_for_backward(*given)
        return (_by_y, _by_weights, _by_z)[by](form, width, *given)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        arguments: list[Tensor | None] = list(ctx.saved_tensors)
        arguments[ctx.by] = grad
        gradients: list[Tensor | None] = [None] * 3
        for place in range(3):
            if ctx.needs_input_grad[3 + place]:
                others = [None if i == place else each for i, each in enumerate(arguments)]
                width = ctx.saved_tensors[place].shape[-1]
                gradients[place] = _derive(ctx.form, place, width, *others)
        return None, None, None, *gradients


def _by_y(form: Form, width: int, y: None, weights: Weights, z: Oriented) -> Rows:
    out = z.new_zeros(*z.shape[:2], width)
    for members, rows, Z in _fold(form, z):
        for k, (left, right) in enumerate(form.pairs):
            own = out[members, rows, left]
            multiply(Z[:, :, k], weights[members, :, right], own, plus=own)
    return out


def _by_weights(form: Form, width: int, y: Rows, weights: None, z: Oriented) -> Weights:
    out = y.new_zeros(len(y), z.shape[-1], width)
    for members, rows, Z in _fold(form, z):
        for k, (left, right) in enumerate(form.pairs):
            own = out[members, :, right]
            multiply(Z[:, :, k].mT, y[members, rows, left], own, plus=own)
    return out


def _by_z(form: Form, width: int, y: Rows, weights: Weights, z: None) -> Oriented:
    out = y.new_empty(*y.shape[:2], form.kernel.shape[1], weights.shape[1])
    write_products(form, y, weights, out)
    return out


def write_products(form: Form, y: Rows, weights: Weights, out: Oriented) -> None:
    """Write dT/dz to `out`, which is contiguous, without gradients."""
    for members, rows, F in _tiles(form, out):
        for k, (left, right) in enumerate(form.pairs):
            multiply(y[members, rows, left], weights[members, :, right].mT, F[:, :, k])
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
