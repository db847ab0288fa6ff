"""Memory at the door: what would not fit is refused before any work."""

import math
import os
import resource
from contextlib import suppress
from pathlib import Path

from orbitlens.errors import OrbitLensError

_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def usable_memory() -> int:
    """Return the bytes that the machine, its container or `ulimit -v` has for a process."""
    usable = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        usable = min(usable, limit)
    for path in _LIMITS:
        with suppress(OSError, ValueError):
            usable = min(usable, int(path.read_text()))
    return usable


def check_memory(subject: str, needed: int, remedy: str) -> None:
    """Raise an OrbitLensError if work needs more bytes than the machine has."""
    usable = usable_memory()
    if needed > usable:
        raise OrbitLensError(
            subject,
            expected=f"a machine or container with {needed / 2**30:.1f} GiB of memory",
            received=f"{usable / 2**30:.1f} GiB",
            remedy=remedy,
        )


def check_training(numbers: int) -> None:
    """Raise an OrbitLensError if the training of so many float32 weights needs more memory.

    Each has a gradient and the two moments of Adam.
    """
    subject = f"a training of {numbers:,} weights"
    check_memory(subject, 16 * numbers, "choose fewer latents or atoms, or a smaller hidden layer")


def check_weights(*sizes: int) -> None:
    """Raise an OrbitLensError if weights of a shape, in float32, need more than the machine has.

    A copy is counted as well: initial weights are scaled, and training needs their gradient.
    """
    check_memory(f"weights of shape {list(sizes)}", 8 * math.prod(sizes), "choose smaller sizes")
