"""Jobs: each done once, in order, whatever interrupts them."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orbitlens.errors import OrbitLensError
from orbitlens.files import read_json
from orbitlens.reproduce import Job
from orbitlens.reproduce._jobs import Record, run_jobs


def job(name: str, x: float = 2.0, *, phase: int = 0, **more: Any) -> Job:
    return Job(name, {"name": name, "x": x, **more}, phase=phase)


def work(jobs: list[Job], countable: ModuleType, folder: Path, at_once: int = 1) -> list[Record]:
    return run_jobs(
        jobs, countable.compute, folder, at_once=at_once, progress=lambda done, total: None
    )


JOBS = [
    job("c", 3.0),
    job("late", 5.0, phase=1, after=["c", "a", "b"]),
    job("a", 0.1),
    job("b", 7.0),
]


def test_records_come_in_the_order_of_the_jobs_though_phases_run_in_theirs(
    tmp_path: Path, countable: ModuleType
) -> None:
    records = work(JOBS, countable, tmp_path)
    assert [(r["name"], r["power"]) for r in records] == [
        (name, power) for name in ("c", "late", "a", "b") for power in (1, 2)
    ]
    assert countable.calls(tmp_path) == ["c", "a", "b", "late"]


def test_two_jobs_at_once_give_the_records_of_one_after_the_other(
    tmp_path: Path, countable: ModuleType
) -> None:
    alone = work(JOBS, countable, tmp_path / "alone")
    assert work(JOBS, countable, tmp_path / "together", at_once=2) == alone
    calls = countable.calls(tmp_path / "together")
    assert sorted(calls) == ["a", "b", "c", "late"]
    assert calls[-1] == "late"


def test_what_is_done_is_not_done_again(tmp_path: Path, countable: ModuleType) -> None:
    first = work(JOBS, countable, tmp_path)
    assert work(JOBS, countable, tmp_path) == first
    assert len(countable.calls(tmp_path)) == 4
    (tmp_path / "jobs" / "a.json").unlink()
    assert work(JOBS, countable, tmp_path) == first
    assert countable.calls(tmp_path)[4:] == ["a"]


@pytest.mark.parametrize("ends", ["error", "interruption"])
def test_after_a_job_that_fails_the_next_call_goes_on(
    tmp_path: Path, countable: ModuleType, ends: str
) -> None:
    jobs = [job("a"), job("b", ends=ends), job("c"), job("d", phase=1)]
    with pytest.raises((OrbitLensError, KeyboardInterrupt)):
        work(jobs, countable, tmp_path)
    assert countable.calls(tmp_path) == ["a", "b"]
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["a.json"]
    (tmp_path / "mended").touch()
    records = work(jobs, countable, tmp_path)
    assert countable.calls(tmp_path) == ["a", "b", "b", "c", "d"]
    assert records == work([job(name) for name in "abcd"], countable, tmp_path / "whole")


def test_an_error_in_a_worker_is_the_error_that_is_raised(
    tmp_path: Path, countable: ModuleType
) -> None:
    jobs = [job("a"), job("b", ends="error"), job("c", phase=1)]
    with pytest.raises(OrbitLensError, match="^`data`: expected images, received none; get some$"):
        work(jobs, countable, tmp_path, at_once=2)
    assert "c" not in countable.calls(tmp_path)
    assert (tmp_path / "jobs" / "a.json").exists()
    assert not (tmp_path / "jobs" / "b.json").exists()


def test_a_file_says_what_the_job_was_and_what_came_of_it(
    tmp_path: Path, countable: ModuleType
) -> None:
    records = work([job("a", 6.0)], countable, tmp_path)
    found = read_json(tmp_path / "jobs" / "a.json")
    assert found["arguments"] == {"name": "a", "x": 6.0}
    assert found["records"] == records == [
        {"name": "a", "power": 1, "value": 2.0},
        {"name": "a", "power": 2, "value": 12.0},
    ]  # fmt: skip


def test_progress_counts_what_was_done_before(tmp_path: Path, countable: ModuleType) -> None:
    seen: list[tuple[int, int]] = []
    work(JOBS[2:], countable, tmp_path)
    run_jobs(JOBS, countable.compute, tmp_path, at_once=1, progress=lambda *step: seen.append(step))
    assert seen == [(3, 4), (4, 4), (4, 4)]
