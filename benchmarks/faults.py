"""What the benchmarks with killed processes share.

They stand in folders of their own, and find this file beside these.
"""

import hashlib
import os
from pathlib import Path


def digests(folder: Path) -> dict[str, str]:
    """Return the fingerprint of every file, hidden ones as well."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def children(pid: int) -> list[int]:
    """Return the workers of a process, without the helper of multiprocessing that tracks them."""
    return [
        found
        for found, parent in _parents().items()
        if parent == pid and b"spawn_main" in _read(found, "cmdline")
    ]


def marked(mark: str) -> list[int]:
    """Return the processes that were started with a text in their environment."""
    return [found for found in _parents() if mark.encode() in _read(found, "environ")]


def catches(pid: int, number: int) -> bool:
    """Return whether a process has a handler for a signal."""
    for line in _read(pid, "status").decode().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def _parents() -> dict[int, int]:
    found = {}
    for name in os.listdir("/proc"):
        stat = _read(name, "stat") if name.isdigit() else b""
        if stat:
            found[int(name)] = int(stat.rsplit(b")", 1)[1].split()[1])
    return found


def _read(pid: int | str, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
