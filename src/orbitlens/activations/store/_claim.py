"""The place where a store is written: one writer at a time, and no half-written store.

On a local disk a store is written to a hidden folder beside its target, which takes the target's
name at the very end. The writer holds a lock, which the kernel releases if the writer dies. Object
stores cannot rename: there the attribute `complete` marks a whole store, and an object is the lock.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

from fsspec.core import url_to_fs  # type: ignore[import-untyped]
from zarr.core.sync import sync

from orbitlens.activations.store._address import address_errors, address_of, exists, zarr_store
from orbitlens.activations.store._url_lock import LOCK, check_unlocked, hold_lock
from orbitlens.errors import OrbitLensError
from orbitlens.files import one_line_errors


@final
@dataclass
class Claim:
    """The address that one writer has for itself, and the target for which it is meant.

    `found` says that part of a store is there already. `keep` says that this part stays if the run
    ends early; the writer sets it once a shard is complete.
    """

    target: Path | str | None
    address: Path | str | None
    found: bool = False
    keep: bool = False


def claim_place(target: Path | str, *, resume: bool) -> AbstractContextManager[Claim]:
    """Claim the place of a store; at the end of the block the store is at its target.

    With `resume` an unfinished store is continued, and finished shards survive an error.
    """
    return _local(target, resume) if isinstance(target, Path) else _remote(target, resume)


def check_free(out: Path | str | None) -> None:
    """Check, before any work, that a store can be written here."""
    out = address_of(out)
    if isinstance(out, str):
        check_unlocked(out)
    if out is None:
        return
    with address_errors(out):
        there = exists(out)
    if there:
        raise _occupied(out, "an existing one", "remove it or choose another path")


@contextmanager
def _local(target: Path, resume: bool) -> Iterator[Claim]:
    folder = target.with_name(f".{target.name}.unfinished")
    with one_line_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    claim = Claim(target, folder)
    try:
        _lock(descriptor, target, folder)
        _clear(folder, target, resume)
        claim.found = claim.keep = any(folder.iterdir())
        try:
            yield claim
            if exists(target):
                raise _occupied(target, "one that appeared in the meantime", "choose another path")
            with one_line_errors(target):
                os.replace(folder, target)
        except BaseException:
            if not (resume and claim.keep):
                shutil.rmtree(folder, ignore_errors=True)
            raise
    finally:
        os.close(descriptor)


def _lock(descriptor: int, target: Path, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _busy(target) from None
    except OSError:
        return  # Some network file systems have no locks.
    # The process that held the lock before may have moved the folder to its target, or removed it.
    if not folder.exists() or not os.path.samestat(os.fstat(descriptor), folder.stat()):
        raise _busy(target)


def _busy(target: Path) -> OrbitLensError:
    return OrbitLensError(
        f"store {target}",
        expected="one writer at a time",
        received="another process that is writing it",
        remedy="wait for that one, or choose another path",
    )


def _clear(folder: Path, target: Path, resume: bool) -> None:
    """Remove the files of a killed writer, except the shards of a harvest to resume."""
    resumable = _resumable(folder / "zarr.json")
    if resumable and not resume:
        raise _interrupted(target, f"remove {folder}")
    with one_line_errors(target):
        for entry in list(folder.rglob("*.partial") if resumable else folder.iterdir()):
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _resumable(record: Path) -> bool:
    try:
        return "settings" in json.loads(record.read_text())["attributes"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _interrupted(target: Path | str, remedy: str) -> OrbitLensError:
    return OrbitLensError(
        f"store {target}",
        expected="no unfinished one",
        received="part of one, whose harvest was interrupted",
        remedy=f"continue it with `resume`, or {remedy} to begin again",
    )


def _occupied(target: Path | str, received: str, remedy: str) -> OrbitLensError:
    return OrbitLensError(
        f"`out` {target}",
        expected="a path that does not exist yet",
        received=received,
        remedy=remedy,
    )


@contextmanager
def _remote(target: str, resume: bool) -> Iterator[Claim]:
    check_unlocked(target)
    _find_part(target, resume)
    with hold_lock(target):
        # Another writer may have come and gone since the first look.
        found = _find_part(target, resume)
        claim = Claim(target, target, found, keep=found)
        try:
            yield claim
        except BaseException:
            if not (resume and claim.keep):
                with address_errors(target):
                    sync(zarr_store(target).delete_dir(""))
            raise


def _find_part(target: str, resume: bool) -> bool:
    """Return whether part of a store is at a URL; anything else there is an error."""
    with address_errors(target):
        system, path = url_to_fs(target)
        try:
            names = {
                entry.rstrip("/").rpartition("/")[2] for entry in system.ls(path, detail=False)
            }
        except FileNotFoundError:
            return False
    names -= {"", LOCK}
    if names and not resume:
        raise _interrupted(target, "remove what is there")
    if names and "zarr.json" not in names:
        raise OrbitLensError(
            f"store {target}",
            expected="part of a store, or nothing",
            received=", ".join(sorted(names)[:3]),
            remedy="choose another URL",
        )
    return bool(names)
