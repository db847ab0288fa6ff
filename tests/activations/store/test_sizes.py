"""Shards, chunks and memory, from shapes alone."""

import math

import pytest

from orbitlens.activations.store import (
    Needs,
    buffer_size,
    count_training_samples,
    split_samples,
    stored_size,
)
from orbitlens.activations.store._on_disk import chunk_samples, plan_shards
from orbitlens.errors import OrbitLensError

MIB = 2**20


@pytest.mark.parametrize(("shape", "samples"), [((8, 768), 16), ((1, 1), 2**17), ((8, 10**6), 1)])
def test_a_chunk_is_half_a_mib_or_one_sample(shape: tuple[int, int], samples: int) -> None:
    assert chunk_samples(shape) == samples
    assert samples == 1 or MIB / 4 < 4 * samples * math.prod(shape) <= MIB / 2


def test_shards_are_whole_chunks_of_about_32_mib() -> None:
    shards = plan_shards(10**6, [(8, 768)], together=32)
    assert shards.samples == 1360
    assert 0.99 < 4 * 8 * 768 * shards.samples / (32 * MIB) <= 1
    assert shards.span(shards.count - 1) == (735 * 1360, 10**6)
    with pytest.raises(OrbitLensError, match="at least one sample, group element"):
        plan_shards(10, [(8, 0)], together=32)


def test_a_large_store_is_little_more_than_its_numbers() -> None:
    size = stored_size(10**6, (8, 1, 768))
    assert size["raw"] == 4 * 8 * 768 * 10**6
    assert (size["shards"], size["shard_samples"], size["bytes_per_number"]) == (736, 1360, 4)
    assert 1 < size["on_disk"] / size["raw"] < 1.001


@pytest.mark.parametrize("n", [2, 10, 10**5])
def test_training_samples_are_those_of_the_split(n: int) -> None:
    assert count_training_samples(n) == len(split_samples(n)[0])
    assert count_training_samples(10**8) == 8 * 10**7


@pytest.mark.parametrize("memory", [2**28, 2**32, 2**40])
def test_buffers_take_no_more_than_the_budget_or_the_store(memory: int) -> None:
    size = buffer_size(10**6, (8, 1, 768), batch_size=1024, memory=memory)
    assert size <= min(memory, 1.1 * 4 * 8 * 768 * 8 * 10**5)


def test_a_run_is_read_in_whole_chunks_and_ends_with_its_shard() -> None:
    long = Needs.of(count=9, sample=MIB, positions=1, chunk=1, shard=8, batch_size=1)
    short = Needs.of(count=9, sample=MIB, positions=1, chunk=4, shard=8, batch_size=1)
    last = Needs.of(count=9, sample=1024, positions=1, chunk=4, shard=8, batch_size=1)
    assert (long.run, short.run, last.run) == (2, 4, 8)


def test_two_buffers_hold_the_runs_or_the_error_names_the_least_memory() -> None:
    needs = Needs.of(count=9, sample=MIB, positions=1, chunk=1, shard=2, batch_size=1)
    least = needs.fixed + 4 * needs.each
    assert needs.runs_held(least, 9, 2) == 1
    assert needs.runs_held(needs.fixed + 8 * needs.each, 9, 2) == 2
    with pytest.raises(OrbitLensError, match=r"to read 2\.00 MiB at a time for batches of 1\.00"):
        needs.runs_held(least - 1, 9, 2)
