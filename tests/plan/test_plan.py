"""The cost model of `orbitlens plan`: sizes against what is really written, kept and built."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orbitlens import groups
from orbitlens.activations import OrbitBatches, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.pipeline import RunConfig
from orbitlens.plan import measure
from orbitlens.plan.advice import advice_of, warnings_of
from orbitlens.plan.estimate import (
    Passes,
    Speeds,
    StepRate,
    TransportRate,
    Workload,
    check_memory,
    plan,
    step_seconds,
)
from orbitlens.plan.sizes import (
    NAMES,
    SAESize,
    reading,
    sae_size,
    store_size,
    training_memory,
    training_samples,
)
from orbitlens.sae import SAE

SPEEDS = Speeds(
    write=1e-9,
    read=1e-9,
    look=1e-9,
    hold=2e-9,
    pieces=2.0,
    library=10**8,
    start=1.0,
    trainer=2 * 10**8,
    transports={"least_squares": TransportRate(1e-5, 1.0), "exact": TransportRate(1e-5, 2.0)},
    steps=dict.fromkeys(NAMES, StepRate(1.0, 0.01, 0.02, 0.0, 0.0, 128, 128)),
)
WORK = Workload(RunConfig(n_samples=1000), 1000, groups.cyclic(4), 1, 64)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many shards and chunks of few samples."""
    monkeypatch.setattr("orbitlens.activations.store._on_disk._SHARD_BYTES", 2**15)
    monkeypatch.setattr("orbitlens.activations.store._on_disk._CHUNK_BYTES", 2**12)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(("n", "positions", "dim"), [(301, 1, 24), (97, 5, 16), (3, 1, 8)])
def test_a_store_takes_the_disk_that_was_planned(
    n: int, positions: int, dim: int, dtype: str, tmp_path: Path
) -> None:
    array = np.zeros((n, 4, positions, dim), dtype=np.float32)
    store = store_from_array(array, group=groups.cyclic(4), out=tmp_path / "acts", dtype=dtype)
    files = [path for path in (tmp_path / "acts").rglob("*") if path.is_file()]
    shards = [path for path in files if "activations" in str(path) and path.suffix != ".json"]
    planned = store_size(n, 4, positions, dim, dtype)
    attributes = sum(path.stat().st_size for path in files) - sum(
        path.stat().st_size for path in shards
    )
    assert planned.shards == len(shards)
    assert planned.raw == n * 4 * positions * dim * {"float32": 4}.get(dtype, 2)
    written = sum(path.stat().st_size for path in shards)
    assert planned.on_disk - 4096 == written
    assert attributes < 4096
    assert store.n == n


def test_half_precision_halves_the_disk() -> None:
    full, half = (store_size(10**6, 8, 1, 768, dtype) for dtype in ("float32", "bfloat16"))
    assert full.raw == 2 * half.raw
    assert math.isclose(full.on_disk, 2 * half.on_disk, rel_tol=1e-3)


def test_the_budget_is_shared_as_the_reader_shares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbitlens.activations.store.shuffled_batches._RUN_BYTES", 2**17)
    monkeypatch.setattr("orbitlens.activations.store.shuffled_batches._KEPT_BY_DECODERS", 2**20)
    monkeypatch.setattr("orbitlens.activations.store._on_disk._CHUNK_BYTES", 2**15)
    array = np.zeros((30_000, 4, 32), dtype=np.float32)
    store = store_from_array(array, group=groups.cyclic(4), out=tmp_path / "acts")
    for mebibytes in (3, 4, 6, 8):
        settings = {"batch_size": 64, "memory": mebibytes * 2**20}
        planned = reading(store.n, 4, 1, 32, **settings)
        reader = OrbitBatches(store, samples=store.split()[0], **settings)
        assert not planned.held
        runs = math.ceil(store.n / 256)
        assert abs(math.ceil(runs / planned.parts) - math.ceil(runs / reader._parts)) <= 1
        assert planned.memory <= settings["memory"]


def test_what_fits_is_held_and_an_orbit_sae_holds_it_twice() -> None:
    needed = 4 * training_samples(1000) * 8 * 64
    alone = reading(1000, 8, 1, 64, batch_size=32, memory=needed)
    assert (alone.held, alone.parts, alone.needed) == (True, 1, needed)
    assert not reading(10**6, 8, 1, 64, batch_size=32, memory=2**30, copies=2).held


def test_a_budget_below_one_run_says_what_is_needed() -> None:
    with pytest.raises(OrbitLensError, match=r"at least \d+\.\d\d MiB, to read .* of 0\.\d{4} or"):
        reading(10**6, 8, 1, 768, batch_size=64, memory=2**20)
    config = RunConfig(memory_gib=0.001)
    with pytest.raises(OrbitLensError, match="`memory_gib`"):
        check_memory(replace(WORK, config=config, n=10**6))


@pytest.mark.parametrize("hidden", [0, 16])
@pytest.mark.parametrize("group", ["C4", "D4", "C3"])
@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_sae_that_is_built(name: str, group: str, hidden: int) -> None:
    config = RunConfig(d_sae=48, n_atoms=10, hidden=hidden, k=4)
    size = sae_size(config, name, 20, groups.from_name(group))
    sae: SAE = measure._build(config, name, 20, groups.from_name(group), size.latents)
    assert sum(p.numel() for p in sae.parameters()) == size.parameters
    assert sae.d_sae == size.latents


