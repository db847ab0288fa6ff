"""Stacks: what may be stacked, and that stacking and unstacking lose nothing."""

from collections.abc import Callable

import pytest
import torch

from orbitlens.errors import OrbitLensError
from orbitlens.sae import SAE, archetypal_sae, batch_topk_sae, crosscoder_sae, topk_sae
from orbitlens.training._stack import stack_key, stack_saes, unstack_

CANDIDATES = torch.randn(12, 4, generator=torch.Generator().manual_seed(7))


def archetypal(seed: int = 0, delta: float = 1.0) -> SAE:
    return archetypal_sae(CANDIDATES, 8, 2, delta=delta, seed=seed)


def crosscoder(seed: int = 0) -> SAE:
    return crosscoder_sae(4, 8, 2, 3, seed=seed)


def calibrated(seed: int = 0) -> SAE:
    sae = batch_topk_sae(4, 8, 2, hidden=5, seed=seed)
    sae.sparsity.calibrate_([torch.rand(9, 8, generator=torch.Generator().manual_seed(seed))], 9)
    return sae


def plain(seed: int = 0) -> SAE:
    return topk_sae(4, 8, 2, seed=seed)


BUILDERS = [plain, calibrated, archetypal, crosscoder]


@pytest.mark.parametrize("build", BUILDERS)
def test_saes_that_differ_in_their_weights_alone_have_one_key(build: Callable[[int], SAE]) -> None:
    assert stack_key(build(0)) == stack_key(build(1).eval())


DIFFERENT = {
    "k": (topk_sae(4, 8, 2), topk_sae(4, 8, 3)),
    "latents": (topk_sae(4, 8, 2), topk_sae(4, 9, 2)),
    "width": (topk_sae(4, 8, 2), topk_sae(5, 8, 2)),
    "encoder": (topk_sae(4, 8, 2), topk_sae(4, 8, 2, hidden=5)),
    "hidden": (topk_sae(4, 8, 2, hidden=6), topk_sae(4, 8, 2, hidden=5)),
    "sparsity": (topk_sae(4, 8, 2), batch_topk_sae(4, 8, 2)),
    "dictionary": (topk_sae(4, 8, 2), crosscoder_sae(4, 8, 2, 1)),
    "delta": (archetypal(), archetypal(delta=0.5)),
    "candidates": (archetypal(), archetypal_sae(CANDIDATES[:9], 8, 2)),
    "group order": (crosscoder_sae(4, 8, 2, 4), crosscoder_sae(4, 8, 2, 8)),
    "dtype": (topk_sae(4, 8, 2), topk_sae(4, 8, 2).double()),
    "frozen": (topk_sae(4, 8, 2), topk_sae(4, 8, 2).requires_grad_(False)),
}


@pytest.mark.parametrize("difference", DIFFERENT)
def test_members_that_compute_something_else_are_not_stacked(difference: str) -> None:
    members = DIFFERENT[difference]
    assert stack_key(members[0]) != stack_key(members[1])
    with pytest.raises(OrbitLensError, match="`members`.*received 2 of 2 kinds"):
        stack_saes(members)


def test_no_members_are_rejected() -> None:
    with pytest.raises(OrbitLensError, match="at least one SAE.*received 0 of 0 kinds"):
        stack_saes([])


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("count", [1, 3])
def test_every_tensor_of_a_stack_is_those_of_the_members(
    build: Callable[[int], SAE], count: int
) -> None:
    members = [build(seed) for seed in range(count)]
    stack = stack_saes(members)
    for name, tensor in stack.state_dict().items():
        assert torch.equal(tensor, torch.stack([m.state_dict()[name] for m in members]))
    assert {name for name, _ in stack.named_parameters()} == {
        name for name, _ in members[0].named_parameters()
    }
    assert all(parameter.requires_grad for parameter in stack.parameters())


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("count", [1, 2])
def test_a_stack_shares_no_memory_with_its_members(build: Callable[[int], SAE], count: int) -> None:
    members = [build(seed) for seed in range(count)]
    before = [{n: t.clone() for n, t in m.state_dict().items()} for m in members]
    for tensor in stack_saes(members).state_dict().values():
        tensor.fill_(7.0)
    for member, tensors in zip(members, before, strict=True):
        assert all(torch.equal(t, tensors[n]) for n, t in member.state_dict().items())


@pytest.mark.parametrize("build", BUILDERS)
def test_unstacking_gives_every_member_exactly_its_slice(build: Callable[[int], SAE]) -> None:
    members, others = [build(seed) for seed in range(3)], [build(9) for _ in range(3)]
    held = [list(other.parameters()) for other in others]
    unstack_(stack_saes(members), others)
    for member, other, parameters in zip(members, others, held, strict=True):
        tensors = other.state_dict()
        assert all(torch.equal(t, tensors[n]) for n, t in member.state_dict().items())
        # In place: whoever holds the parameters of a member sees them change.
        assert all(a is b for a, b in zip(other.parameters(), parameters, strict=True))


def test_what_is_frozen_in_the_members_is_frozen_in_the_stack() -> None:
    members = [plain(seed) for seed in range(2)]
    for member in members:
        member.encoder.requires_grad_(False)
    stack = stack_saes(members)
    assert not any(parameter.requires_grad for parameter in stack.encoder.parameters())
    assert all(parameter.requires_grad for parameter in stack.dictionary.parameters())


def test_a_trained_member_and_a_new_one_are_stacked() -> None:
    trained, new = topk_sae(4, 8, 2, seed=0).eval(), topk_sae(4, 8, 2, seed=1)
    stack, x = stack_saes([trained, new]), torch.randn(2, 5, 4)
    torch.testing.assert_close(stack(x).x_hat[0], trained(x[0]).x_hat)
    torch.testing.assert_close(stack(x).x_hat[1], new(x[1]).x_hat)
