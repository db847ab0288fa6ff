"""Jobs: the parts of a recipe, each done or not done, so that an interrupted run goes on."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from orbitlens.files import read_json, write_json

Record = dict[str, Any]
Compute = Callable[[Mapping[str, Any], Path], list[Record]]


@dataclass(frozen=True)
class Job:
    """One part of a recipe.

    Args:
        name: Names its file, so it must be unique and free of slashes.
        arguments: What `compute` is called with; plain numbers, words and lists of them.
        phase: All jobs of a phase end before the next begins, which may use their files.
    """

    name: str
    arguments: Mapping[str, Any]
    phase: int = 0


def run_jobs(
    jobs: Sequence[Job],
    compute: Compute,
    folder: Path,
    *,
    workers: int,
    progress: Callable[[int, int], None],
) -> list[Record]:
    """Do the jobs that are not done yet and return the records of all.

    Each job runs in a process of its own pool with one thread, and its records are written when it
    ends; a job that was interrupted is done again from its start.

    Args:
        jobs: The jobs.
        compute: A function at the top level of a module, called with a job's arguments and
            `folder`, where it may keep files of its own; returns JSON-ready records.
        folder: The folder of the run; `jobs/NAME.json` holds the records of a job.
        workers: Jobs at work at once.
        progress: Called with (done, total) after each job.

    Returns:
        The records of all jobs, in the order of the jobs, whatever order they ended in.
    """
    done = folder / "jobs"
    done.mkdir(parents=True, exist_ok=True)
    paths = {job.name: done / f"{job.name}.json" for job in jobs}
    for phase in sorted({job.phase for job in jobs}):
        waiting = [job for job in jobs if job.phase == phase and not paths[job.name].exists()]
        for _ in _finished(waiting, partial(_do, compute, folder), workers):
            progress(sum(path.exists() for path in paths.values()), len(jobs))
    progress(len(jobs), len(jobs))
    return [record for job in jobs for record in read_json(paths[job.name])["records"]]


def _finished(jobs: Sequence[Job], do: Callable[[Job], None], workers: int) -> Iterator[None]:
    """Do jobs side by side, each in one thread, and yield whenever one ends."""
    if workers == 1:
        for job in jobs:
            do(job)
            yield
    elif jobs:
        # A forked process would inherit the locks of torch's threads.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(
            min(workers, len(jobs)), context, initializer=torch.set_num_threads, initargs=(1,)
        )
        try:
            for future in as_completed([pool.submit(do, job) for job in jobs]):
                future.result()
                yield
        finally:
            pool.shutdown(cancel_futures=True)


def _do(compute: Compute, folder: Path, job: Job) -> None:
    start = time.perf_counter()
    records = compute(job.arguments, folder)
    seconds = round(time.perf_counter() - start, 1)
    write_json(
        {"arguments": dict(job.arguments), "seconds": seconds, "records": records},
        folder / "jobs" / f"{job.name}.json",
    )
