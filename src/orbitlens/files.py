"""Files that are whole or absent: written under a temporary name, then renamed.

A JSON file has a checksum of the rest among its fields. A file that was damaged, or changed by
hand, is refused when it is read. Files without the field, of earlier versions, are taken as they
are.
"""

import csv
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orbitlens.errors import DamageError, OrbitLensError, one_line

__all__ = [
    "TO_READ",
    "alone_in",
    "as_path",
    "cache_folder",
    "check_regular",
    "digest_of",
    "digest_of_file",
    "in_place_of_a_folder",
    "new_file",
    "new_folder",
    "one_at_a_time",
    "one_line_errors",
    "parse_json",
    "place_error",
    "read_json",
    "to_json",
    "write_json",
    "write_table",
]

TO_READ, _TO_WRITE = "a place that can be read", "a place that can be written"
_CHECKSUM = "checksum"


def as_path(name: str, value: object) -> Path:
    """Return the absolute path of a file or folder, which stays the same where the process goes."""
    try:
        path = Path(value)  # type: ignore[arg-type]
        os.fsencode(path)
        if "\0" in str(path):
            raise ValueError
    except (TypeError, ValueError):  # also of characters that no name can have
        raise OrbitLensError(
            f"`{name}`",
            expected="the path of a file or folder, as text or a pathlib.Path",
            received=repr(value) if isinstance(value, str) else type(value).__name__,
            remedy="give a name that the system can hold",
        ) from None
    return path.absolute()


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `path`, a new one, if the block ends without error."""
    path = as_path("path", path)
    with one_line_errors(path):
        there = path.exists() or path.is_symlink()
    if there:
        raise OrbitLensError(
            str(path),
            expected="a new folder",
            received="one that exists",
            remedy="remove it or choose another name",
        )
    with one_line_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    try:
        # mkdtemp makes a private folder; a result is as readable as any other the user makes.
        with one_line_errors(path):
            temporary.chmod(0o755)
            yield temporary
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary file that replaces `path` if the block ends without an error."""
    path = as_path("path", path)
    # Two processes that make the same file must not write into each other's.
    temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with one_line_errors(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def one_at_a_time(folder: str | Path) -> Iterator[None]:
    """Wait until no other process is in such a block for the same folder; make it if needed."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems have no locks; work done twice is better than none.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone_in(folder: str | Path, subject: str) -> Iterator[None]:
    """Keep every other process out of such a block for the same folder, or raise if one is in it.

    The system takes the lock away when the process ends, in whatever way. `subject` is that of
    errors.
    """
    with one_line_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(subject) from None
        except OSError:
            pass  # Some network file systems have no locks.
        # The process that held the lock before may have removed the folder.
        if not os.path.exists(folder) or not os.path.samestat(
            os.fstat(descriptor), os.stat(folder)
        ):
            raise _busy(subject)
        yield
    finally:
        os.close(descriptor)


def _busy(subject: str) -> OrbitLensError:
    return OrbitLensError(
        subject,
        expected="one run at a time",
        received="another process that is writing there",
        remedy="wait for that one, or choose another folder",
    )


@contextmanager
def one_line_errors(path: str | Path, expected: str = _TO_WRITE) -> Iterator[None]:
    """Turn every OSError of the block into the `place_error` of a place to write, or to read."""
    try:
        yield
    except OSError as error:
        raise place_error(path, error, expected) from error


def place_error(path: str | Path, error: OSError, expected: str) -> OrbitLensError:
    """Return the error for a place that the system refuses, with a remedy for rights or room."""
    # Libraries in Rust keep the number in their text.
    told = re.search(r"\(os error (\d+)\)", str(error))
    number = int(told[1]) if error.errno is None and told else error.errno
    remedy = "choose another path"
    if isinstance(error, PermissionError) or number in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "get the rights to it or choose another path"
    elif number in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free space there or choose another path"
    elif number == errno.EFBIG:
        remedy = "raise the limit on the size of files (ulimit -f) or choose another path"
    elif number in (errno.EMFILE, errno.ENFILE):
        remedy = "raise the limit on open files (ulimit -n) or lower --workers"
    received = error.strerror or one_line(error)
    return OrbitLensError(_from_here(path), expected=expected, received=received, remedy=remedy)


def _from_here(path: str | Path) -> str:
    """Return a path in words: from the current folder on, if it is in there."""
    with suppress(ValueError, OSError):
        return str(Path(path).relative_to(Path.cwd()))
    return str(path)


def write_json(record: Mapping[str, Any], path: str | Path) -> None:
    """Write the `to_json` of a record and its checksum to a file, whole or not at all."""
    with new_file(path) as file:
        file.write_text(to_json({**record, _CHECKSUM: digest_of(record)}) + "\n")


def digest_of(record: Mapping[str, Any]) -> str:
    """Return sixteen hexadecimal digits that change with any field of a JSON-ready record."""
    plain = json.loads(to_json(record))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def digest_of_file(path: Path) -> str:
    """Return sixteen hexadecimal digits that change with any byte of a file."""
    with one_line_errors(path, TO_READ):
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def to_json(record: Mapping[str, Any]) -> str:
    """Return a record as indented JSON; numbers that are not finite become null."""
    return json.dumps(_finite(record), indent=2, allow_nan=False)


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a file with a JSON object that has its checksum, if any; anything else is an error."""
    check_regular(path)
    try:
        text = Path(path).read_bytes()
    except PermissionError as error:
        raise place_error(path, error, TO_READ) from None
    except OSError as error:
        raise _no_json(str(path), error) from None
    return parse_json(text, str(path))


def in_place_of_a_folder(path: Path) -> str:
    """Say what is there where a folder is expected and none is."""
    return "a file" if path.exists() else "no such folder"


def check_regular(path: str | Path) -> None:
    """Refuse a pipe or a device in the place of a file, which might never answer."""
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise OrbitLensError(
            str(path),
            expected="a regular file",
            received="a pipe, a socket or a device",
            remedy="put a copy of the file there",
        )


def parse_json(text: str | bytes, subject: str) -> dict[str, Any]:
    """Read a JSON object from the content of a file; `subject` names the file in errors."""
    try:
        record = json.loads(text, object_pairs_hook=_each_once)
        to_json(record if isinstance(record, dict) else {})  # not nested too deep
    except (ValueError, RecursionError) as error:
        raise _no_json(subject, error) from None
    if not isinstance(record, dict):
        raise OrbitLensError(
            subject,
            expected="a JSON object",
            received=type(record).__name__,
            remedy="the file is not one that OrbitLens wrote",
        )
    if _CHECKSUM in record:
        written, found = record.pop(_CHECKSUM), digest_of(record)
        if written != found:
            raise DamageError(
                subject,
                expected=f"what was written, with checksum {str(written)[:16]}",
                received=f"checksum {found}, the file was changed or damaged since",
                remedy="restore it from a copy, or write it again",
            )
    return record


def _each_once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of an object; of a name that comes twice, nobody knows which is meant."""
    record = dict(fields)
    if len(record) < len(fields):
        raise ValueError("a name twice in one object")
    return record


def _no_json(subject: str, error: Exception) -> OrbitLensError:
    return DamageError(
        subject,
        expected="a JSON file",
        received="none" if isinstance(error, FileNotFoundError) else type(error).__name__,
        remedy="the folder is incomplete or damaged; write it again",
    )


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not (abs(value) < float("inf")) else value


def write_table(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Write records as a CSV file, whole or not at all.

    Floating point numbers get six significant digits; a field that a record lacks is an empty cell.
    """
    with new_file(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        fields = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            cells = ((k, f"{v:.6g}" if isinstance(v, float) else v) for k, v in row.items())
            writer.writerow(dict(cells))


def cache_folder() -> Path:
    """Return the absolute path of the cache: `$ORBITLENS_CACHE`, else `~/.cache/orbitlens`."""
    chosen = os.environ.get("ORBITLENS_CACHE")
    folder = Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "orbitlens"
    return folder.absolute()
