"""The largest of many numbers, held against sorting all of them."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orbitlens.kernels._largest import RunningLargest, largest
from orbitlens.typing import Tensor

KINDS = ("floats", "few distinct", "mostly -inf", "all -inf")


def numbers(shape: tuple[int, ...], kind: str, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=generator)
    if kind == "few distinct":
        return (2 * values).round()
    if kind == "mostly -inf":
        return torch.where(torch.rand(shape, generator=generator) < 0.9, -torch.inf, values)
    return torch.full(shape, -torch.inf) if kind == "all -inf" else values


class TestLargest:
    @given(
        stack=st.sampled_from([(), (1,), (4,), (2, 3)]),
        groups=st.integers(1, 60),
        beyond=st.sampled_from([0, 0, 1, 7]),
        k=st.integers(1, 12),
        kind=st.sampled_from(KINDS),
        dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
        seed=st.integers(0, 99),
    )
    def test_values_are_those_of_topk_and_places_point_at_them(
        self,
        stack: tuple[int, ...],
        groups: int,
        beyond: int,
        k: int,
        kind: str,
        dtype: torch.dtype,
        seed: int,
    ) -> None:
        width = 8 * groups + beyond
        values = numbers((*stack, width), kind, seed).to(dtype)
        k = min(k, width)
        kept, places = largest(values, k)
        assert torch.equal(kept.sort(descending=True).values, values.topk(k).values)
        assert torch.equal(values.gather(-1, places), kept)
        assert (places.sort().values.diff() > 0).all()

    @pytest.mark.parametrize("width", [1, 5, 8, 40])
    def test_all_of_them(self, width: int) -> None:
        values = numbers((3, width), "floats", 0)
        kept, places = largest(values, width)
        assert torch.equal(kept.sort().values, values.sort().values)
        assert torch.equal(places.sort().values, torch.arange(width).expand(3, -1))

    def test_several_of_one_group_by_hand(self) -> None:
        # 64 numbers make 8 groups, and 3, 11, 19 and 59 all belong to group 3.
        values = torch.zeros(1, 64)
        values[0, [3, 11, 19, 59, 60]] = torch.tensor([4.0, 5.0, 2.0, 1.0, 3.0])
        kept, places = largest(values, 2)
        assert dict(zip(places[0].tolist(), kept[0].tolist(), strict=True)) == {11: 5.0, 3: 4.0}


@st.composite
def cuttings(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Where rows and columns of a matrix are cut, both ends included."""
    axes = []
    for most in (8, 30):
        length = draw(st.integers(1, most))
        inner = draw(st.sets(st.integers(1, length), max_size=5))
        axes.append(sorted(inner | {0, length}))
    return axes[0], axes[1]


class TestRunningLargest:
    @given(
        cutting=cuttings(),
        budget=st.integers(1, 40),
        kind=st.sampled_from(KINDS),
        dtype=st.sampled_from([torch.float32, torch.bfloat16]),
        shuffle=st.randoms(use_true_random=False),
        seed=st.integers(0, 99),
    )
    def test_any_blocks_in_any_order_give_the_largest_positive_ones_of_all(
        self, cutting, budget: int, kind: str, dtype: torch.dtype, shuffle, seed: int
    ) -> None:
        rows, columns = cutting
        stream = numbers((rows[-1], columns[-1]), kind, seed).to(dtype)
        blocks = [(*down, *across) for down in pairwise(rows) for across in pairwise(columns)]
        shuffle.shuffle(blocks)
        running = RunningLargest(budget)
        for top, bottom, left, right in blocks:
            first = top * columns[-1] + left
            running.add(stream[top:bottom, left:right], first=first, stride=columns[-1])
        values, places = running.finish()
        positive = stream[stream > 0].sort(descending=True).values
        assert torch.equal(values.sort(descending=True).values, positive[:budget])
        assert torch.equal(stream.flatten()[places], values)
        assert (places.diff() > 0).all()

    def test_nothing_positive_gives_nothing(self) -> None:
        running = RunningLargest(3)
        running.add(torch.tensor([[-1.0, 0.0, -torch.inf]]), first=0, stride=3)
        values, places = running.finish()
        assert values.tolist() == places.tolist() == []

    def test_by_hand(self) -> None:
        running = RunningLargest(2)
        stream = torch.tensor([[1.0, 9.0, 2.0], [3.0, 4.0, 5.0], [0.5, 8.0, -1.0]])
        running.add(stream[:2], first=0, stride=3)  # six are more than two budgets: 9 and 5 stay
        running.add(stream[2:], first=6, stride=3)
        values, places = running.finish()
        assert (values.tolist(), places.tolist()) == ([9.0, 8.0], [1, 7])
