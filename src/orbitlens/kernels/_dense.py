"""Dense products in pieces, which a team of threads shares.

The pieces depend on the shapes alone. Each is computed in one thread, so their sums run in one
order. They run in torch's own pool, see `_compiler`; where it is out of reach, one after the other.
"""

import ctypes
import threading
from collections.abc import Callable
from itertools import product
from typing import Any

import torch

from orbitlens.kernels import _compiler as compiler
from orbitlens.kernels._threads import is_steady, team_size
from orbitlens.typing import Float, Tensor

_PIECE = 512
"""Rows or columns of a piece: small enough for many threads, large enough for a library."""
_WORTH_IT = 2**22
"""Multiplications of a product from which on it is cut; starting a piece takes some 10 us."""


def multiply(
    left: Float[Tensor, "member rows inner"],
    right: Float[Tensor, "member inner columns"],
    out: Float[Tensor, "member rows columns"],
    *,
    plus: Float[Tensor, "member _ columns"] | None = None,
) -> None:
    """Write left right, or plus + left right, to `out`, which may be `plus`; without a gradient."""
    members, rows, columns = out.shape
    cut = left.shape[-1] * rows * columns * members >= _WORTH_IT and out.is_cpu
    along = range(0, max(rows, columns), _PIECE if cut else max(rows, columns, 1))
    everything = slice(None)
    parts = [slice(start, start + along.step) for start in along]
    cuts = [(part, everything) if rows > columns else (everything, part) for part in parts]
    # Members of a list are small: one call serves them all, unless each is worth a piece.
    together = 1 if cut else members
    runs = [slice(first, first + together) for first in range(0, members, together)]
    pieces = list(product(runs, cuts))

    def compute(number: int) -> None:
        own, (some, others) = pieces[number]
        a, b, c = left[own, some], right[own, :, others], out[own, some, others]
        if plus is None:
            torch.bmm(a, b, out=c) if len(a) > 1 else torch.mm(a[0], b[0], out=c[0])
        elif plus is out:
            c.baddbmm_(a, b) if len(a) > 1 else c[0].addmm_(a[0], b[0])
        else:
            added = plus[own, some if plus.shape[1] > 1 else everything, others]
            if len(a) > 1:
                torch.baddbmm(added, a, b, out=c)
            else:
                torch.addmm(added[0], a[0], b[0], out=c[0])

    _share(compute, len(pieces))


def matrix_product(
    left: Float[Tensor, "*stack rows inner"],
    right: Float[Tensor, "*stack inner columns"],
    plus: Float[Tensor, "*stack columns"] | None = None,
) -> Float[Tensor, "*stack rows columns"]:
    """Return left right, or left right + plus, with gradients; inside `steady` a team shares it.

    Example:
        >>> from orbitlens.kernels import steady
        >>> with steady():
        ...     matrix_product(torch.ones(1, 2), torch.ones(2, 1), torch.ones(1)).tolist()
        [[3.0]]
    """
    if _is_shared(left, right):
        return _Product.apply(left, right, plus)  # type: ignore[no-untyped-call]
    if plus is None:
        return left @ right
    if left.ndim == 2:
        return torch.addmm(plus, left, right)
    return torch.baddbmm(plus.unsqueeze(-2), left, right)


def _is_shared(left: Tensor, right: Tensor) -> bool:
    """Whether a team computes a product; the number of threads has no say in it."""
    if not is_steady() or not left.is_cpu or left.ndim not in (2, 3):
        return False
    same = left.ndim == right.ndim and left.shape[:-2] == right.shape[:-2]
    return same and left.numel() * right.shape[-1] >= _WORTH_IT


class _Product(torch.autograd.Function):
    """left right + plus, and its three derivatives."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, plus: Tensor | None) -> Tensor:
        ctx.save_for_backward(left, right)
        return _multiplied(left, right, plus)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left, right = ctx.saved_tensors
        by_left, by_right, by_plus = ctx.needs_input_grad
        return (
            _multiplied(grad, right.mT) if by_left else None,
            _multiplied(left.mT, grad) if by_right else None,
            grad.sum(-2) if by_plus else None,
        )


def _multiplied(left: Tensor, right: Tensor, plus: Tensor | None = None) -> Tensor:
    out = left.new_empty(*left.shape[:-1], right.shape[-1])
    if left.ndim == 3:
        multiply(left, right, out, plus=None if plus is None else plus.unsqueeze(-2))
    else:
        added = None if plus is None else plus[None, None]
        multiply(left[None], right[None], out[None], plus=added)
    return out


def _share(work: Callable[[int], None], count: int) -> None:
    """Do work(0), ..., work(count - 1), each once, in the threads of the team."""
    threads, library = min(team_size(), count), compiler.runtime()
    numbers, failures, main = iter(range(count)), [], threading.get_ident()
    began = set()

    def take_part(_: int | None) -> None:
        try:
            began.add(threading.get_ident())
            with torch.no_grad():
                for number in numbers:
                    work(number)
        except BaseException as error:  # raised again below, where it is heard
            failures.append(error)

    if threads > 1 and library is not None:
        start = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(take_part)
        library.GOMP_parallel(start, None, ctypes.c_uint(threads), ctypes.c_uint(0))
        if main not in began:  # a signal's handler raised before this thread took part
            raise KeyboardInterrupt
    else:
        take_part(None)
    if failures:
        raise failures[0]
