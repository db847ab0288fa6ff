"""The place of a store that is being written: one writer at a time, and nothing by halves.

On a local disk that is a hidden folder beside the target, which takes the target's name at the very
end. Its writer holds a lock that the kernel releases if it dies. Object stores cannot rename: there
the attribute `complete` tells a whole store from a part, and an object is the lock.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

from fsspec.core import url_to_fs  # type: ignore[import-untyped]
from zarr.core.sync import sync

from orbitlens.activations.store._address import address_errors, inside, zarr_store
from orbitlens.activations.store._url_lock import LOCK, check_unlocked, locked
from orbitlens.errors import OrbitLensError
from orbitlens.files import one_line_errors


@final
@dataclass
class Claim:
    """A place that a writer has for itself.

    Args:
        target: Where the store will be, for messages; None for memory.
        address: The folder or URL to write.
        found: Whether the part of a store is there already, to continue.
        keep: Whether it stays there for another run if this one ends early; the writer sets it once
            a shard is complete.
    """

    target: Path | str | None
    address: Path | str | None
    found: bool = False
    keep: bool = False

    def kept(self) -> None:
        """Say that a shard is complete."""
        self.keep = True


@contextmanager
def claimed(target: Path | str | None, *, resume: bool) -> Iterator[Claim]:
    """Have the place of a store for oneself; at the end of the block the store is at its target.

    Args:
        target: Where the store is to be; None for memory.
        resume: Continue what is there unfinished, and let stay what is worth keeping.

    Raises:
        OrbitLensError: If another process writes it, if something is there that is not to be
            continued, or if the place cannot be written.
    """
    if target is None:
        yield Claim(None, None)
    elif isinstance(target, Path):
        with _local(target, resume) as claim:
            yield claim
    else:
        with _remote(target, resume) as claim:
            yield claim


def unfinished_folder(target: Path) -> Path:
    """Return the hidden folder in which a store is written before it takes its name."""
    return target.with_name(f".{target.name}.unfinished")


def exists(target: Path | str, name: str = "") -> bool:
    """Whether anything is at an address, or under a name there."""
    place = inside(target, name)
    if isinstance(place, Path):
        return place.exists() or place.is_symlink()
    with address_errors(target):
        return not sync(zarr_store(place, read_only=True).is_empty(""))


@contextmanager
def _local(target: Path, resume: bool) -> Iterator[Claim]:
    folder = unfinished_folder(target)
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
            _check_free(target)
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
    # Whoever had the lock before may have moved the folder to its target, or removed it.
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
    """Remove what a killed writer left, apart from the shards of a harvest that is to go on."""
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
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _interrupted(target: Path | str, remedy: str) -> OrbitLensError:
    return OrbitLensError(
        f"store {target}",
        expected="no unfinished one",
        received="part of one, whose harvest was interrupted",
        remedy=f"continue it with `resume`, or {remedy} to begin again",
    )


def _check_free(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise OrbitLensError(
            f"`out` {target}",
            expected="a path that does not exist yet",
            received="one that came to be in the meantime",
            remedy="choose another path",
        )


@contextmanager
def _remote(target: str, resume: bool) -> Iterator[Claim]:
    check_unlocked(target)
    _found(target, resume)
    with locked(target):
        found = _found(target, resume)  # by now another may have been here, and gone
        claim = Claim(target, target, found, keep=found)
        try:
            yield claim
        except BaseException:
            if not (resume and claim.keep):
                with address_errors(target):
                    sync(zarr_store(target).delete_dir(""))
            raise


def _found(target: str, resume: bool) -> bool:
    """Whether part of a store is at a URL; that is to be continued, and nothing else may be."""
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
