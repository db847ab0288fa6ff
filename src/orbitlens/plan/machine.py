"""What the machine has: room on a disk, memory, and what this process holds of it."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

_STATUS = Path("/proc/self/status")
_LIMIT = Path("/sys/fs/cgroup/memory.max")


def nearest_folder(path: Path) -> Path:
    """Return the folder itself, or the nearest above it that exists."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def free_disk(path: Path) -> int:
    """Return the free bytes of the disk that a path is or will be on."""
    return shutil.disk_usage(nearest_folder(path)).free


def usable_memory() -> int:
    """Return the bytes that this process may come to hold, of the machine or of its container."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        return min(machine, int(_LIMIT.read_text()))
    return machine


def held_memory(field: str = "VmRSS") -> int:
    """Return the bytes that this process holds, or with "VmHWM" has held; 0 where nobody says."""
    with suppress(OSError):
        found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


@contextmanager
def few_threads(workers: int) -> Iterator[None]:
    """Run with the threads that each of several processes would have."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@final
@dataclass
class Peak:
    """Bytes that a block of code held at most beyond what was held before it.

    Args:
        bytes: Known once the block has ended.
    """

    bytes: int = 0


@contextmanager
def peak_since() -> Iterator[Peak]:
    """Measure how much more memory a block holds at most; where the system cannot say, nothing."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, found = held_memory(), Peak()
    yield found
    found.bytes = max(0, held_memory("VmHWM") - before)
