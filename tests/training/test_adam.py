"""Adam, held against the class of torch."""

import pytest
import torch
from torch import nn

from orbitlens.training._adam import Adam


def weights(*, transposed: bool) -> nn.Parameter:
    made = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    return nn.Parameter(made.mT.contiguous().mT if transposed else made)


@pytest.mark.parametrize("transposed", [False, True])
def test_steps_are_those_of_torch(transposed: bool) -> None:
    own, theirs = weights(transposed=transposed), weights(transposed=False)
    optimizer, reference = Adam([own]), torch.optim.Adam([theirs], lr=0.0)
    for lr in (0.1, 0.03, 0.01):
        reference.param_groups[0]["lr"] = lr
        for each in (own, theirs):
            each.grad = None
            (each.sin() * torch.arange(15.0).view(3, 5)).sum().backward()
        optimizer.step(lr)
        reference.step()
    torch.testing.assert_close(own, theirs, rtol=1e-6, atol=1e-7)


def test_the_first_step_by_hand() -> None:
    own = nn.Parameter(torch.ones(2))
    optimizer = Adam([own])
    own.sum().backward()
    optimizer.step(0.25)
    assert own.tolist() == [0.75, 0.75]


def test_frozen_weights_and_weights_without_a_gradient_do_not_change() -> None:
    frozen, unused = nn.Parameter(torch.ones(2), requires_grad=False), nn.Parameter(torch.ones(2))
    learning = nn.Parameter(torch.ones(2))
    optimizer = Adam([frozen, unused, learning])
    learning.sum().backward()
    optimizer.step(0.25)
    assert frozen.tolist() == unused.tolist() == [1.0, 1.0]
    assert learning.tolist() == [0.75, 0.75]
    # The moments of the unused weights have taken no step.
    assert (optimizer.state()["0.step"].item(), optimizer.state()["1.step"].item()) == (0.0, 1.0)


def test_restored_moments_continue_to_the_same_bits() -> None:
    one, other = weights(transposed=True), weights(transposed=True)
    first = Adam([one])
    one.square().sum().backward()
    first.step(0.1)
    second = Adam([other])
    second.restore(first.state())
    other.data.copy_(one.data)
    other.grad = one.grad.clone()
    first.step(0.1)
    second.step(0.1)
    assert torch.equal(one, other)
