"""The folder of a run: what is done is there under its final name, and nothing else is."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from orbitlens.errors import OrbitLensError
from orbitlens.io import read_json, write_json


@final
class RunFolder:
    """A folder that one run writes, stage by stage.

    Every stage writes under a temporary name and renames, so a stage whose result exists is done,
    and an interrupted run continues from the first that is not. Each stage has its own seeds:
    the result is the same, bit for bit, as without the interruption.

    Args:
        path: The folder.
        config: The settings, JSON-ready; written as config.json.
        resume: Continue the run that the folder holds.

    Raises:
        OrbitLensError: If the folder holds a run and `resume` is not set, if there is nothing to
            resume, or if the run to resume has other settings.
    """

    def __init__(self, path: str | Path, config: Mapping[str, Any], *, resume: bool) -> None:
        self.path = Path(path)
        self.config = dict(config)
        self._existed = self.path.exists()
        if resume:
            self._check_same_run()
        elif self.path.is_file() or (self._existed and any(self.path.iterdir())):
            raise OrbitLensError(
                f"`--out` {path}",
                expected="a new or empty folder",
                received="one that already holds a run" if self.path.is_dir() else "a file",
                remedy="choose another, or continue the run with --resume",
            )

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Create the folder; on bad input leave nothing of a run that did not exist before.

        An interruption leaves what is done, for `resume` to continue; what a killed process left
        under temporary names is removed here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        for left_over in list(self.path.rglob(".*.partial*")):
            if left_over.is_dir():
                shutil.rmtree(left_over)
            else:
                left_over.unlink(missing_ok=True)
        if not (self / "config.json").exists():
            write_json(self.config, self / "config.json")
        try:
            yield
        except OrbitLensError:
            if not self._existed:
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    def log(self, message: str) -> None:
        """Add a line with the time to log.txt."""
        with (self / "log.txt").open("a") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {message}\n")

    def _check_same_run(self) -> None:
        if not (self / "config.json").is_file():
            raise OrbitLensError(
                f"`--resume` of {self.path}",
                expected="a folder with a run",
                received="no config.json there",
                remedy="start the run without --resume",
            )
        before = read_json(self / "config.json")
        for name in sorted({*before, *self.config}):
            if before.get(name) != self.config.get(name):
                raise OrbitLensError(
                    f"`--resume` of {self.path}: `{name}`",
                    expected=f"{before.get(name)!r} as when the run began",
                    received=f"{self.config.get(name)!r}",
                    remedy="give the same settings, or another --out",
                )
