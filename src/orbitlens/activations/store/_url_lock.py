"""One writer at a time at a URL: a small object names the process that writes.

The object is created exclusively, so if two writers start at the same instant, one is refused.
Unlike the lock of a local folder it stays when its process is killed. On the same machine the next
writer sees that the process is dead; on another machine the error says what to remove.
"""

import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs  # type: ignore[import-untyped]

from orbitlens.activations.store._address import address_errors, read_at
from orbitlens.errors import OrbitLensError

LOCK = "writer.lock"


@contextmanager
def hold_lock(url: str) -> Iterator[None]:
    """Be the only writer at a URL for the length of the block."""
    ours = json.dumps(_this_writer()).encode()
    left = check_unlocked(url)
    with address_errors(url):
        system, path = url_to_fs(f"{url}/{LOCK}")
        if left:
            system.rm_file(path)
        _create(system, path, ours)
    if read_at(url, LOCK) != ours:
        raise _busy(url, _holder(url))
    try:
        yield
    finally:
        with suppress(Exception):
            system.rm_file(path)


def check_unlocked(url: str) -> bool:
    """Check that no process writes at a URL; return whether a dead one left its lock there."""
    holder = _holder(url)
    if holder is not None and not _is_dead(holder):
        raise _busy(url, holder)
    return holder is not None


def _create(system: Any, path: str, content: bytes) -> None:
    """Create an object exclusively if the file system can, else write it."""
    try:
        system.pipe_file(path, content, mode="create")
    except FileExistsError:
        return  # The caller reads the object, and finds that it belongs to another writer.
    except Exception:
        # File systems without this mode raise various errors; missing rights fail again below.
        system.pipe_file(path, content)


def _holder(url: str) -> dict[str, Any] | None:
    content = read_at(url, LOCK)
    if content is None:
        return None
    try:
        record = json.loads(content)
    except ValueError:
        record = None
    return record if isinstance(record, dict) else {}


def _this_writer() -> dict[str, Any]:
    """Describe this process, unlike any other writer."""
    return {
        "token": secrets.token_hex(8),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "begun": _begun(os.getpid()),
        "machine": _machine(),
    }


def _machine() -> str:
    """Return a name for the scope of process numbers: one boot of a machine, one container."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _begun(pid: int) -> str:
    """Return the start of a process in ticks since the boot; empty if there is none."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _is_dead(holder: dict[str, Any]) -> bool:
    """Return whether a process has surely ended; false if it ran on another machine."""
    here = _machine()
    return bool(here) and holder.get("machine") == here and holder["begun"] != _begun(holder["pid"])


def _busy(url: str, holder: dict[str, Any] | None) -> OrbitLensError:
    holder = holder or {}
    who = f"process {holder.get('pid', '(unknown)')} on {holder.get('host', '(unknown)')}"
    return OrbitLensError(
        f"store {url}",
        expected="one writer at a time",
        received=f"another that is writing it, {who}",
        remedy=f"wait for that one, or choose another path; if it has been killed, remove "
        f"{url}/{LOCK} and continue with `resume`",
    )
