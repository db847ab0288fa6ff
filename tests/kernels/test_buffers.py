"""Memory that results of a step lie in."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from orbitlens.kernels.buffers import Memory, empty

LIKE, LARGE = torch.zeros(1), 2**19


def test_what_is_free_is_used_again_and_what_is_used_is_not() -> None:
    with Memory():
        first = empty(LARGE, like=LIKE).fill_(1.0)
        second = empty(LARGE, like=LIKE).fill_(2.0)
        assert (first == 1.0).all()
        place = first.data_ptr()
        del first
        assert empty(LARGE, like=LIKE).data_ptr() == place
        assert (second == 2.0).all()


def test_a_view_keeps_its_memory() -> None:
    with Memory():
        view = empty(2, LARGE, like=LIKE).fill_(1.0)[1, :5]
        empty(2, LARGE, like=LIKE).fill_(2.0)
        assert (view == 1.0).all()


def test_a_gradient_keeps_its_memory() -> None:
    weights = torch.zeros(LARGE, requires_grad=True)
    with Memory():
        weights.backward(empty(LARGE, like=LIKE).fill_(1.0))
        empty(LARGE, like=LIKE).fill_(2.0)
    assert weights.grad is not None
    assert (weights.grad == 1.0).all()


def test_results_outlive_the_memory() -> None:
    memory = Memory()
    with memory:
        result = empty(LARGE, like=LIKE).fill_(1.0)
    del memory
    assert (result == 1.0).all()


def test_outside_and_for_small_results_the_allocator_is_asked() -> None:
    memory = Memory()
    with memory:
        empty(5, like=LIKE)
        empty(LARGE, like=torch.zeros(1, device="meta"))
    empty(LARGE, like=LIKE)
    assert memory.size == 0


def test_memories_do_not_mix() -> None:
    outer, inner = Memory(), Memory()
    with outer:
        with inner:
            empty(LARGE, like=LIKE)
        assert (outer.size, inner.size) == (0, 4 * LARGE)
        empty(LARGE, like=LIKE)
    assert outer.size == 4 * LARGE


@given(sizes=st.lists(st.integers(LARGE, 2 * LARGE - 1), min_size=9, max_size=30))
def test_results_of_many_sizes_share_few_blocks_and_lie_as_torch_aligns_them(
    sizes: list[int],
) -> None:
    memory = Memory()
    with memory:
        for size in sizes:
            result = empty(size, like=LIKE)
            assert len(result) == size
            assert result.data_ptr() % 64 == 0
            del result
    assert memory.size <= 4 * sum(range(LARGE, 2 * LARGE + 1, LARGE // 8))


def test_a_larger_block_serves_for_both_and_a_far_larger_one_does_not() -> None:
    memory = Memory()
    with memory:
        empty(LARGE, like=LIKE)
        empty(2 * LARGE, like=LIKE)
        assert memory.size == 8 * LARGE
        empty(LARGE, like=LIKE)
        assert memory.size == 8 * LARGE
        empty(5 * LARGE, like=LIKE)
        assert memory.size == 28 * LARGE
        empty(2 * LARGE, like=LIKE)
        assert memory.size == 28 * LARGE
