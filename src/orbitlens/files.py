"""Files that are whole or not there: written under a temporary name and renamed."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orbitlens.errors import OrbitLensError


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `path` only if the block ends without an error.

    Args:
        path: The folder to make; must not exist yet.

    Yields:
        A temporary sibling to write into.

    Raises:
        OrbitLensError: If the folder exists.

    Example:
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     with new_folder(Path(parent) / "new") as folder:
        ...         _ = (folder / "file").write_text("text")
        ...     (Path(parent) / "new" / "file").read_text()
        'text'
    """
    path = Path(path)
    if path.exists():
        raise OrbitLensError(
            str(path),
            expected="a new folder",
            received="one that exists",
            remedy="remove it or choose another name",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    try:
        # mkdtemp makes a private folder; a result is as readable as any other the user makes.
        temporary.chmod(0o755)
        yield temporary
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(record: Mapping[str, Any], path: str | Path) -> None:
    r"""Write a JSON file under a temporary name and rename it.

    Args:
        record: JSON-ready values. Numbers that are not finite become null, as JSON has none.
        path: The file.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json({"loss": float("nan")}, Path(folder) / "a.json")
        ...     (Path(folder) / "a.json").read_text()
        '{\n  "loss": null\n}\n'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(to_json(record) + "\n")
    os.replace(temporary, path)


def to_json(record: Mapping[str, Any]) -> str:
    """Return a record as indented JSON; numbers that are not finite become null.

    Args:
        record: JSON-ready values.

    Example:
        >>> to_json({})
        '{}'
    """
    return json.dumps(_finite(record), indent=2, allow_nan=False)


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.

    Raises:
        OrbitLensError: If there is no such file or it is no JSON object.
    """
    try:
        record = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise OrbitLensError(
            str(path),
            expected="a JSON file",
            received=type(error).__name__,
            remedy="the folder is incomplete or damaged; write it again",
        ) from None
    if not isinstance(record, dict):
        raise OrbitLensError(
            str(path),
            expected="a JSON object",
            received=type(record).__name__,
            remedy="the file is not one that OrbitLens wrote",
        )
    return record


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not (abs(value) < float("inf")) else value
