"""The record of `orbitlens plan`: sizes against real stores, readers and SAEs; sums of times."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orbitlens.activations import OrbitBatches, split_samples, store_from_array
from orbitlens.activations.store import buffer_size, count_training_samples, stored_size
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic, from_name
from orbitlens.pipeline import RunConfig
from orbitlens.plan import _measure as measure
from orbitlens.plan._lines import duration, find_advice, find_warnings, plan_lines, size
from orbitlens.plan._plan import NAMES, plan
from orbitlens.transport import fit_transport

CONFIG = RunConfig(n_samples=1000)
APART: dict[str, Any] = {
    "not_measured": None,
    "set_up_seconds": 1.0,
    "seconds_per_step": 0.01,
    "seconds_per_step_with_dead_latents": 0.02,
    "memory": 3 * 10**8,
    "memory_bytes": 10**8,
    "least_squares": [1e-5, 1.0],
    "exact": [1e-5, 2.0],
}
COST = {
    "forward_seconds": 0.01,
    "loading_seconds": 0.001,
    "input_bytes": 1000,
    "process_bytes": 10**8,
}


@pytest.fixture
def known_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speeds that are given instead of measured."""
    speeds = dict.fromkeys(("write", "read", "scale"), 1e-9)
    monkeypatch.setattr(measure, "measure_store", lambda *_: (speeds, 10**12))
    monkeypatch.setattr(measure, "measure_apart", lambda *_: dict(APART))
    monkeypatch.setattr(
        measure,
        "measure_passes",
        lambda _, workers: ((4, 1, 64), {**COST, "forward_seconds": 0.01 / workers}),
    )


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
    store = store_from_array(array, group=cyclic(4), out=tmp_path / "acts", dtype=dtype)
    files = [path for path in (tmp_path / "acts").rglob("*") if path.is_file()]
    planned = stored_size(n, (4, positions, dim), dtype=dtype)
    numbers = [path for path in files if path.suffix != ".json"]
    shards = [path for path in numbers if path.parent.name == "activations"]
    written = sum(path.stat().st_size for path in numbers)
    assert planned["shards"] == len(shards)
    assert planned["raw"] == n * 4 * positions * dim * {"float32": 4}.get(dtype, 2)
    assert planned["on_disk"] - 4096 == written
    assert sum(path.stat().st_size for path in files) - written < 4096
    assert store.n == n


