"""Jobs: the parts of a recipe, each done or not done, so that an interrupted run goes on."""

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
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
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


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
    waiting = [job for job in jobs if not paths[job.name].exists()]
    progress(len(jobs) - len(waiting), len(jobs))
    if waiting and workers == 1:
        for count, job in enumerate(waiting, len(jobs) - len(waiting) + 1):
            _do(compute, job, folder, paths[job.name])
            progress(count, len(jobs))
    elif waiting:
        # A forked process would inherit the locks of torch's threads.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(
            min(workers, len(waiting)), context, initializer=torch.set_num_threads, initargs=(1,)
        )
        try:
            futures = [pool.submit(_do, compute, job, folder, paths[job.name]) for job in waiting]
            for count, future in enumerate(as_completed(futures), len(jobs) - len(waiting) + 1):
                future.result()
                progress(count, len(jobs))
        finally:
            pool.shutdown(cancel_futures=True)
    return [record for job in jobs for record in read_json(paths[job.name])["records"]]


def _do(compute: Compute, job: Job, folder: Path, path: Path) -> None:
    start = time.perf_counter()
    records = compute(job.arguments, folder)
    seconds = round(time.perf_counter() - start, 1)
    write_json({"arguments": dict(job.arguments), "seconds": seconds, "records": records}, path)
