"""Several uses of a tensor: values, gradients and their gradients are those of one tensor."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from orbitlens.kernels import Memory, branches


@given(count=st.integers(1, 4), used=st.integers(1, 4))
def test_gradient_is_the_sum_over_the_uses(count: int, used: int) -> None:
    used = min(count, used)  # the others stay unused
    tensor = torch.linspace(-1, 1, 6).view(2, 3).requires_grad_()
    uses = branches(tensor, count)
    assert len(uses) == count
    assert all(torch.equal(use, tensor) for use in uses)
    sum(((place + 1) * uses[place]).sum() for place in range(used)).backward()
    assert tensor.grad is not None
    assert torch.equal(tensor.grad, torch.full((2, 3), used * (used + 1) / 2))


def test_gradients_of_gradients() -> None:
    tensor = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)

    def cubed(tensor: torch.Tensor) -> torch.Tensor:
        one, other, third = branches(tensor, 3)
        return one * other.square() + third

    assert gradcheck(cubed, tensor)
    assert gradgradcheck(cubed, tensor)


def test_large_gradients_lie_in_reusable_memory() -> None:
    memory, tensor = Memory(), torch.zeros(1024, 512, requires_grad=True)
    with memory:
        one, other = branches(tensor, 2)
        (2 * one + other).sum().backward()
    assert tensor.grad is not None
    assert (tensor.grad == 3).all()
    assert memory.size >= tensor.grad.nbytes