def test_half_precision_halves_the_disk() -> None:
    full, half = (stored_size(10**6, (8, 1, 768), dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert (full["shards"], round(full["on_disk"] / full["raw"], 3)) == (736, 1.0)
    assert full["raw"] == 2 * half["raw"]
    assert math.isclose(full["on_disk"], 2 * half["on_disk"], rel_tol=1e-3)


@pytest.mark.parametrize("n", [2, 10, 97, 1001])
def test_samples_are_those_that_training_takes(n: int) -> None:
    assert count_training_samples(n) == len(split_samples(n)[0])


@pytest.mark.parametrize("mebibytes", [1, 1.5, 2, 3, 4, 6, 8])
def test_a_budget_is_too_small_where_the_reader_says_so(
    mebibytes: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbitlens.activations.store.shuffled_batches._RUN_BYTES", 2**17)
    monkeypatch.setattr("orbitlens.activations.store.shuffled_batches._KEPT_BY_DECODERS", 2**20)
    monkeypatch.setattr("orbitlens.activations.store._on_disk._CHUNK_BYTES", 2**15)
    array = np.zeros((30_000, 4, 32), dtype=np.float32)
    store = store_from_array(array, group=cyclic(4), out=tmp_path / "acts")
    memory = int(mebibytes * 2**20)
    refused = ""
    try:
        OrbitBatches(store, samples=store.split()[0], batch_size=64, memory=memory)
    except OrbitLensError as error:
        refused = str(error)
    assert bool(refused) == (mebibytes < 3)
    if refused:
        with pytest.raises(OrbitLensError) as planned:
            buffer_size(store.n, (4, 1, 32), batch_size=64, memory=memory)
        assert str(planned.value) == refused
    else:
        assert buffer_size(store.n, (4, 1, 32), batch_size=64, memory=memory) <= memory


@pytest.mark.usefixtures("known_speeds")
def test_what_fits_is_held_and_an_orbit_sae_holds_it_twice() -> None:
    needed = 4 * 80_000 * 4 * 64
    config = replace(CONFIG, n_samples=100_000)
    alone = plan(replace(config, memory_gib=needed / 2**30), Path(), dim=64)["training"]
    assert (alone["vanilla"]["held"], alone["vanilla"]["bytes_to_hold"]) == (True, needed)
    assert (alone["orbit"]["held"], alone["orbit"]["bytes_to_hold"]) == (False, 2 * needed)
    both = plan(replace(config, memory_gib=2 * needed / 2**30), Path(), dim=64)["training"]
    assert both["vanilla"]["held"]
    assert both["orbit"]["held"]


def test_a_budget_below_one_run_says_what_is_needed() -> None:
    config = RunConfig(n_samples=10**6, memory_gib=0.001, batch_size=64)
    with pytest.raises(OrbitLensError, match=r"at least \d+\.\d\d MiB, to read .* of 0\.\d{4} or"):
        buffer_size(10**6, (8, 1, 768), batch_size=64, memory=2**20)
    with pytest.raises(OrbitLensError, match="`memory_gib`"):
        plan(config, Path(), dim=64)


@pytest.mark.parametrize("hidden", [0, 16])
@pytest.mark.parametrize("group", ["C4", "D4", "C3"])
@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_those_of_the_sae_that_is_trained(name: str, group: str, hidden: int) -> None:
    config = RunConfig(group=group, d_sae=48, n_atoms=10, hidden=hidden, k=4)
    found = next(measure.measure_training(config, 20, name))
    width = hidden or 20
    latents, first = 48, hidden * 21
    parameters = first + (width + 1) * latents + latents * 20 + 20
    if name == "orbit":
        order = from_name(group).order
        latents = 10 * order
        parameters = 10 * (20 + 20 + 1) + 20 // order + 20 % order
    assert found == {"latents": latents, "parameters": parameters}


@pytest.mark.usefixtures("known_speeds")
def test_a_plan_adds_up() -> None:
    record = plan(CONFIG, Path(), dim=64)
    training = record["training"]["vanilla"]
    assert training["steps_per_epoch"] == 7  # 800 training orbits in batches of 128
    assert training["steps"] == 200 * 7
    numbers = 4 * 800 * 4 * 64
    assert math.isclose(training["set_up_seconds"], 1.0 + 2e-9 * numbers)
    assert math.isclose(training["seconds"], 1.0 + 1400 * 0.01 + 2e-9 * numbers)
    assert math.isclose(training["seconds_with_dead_latents"], training["seconds"] + 14)
    assert training["memory_bytes"] == sum(training["memory"].values()) > 3 * 10**8
    assert record["harvest"]["seconds"] is None
    assert math.isclose(record["harvest"]["writing_seconds"], 1e-9 * 4 * 1000 * 4 * 64)
    assert math.isclose(record["transport"]["seconds"]["exact"], 0.01 + 2 + 1e-9 * 1024000)


@pytest.mark.usefixtures("known_speeds")
def test_positions_count_as_rows() -> None:
    record = plan(CONFIG, Path(), dim=64, positions=9)
    assert record["training"]["orbit"]["steps_per_epoch"] == math.ceil(7200 / 128)
    assert math.isclose(
        record["transport"]["seconds"]["exact"], 0.09 + 2 + 9e-9 * 1024000, rel_tol=1e-6
    )


@pytest.mark.usefixtures("known_speeds")
def test_a_network_adds_passes_and_inputs() -> None:
    one, two = (plan(CONFIG, Path(), workers=workers)["harvest"] for workers in (1, 2))
    assert one["forward_seconds"] == 10.0
    assert two["forward_seconds"] == 5.0
    assert one["input_bytes"] == 10**6
    assert math.isclose(one["seconds"], 10.0 + 1.0 + one["writing_seconds"])
    assert two["memory_bytes"] > one["memory_bytes"] > 10**8


@pytest.mark.usefixtures("known_speeds")
def test_an_epoch_that_is_streamed_is_read_again() -> None:
    record = plan(RunConfig(n_samples=10**6, memory_gib=0.1, epochs=200), Path(), dim=64)
    each = record["training"]["vanilla"]
    assert not each["held"]
    content = 4 * 800_000 * 4 * 64
    assert math.isclose(each["reading_seconds_per_epoch"], 1e-9 * content)
    lines = find_advice({**record, "machine_memory": 10**12})
    assert any(line.startswith("--memory-gib 1 keeps all activations") for line in lines)
    assert any("halves the disk" in line for line in lines)
    assert any(
        "more than this machine has" in line
        for line in find_advice({**record, "machine_memory": 1})
    )


@pytest.mark.usefixtures("known_speeds")
def test_what_does_not_fit_is_said() -> None:
    record = plan(CONFIG, Path(), dim=64)
    enough = {**record, "free_disk": 10**12, "machine_memory": 10**12}
    assert find_warnings(enough, "runs") == []
    lines = find_warnings({**record, "free_disk": 10, "machine_memory": 10}, "runs")
    assert lines[0].startswith("the store needs 1.1 MB, and 10 B are free at runs")
    assert sum("of memory" in line for line in lines) == 3


@pytest.mark.usefixtures("known_speeds")
def test_half_precision_has_no_dtype_to_advise() -> None:
    record = plan(replace(CONFIG, dtype="float16"), Path(), dim=64)
    assert not any("--dtype" in line for line in record["advice"])


@pytest.mark.usefixtures("known_speeds")
def test_a_dictionary_that_does_not_fit_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitlens.plan._plan.usable_memory", lambda: 10**5)
    record = plan(CONFIG, Path(), dim=64)
    for each in record["training"].values():
        assert each["not_measured"] == "the dictionary alone does not fit into the memory"
        assert each["seconds"] is each["seconds_per_step"] is None
        assert each["memory"]["training"] == 20 * 64 * 128
    assert sum("not measured: the dictionary" in line for line in plan_lines(record)) == 2


@pytest.mark.parametrize("group", ["C4", "D4", "C3"])
def test_orbits_that_transports_are_timed_on_move_by_the_group(group: str) -> None:
    torch.manual_seed(0)
    known = from_name(group)
    orbits = measure.move(60, known, 14)
    rho = fit_transport(store_from_array(orbits, group=known), "exact")
    assert rho.r2 > 0.999


def test_measured_speeds_are_positive_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "_WRITTEN", 2**16)
    config, before = RunConfig(group="C2", dtype="float16"), sorted(tmp_path.rglob("*"))
    speeds, free = measure.measure_store(config, (2, 1, 8), tmp_path / "deep" / "acts")
    assert min(free, *speeds.values()) > 0
    assert sorted(tmp_path.rglob("*")) == before


def test_measured_transports_are_positive() -> None:
    found = list(measure.measure_transports(RunConfig(group="C2"), 8))
    assert [set(each) - {"memory_bytes"} for each in found] == [{"least_squares"}, {"exact"}]
    assert min(found[0]["least_squares"] + found[1]["exact"]) > 0


@pytest.mark.parametrize("name", NAMES)
def test_measured_steps_are_real_ones(name: str) -> None:
    config = RunConfig(group="C2", d_sae=16, k=2, hidden=0, batch_size=8)
    _, *parts = measure.measure_training(config, 8, name)
    found = {key: value for part in parts for key, value in part.items()}
    assert found["batch_measured"] == 8
    step, dead = found["seconds_per_step"], found["seconds_per_step_with_dead_latents"]
    assert 0 < step <= dead
    assert found["set_up_seconds"] >= 0


@pytest.mark.parametrize("name", NAMES)
def test_a_long_step_is_measured_on_fewer_orbits(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "_LONG", 2**12)
    config = RunConfig(group="C2", d_sae=64, k=2, hidden=0, batch_size=32, n_atoms=32)
    _, *parts = measure.measure_training(config, 8, name)
    found = {key: value for part in parts for key, value in part.items()}
    assert found["batch_measured"] == 2**12 // (64 * 8) == 8
    assert found["not_measured"].startswith("a full batch; 8 of 32 orbits")
    assert found["seconds_per_step"] > 0


def test_a_process_of_its_own_measures_training() -> None:
    config = RunConfig(group="C2", d_sae=16, k=2, hidden=0, batch_size=8)
    found = measure.measure_apart(config, 8, "vanilla")
    assert found["not_measured"] is None
    assert (found["latents"], found["parameters"]) == (16, 16 * (8 + 1 + 8) + 8)
    assert found["seconds_per_step"] > 0


def test_what_was_measured_before_the_time_was_up_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_SECONDS_APART", 1)
    monkeypatch.setattr(
        measure,
        "_PROGRAM",
        "import time; print('{\"exact\": [1, 2]}', flush=True); time.sleep(60)",
    )
    found = measure.measure_apart(CONFIG, 8, "transport")
    assert found == {"not_measured": "a few steps take longer than 1 s", "exact": [1, 2]}


def test_a_step_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_PROGRAM", "raise MemoryError('too large')")
    found = measure.measure_apart(CONFIG, 8, "vanilla")
    assert "MemoryError: too large" in found["not_measured"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(24_600_000_000, "24.6 GB"), (12, "12 B"), (0, "0 B"), (260_000, "260 kB"), (None, "unknown")],
)
def test_bytes_for_a_reader(count: float | int | None, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12.3 ms"), (75, "75 s"), (7200, "2.0 h"), (600, "10.0 min"), (None, "unknown")],
)
def test_times_for_a_reader(seconds: float | int | None, text: str) -> None:
    assert duration(seconds) == text
