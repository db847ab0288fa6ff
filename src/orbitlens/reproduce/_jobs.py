"""Jobs: the parts of a recipe. Each is done or not, so that an interrupted run can go on."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from orbitlens.errors import OrbitLensError
from orbitlens.files import one_line_errors, read_json, write_json
from orbitlens.pipeline.console import Console
from orbitlens.processes import in_child

Record = dict[str, Any]
Compute = Callable[[Mapping[str, Any], Path], list[Record]]


@dataclass(frozen=True)
class Job:
    """One part of a recipe.

    Args:
        name: Names its file, so it must be unique and free of slashes.
        arguments: The arguments of `compute`: plain numbers, words and lists of them.
        phase: All jobs of a phase end before the next phase begins, which may use their files.
    """

    name: str
    arguments: Mapping[str, Any]
    phase: int = 0


def run_jobs(
    jobs: Sequence[Job],
    compute: Compute,
    folder: Path,
    *,
    at_once: int,
    progress: Callable[[int, int], None],
    warned: Callable[[str], None] | None = None,
) -> list[Record]:
    """Do the jobs that are not done yet and return the records of all, in the order of the jobs.

    Each job has one thread, and a process of its own if several run at once. `jobs/NAME.json` gets
    the records and warnings of a job when it ends; an interrupted job is done again from its start.
    `warned` is called with each warning of all jobs.
    """
    done = folder / "jobs"
    with one_line_errors(done):
        done.mkdir(parents=True, exist_ok=True)
    paths = {job.name: done / f"{job.name}.json" for job in jobs}
    for phase in sorted({job.phase for job in jobs}):
        waiting = [job for job in jobs if job.phase == phase and not paths[job.name].exists()]
        for _ in _finish(waiting, partial(_do, compute, folder), at_once):
            progress(sum(path.exists() for path in paths.values()), len(jobs))
    progress(len(jobs), len(jobs))
    found = [read_json(paths[job.name]) for job in jobs]
    if warned is not None:
        for record in found:
            for message in record.get("warnings", ()):
                warned(str(message))
    return [record for each in found for record in each["records"]]


def _finish(jobs: Sequence[Job], do: Callable[[Job], None], at_once: int) -> Iterator[None]:
    """Do jobs side by side, each in one thread, and yield whenever one ends."""
    if at_once == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for job in jobs:
                do(job)
                yield
        finally:
            torch.set_num_threads(threads)
    elif jobs:
        # A forked process would inherit the locks of torch's threads.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(at_once, len(jobs)), context, *in_child(_begin_worker))
        try:
            for future in as_completed([pool.submit(do, job) for job in jobs]):
                future.result()
                yield
        except BrokenProcessPool:
            raise OrbitLensError(
                "a worker process",
                expected="to finish its job",
                received="its death, mostly for want of memory",
                remedy="take fewer --jobs; the same command goes on",
            ) from None
        except BaseException:
            # A worker that was still importing may have missed the signal that ends it.
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Take one thread, and end at once on Ctrl-C."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _do(compute: Compute, folder: Path, job: Job) -> None:
    start = time.perf_counter()
    console = Console(quiet=True)
    with console.hearing():
        records = compute(job.arguments, folder)
    done = {
        "arguments": dict(job.arguments),
        "seconds": round(time.perf_counter() - start, 1),
        "records": records,
        "warnings": console.warnings,
    }
    write_json(done, folder / "jobs" / f"{job.name}.json")


def file_name(model: str) -> str:
    """Return the name of a network without colons and slashes, for names of jobs and files."""
    return model.replace(":", "-").replace("/", "-")
