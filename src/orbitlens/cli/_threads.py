"""Settings of the threads, made before a library that reads them is loaded.

Threads of OpenMP wait for each other by spinning, for some milliseconds by default. Beside other
busy programs a spinning thread keeps the one that it waits for from its core. A container may grant
a process less of the processors than it has. Child processes inherit these settings.
"""

import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

_SPINS = "1000"
_MILLISECONDS = "1"
_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def set_up_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads spin briefly and be as many as the container grants, unless the user chose.

    Once torch is loaded its threads are what they are, and nothing is changed.
    """
    if "torch" in sys.modules:
        return
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", _SPINS)  # GNU's runtime, torch's on Linux
        environment.setdefault("KMP_BLOCKTIME", _MILLISECONDS)  # LLVM's and Intel's
    granted = granted_processors()
    if granted is not None and not {"OMP_NUM_THREADS", "MKL_NUM_THREADS"} & environment.keys():
        threads = max(1, int(granted))
        if threads < _processors():
            environment["OMP_NUM_THREADS"] = str(threads)


def granted_processors(own: Path = _OWN, groups: Path = _GROUPS) -> float | None:
    """Return the share of the processors that the control groups grant, such as 1.5, or None."""
    quotas: list[float] = []
    with suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for folder in _folders(groups, controllers.split(","), path):
                with suppress(OSError, ValueError):
                    quotas += _quota(folder)
    return min(quotas, default=None)


def _folders(groups: Path, controllers: list[str], path: str) -> Iterator[Path]:
    """Yield the folders of a control group and of those around it, of version 2 or 1.

    Inside a container the path may be that on the machine; its end is then the root.
    """
    if "cpu" in controllers:
        roots = [groups / ",".join(controllers), groups / "cpu"]
    else:
        roots = [groups] if controllers == [""] else []
    for root in roots:
        for each in (PurePosixPath(path), *PurePosixPath(path).parents):
            yield root / str(each).lstrip("/")


def _quota(folder: Path) -> list[float]:
    """Return the quota of one group in processors; none if it has no limit."""
    if (folder / "cpu.max").is_file():
        granted, period = (folder / "cpu.max").read_text().split()
    else:
        granted = (folder / "cpu.cfs_quota_us").read_text().strip()
        period = (folder / "cpu.cfs_period_us").read_text()
    return [] if granted in ("max", "-1") else [int(granted) / int(period)]


def _processors() -> int:
    """Return the number of processors that the process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
