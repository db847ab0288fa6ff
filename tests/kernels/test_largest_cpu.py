"""The compiled search for the largest of every row, held against sorting all of it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitlens.kernels import _cpu as cpu
from orbitlens.kernels._cpu import above, keep_largest, searches
from orbitlens.typing import Tensor

pytestmark = pytest.mark.skipif(
    not cpu.available(), reason="no C compiler, or torch's threads are out of reach"
)
KINDS = ("floats", "few distinct", "mostly -inf", "all -inf", "huge and tiny")


def numbers(rows: int, width: int, kind: str, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, width, generator=generator)
    if kind == "few distinct":
        return (2 * values).round()
    if kind == "mostly -inf":
        return torch.where(torch.rand(rows, width, generator=generator) < 0.97, -torch.inf, values)
    if kind == "huge and tiny":
        return values * 10.0 ** torch.randint(-40, 38, (rows, width), generator=generator)
    return torch.full((rows, width), -torch.inf) if kind == "all -inf" else values


def found(blocks: list[Tensor], biases: list[Tensor], k: int) -> tuple[Tensor, Tensor]:
    rows = len(blocks[0])
    values, places = torch.full((rows, k), torch.nan), torch.full((rows, k), -1)
    first = 0
    for block, bias in zip(blocks, biases, strict=True):
        keep_largest(block, bias, values, places, first=first)
        first += block.shape[1]
    return values, places


class TestKeepLargest:
    @settings(max_examples=150)
    @given(
        members=st.integers(1, 3),
        each=st.integers(1, 3),
        k=st.integers(1, 9),
        beyond=st.sampled_from([0, 1, 15, 40]),
        later=st.lists(st.sampled_from([1, 5, 16, 17, 700]), max_size=3),
        kind=st.sampled_from(KINDS),
        dtype=st.sampled_from([torch.float32, torch.bfloat16]),
        seed=st.integers(0, 99),
    )
    def test_they_are_the_first_of_the_sorted_sums_in_the_order_of_their_places(
        self,
        members: int,
        each: int,
        k: int,
        beyond: int,
        later: list[int],
        kind: str,
        dtype: torch.dtype,
        seed: int,
    ) -> None:
        widths = [64 * k + beyond, *later]
        rows, width = members * each, sum(widths)
        pre = numbers(rows, width, kind, seed).to(dtype)
        bias = numbers(members, width, "few distinct", seed + 1)
        values, places = found(
            [block.contiguous() for block in pre.split(widths, dim=1)],
            [own.contiguous() for own in bias.split(widths, dim=1)],
            k,
        )
        sums = (pre.float().view(members, each, width) + bias[:, None]).view(rows, width)
        best = sums.sort(dim=1, descending=True, stable=True)
        expected = best.indices[:, :k].sort(dim=1).values
        assert torch.equal(places, expected)
        assert torch.equal(values, sums.gather(1, expected))

    def test_a_later_block_by_hand(self) -> None:
        block, bias = torch.arange(64.0)[None], torch.zeros(1, 64)
        values, places = found([block, 70.0 - block], [bias, bias], 1)
        assert (values.item(), places.item()) == (70.0, 64)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_what_is_not_a_number_is_told_and_points_nowhere_else(self, dtype: torch.dtype) -> None:
        block = torch.randn(3, 128).to(dtype)
        block[1] = torch.nan
        values, places = found([block, block], [torch.zeros(1, 128)] * 2, 2)
        assert values[1].isnan().all()
        assert not values[[0, 2]].isnan().any()
        assert (places >= 0).all()
        assert (places < 256).all()

    def test_any_number_of_threads_gives_the_same(self) -> None:
        block, bias, threads = torch.randn(7, 640), torch.randn(1, 640), torch.get_num_threads()
        alone = found([block], [bias], 5)
        torch.set_num_threads(4)
        try:
            together = found([block], [bias], 5)
        finally:
            torch.set_num_threads(threads)
        assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_rows_must_be_long_enough_for_the_bound_to_leave_few() -> None:
    assert searches(64 * 3, 3)
    assert not searches(64 * 3 - 1, 3)


def test_numbers_above_a_floor_by_hand() -> None:
    values, rows, columns = above(torch.eye(2), torch.tensor([0.0, 1.0]), 0.5)
    assert values.tolist() == [1.0, 1.0, 2.0]
    assert (rows.tolist(), columns.tolist()) == ([0, 0, 1], [0, 1, 1])


@given(
    rows=st.integers(1, 7),
    width=st.sampled_from([1, 15, 16, 17, 300]),
    kind=st.sampled_from(KINDS),
    floor=st.sampled_from([0.0, 1.0, 2.5, 1e38]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 99),
)
def test_what_is_above_a_floor_is_what_compares_as_larger(
    rows: int, width: int, kind: str, floor: float, dtype: torch.dtype, seed: int
) -> None:
    block = numbers(rows, width, kind, seed).to(dtype)
    bias = numbers(1, width, "few distinct", seed + 1)[0]
    sums = block.float() + bias
    row, column = (sums > floor).nonzero(as_tuple=True)
    for own, expected in zip(
        above(block, bias, floor), (sums[row, column], row, column), strict=True
    ):
        assert torch.equal(own, expected)
