"""Memory at the door: what would not fit is refused before any work."""

import os
from contextlib import suppress
from pathlib import Path

from orbitlens.errors import OrbitLensError

_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def usable_memory() -> int:
    """Return the bytes that the machine or its container has for a process."""
    usable = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _LIMITS:
        with suppress(OSError, ValueError):
            usable = min(usable, int(limit.read_text()))
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
