"""Several uses of one large tensor, whose gradients are summed by a team of threads."""

from typing import Any

import torch

from orbitlens.kernels._threads import spread
from orbitlens.kernels.buffers import empty
from orbitlens.typing import Float, Tensor


def branches(tensor: Float[Tensor, "*shape"], count: int) -> tuple[Tensor, ...]:
    """Return the tensor for each of so many uses.

    Autograd alone would sum the gradients of the uses too, in one thread and in new memory.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> one, other = branches(x, 2)
        >>> (3 * one + 4 * other).sum().backward()
        >>> x.grad.tolist()
        [7.0, 7.0]
    """
    if count == 1:
        return (tensor,)
    return _Branches.apply(tensor, count)  # type: ignore[no-untyped-call]


class _Branches(torch.autograd.Function):
    """The same tensor several times; the gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, count: int) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for _ in range(count))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        del ctx
        total: Tensor | None = None
        for grad in grads:
            if grad is None or total is None:
                total = total if grad is None else grad
            elif torch.is_grad_enabled():  # a gradient of the gradient is wanted
                total = total + grad
            else:
                with spread():
                    total = torch.add(total, grad, out=empty(*grad.shape, like=grad))
        return total, None