def test_moments_take_twice_the_gradients() -> None:
    memory = training_memory(SAESize(64, 1000, 8, False, 1), batch_size=32, k=4, dim=8)
    assert memory["moments"] == memory["parameters"] == 2 * memory["gradients"] == 8000
    assert memory["orientations"] == 0


def test_steps_grow_by_search_and_by_everything_else() -> None:
    size = SAESize(4096, 0, 64, False, 2)
    # 2.62 s of 10 are search, which grows sixteenfold; the rest grows fourfold.
    rate = StepRate(4.0, 10.0, 11.0, 1e-5, 1e-5, batch=128, latents=1024)
    search = 2e-5 * 128 * 1024
    assert math.isclose(step_seconds(rate, size, 512), 16 * search + 4 * (10 - search))
    assert step_seconds(rate, size, 512, dead=True) > step_seconds(rate, size, 512)
    assert step_seconds(replace(rate, shrink=1.0), size, 512) == 10.0


def test_a_plan_adds_up() -> None:
    record = plan(WORK, SPEEDS)
    training = record["training"]["vanilla"]
    assert training["steps_per_epoch"] == 7  # 800 training orbits in batches of 128
    assert training["steps"] == 200 * 7
    numbers = 4 * 800 * 4 * 64
    assert math.isclose(training["seconds"], 1.0 + 1400 * 0.01 + 2e-9 * numbers)
    assert training["memory_bytes"] == sum(training["memory"].values())
    assert record["harvest"]["seconds"] is None
    assert math.isclose(record["harvest"]["writing_seconds"], 1e-9 * 4 * 1000 * 4 * 64)
    assert math.isclose(record["transport"]["seconds"]["exact"], 0.01 + 2 + 1e-9 * 1024000)


def test_a_network_adds_passes_and_inputs() -> None:
    passes = Passes(per_sample=0.01, loading=0.001, input_bytes=1000, memory=10**6)
    one, two = (
        plan(replace(WORK, workers=workers), replace(SPEEDS, passes=passes))["harvest"]
        for workers in (1, 2)
    )
    assert one["forward_seconds"] == 10.0
    assert two["forward_seconds"] == 5.0
    assert one["input_bytes"] == 10**6
    assert two["memory_bytes"] > one["memory_bytes"]


def test_an_epoch_that_is_streamed_is_read_again() -> None:
    config = RunConfig(memory_gib=0.1)
    work = replace(WORK, config=config, n=10**6)
    record = plan(work, SPEEDS)
    each = record["training"]["vanilla"]
    assert not each["held"]
    content = 4 * 800_000 * 4 * 64
    assert math.isclose(each["reading_seconds_per_epoch"], 1e-9 * content)
    lines = advice_of(record, epochs=200, memory=10**12)
    assert any(line.startswith("--memory-gib 1 keeps all activations") for line in lines)
    assert any("halves the disk" in line for line in lines)
    assert any(
        "more than this machine has" in each for each in advice_of(record, epochs=1, memory=1)
    )


def test_what_does_not_fit_is_said() -> None:
    record = plan(WORK, SPEEDS)
    assert warnings_of(record, disk=10**12, memory=10**12, place="runs") == []
    lines = warnings_of(record, disk=10, memory=10, place="runs")
    assert lines[0].startswith("the store needs 1.1 MB, and 10 B are free at runs")
    assert sum("of memory" in line for line in lines) == 3


def test_half_precision_has_no_dtype_to_advise() -> None:
    record = plan(replace(WORK, config=RunConfig(dtype="float16")), SPEEDS)
    assert not any("--dtype" in line for line in advice_of(record, epochs=1, memory=10**12))


@pytest.mark.parametrize("group", ["C4", "D4", "C3"])
def test_orbits_that_transports_are_timed_on_move_by_the_group(group: str) -> None:
    torch.manual_seed(0)
    known = groups.from_name(group)
    orbits = measure._moving(60, known, 14)
    rho = measure.fit_transport(store_from_array(orbits, group=known), "exact")
    assert rho.r2 > 0.999


def test_measured_figures_are_positive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_WRITTEN", 2**16)
    monkeypatch.setattr(measure, "_PRODUCTS", 2**16)
    group = groups.cyclic(2)
    config = RunConfig(d_sae=16, k=2, hidden=0, batch_size=8)
    before = sorted(tmp_path.rglob("*"))
    *seconds, pieces = measure.measure_store(group, 1, 8, "float16", tmp_path / "deep" / "acts")
    assert min(seconds) > 0
    assert pieces >= 0
    assert sorted(tmp_path.rglob("*")) == before
    rates = measure.measure_transports(group, 8)
    assert all(min(rate.per_sample, rate.once) > 0 for rate in rates.values())
    for name in NAMES:
        rate = measure.measure_steps(config, name, 8, group)
        assert rate.shrink == 1
        assert 0 < rate.step <= rate.dead_step


def test_a_large_sae_is_measured_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_PRODUCTS", 2**12)
    config = RunConfig(d_sae=64, k=2, hidden=0, batch_size=32, n_atoms=32)
    for name in NAMES:
        rate = measure.measure_steps(config, name, 8, groups.cyclic(2))
        assert rate.shrink == 64 / rate.latents > 1
        assert rate.batch == round(32 / rate.shrink)
        assert min(rate.search, rate.full_search) > 0
