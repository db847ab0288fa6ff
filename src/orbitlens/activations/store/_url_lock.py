"""One writer at a time at a URL: a small object that says who is writing.

It is made by an exclusive create, so that of two writers who begin at the same instant one is
refused. Unlike the lock of a local folder it outlives a process that is killed; on the machine
where that one ran it is seen to be dead, elsewhere the error says what to remove.
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
def locked(url: str) -> Iterator[None]:
    """Be the only writer at a URL for the length of the block.

    Raises:
        OrbitLensError: If another process writes there, or may do so; or if one may not write.
    """
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
    """Check that nobody writes at a URL.

    Returns:
        Whether a process that has ended left its lock there.

    Raises:
        OrbitLensError: If a process writes there that lives, or may live on another machine.
    """
    holder = _holder(url)
    if holder is not None and not _is_dead(holder):
        raise _busy(url, holder)
    return holder is not None


def _create(system: Any, path: str, content: bytes) -> None:
    """Make an object that must not exist; where that cannot be asked for, make it all the same."""
    try:
        system.pipe_file(path, content, mode="create")
    except FileExistsError:
        return  # It is read after this, and found to be another's.
    except Exception:
        # Libraries that know no such mode say so in many ways; a lack of rights is said again here.
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
    """Say who this is, in words that no other writer has."""
    return {
        "token": secrets.token_hex(8),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "begun": _begun(os.getpid()),
        "machine": _machine(),
    }


def _machine() -> str:
    """Name what numbers of processes are counted in: one boot of a machine, one container."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _begun(pid: int) -> str:
    """Return when a process began, in ticks since the boot; empty if there is none."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether a process has ended, as far as can be seen from here."""
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
