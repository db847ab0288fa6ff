"""The folder of a run: every finished stage has its final name, and nothing else is there."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from orbitlens.errors import OrbitLensError
from orbitlens.files import one_line_errors, read_json, write_json
from orbitlens.pipeline.config import with_current_names
from orbitlens.pipeline.stopping import TERMINATED, Terminated

_RECORDS = ("config.json", "log.txt")
_GO_ON = "continue with --resume"


@final
class RunFolder:
    """A folder that one run writes, stage by stage.

    Every stage writes under a temporary name and then renames. So a stage is done if its result
    exists, and an interrupted run continues from the first stage that is not done. Each stage has
    its own seeds: the result is the same, bit for bit, as without the interruption.

    Args:
        path: The folder.
        config: The settings, JSON-ready; written as config.json.
        resume: Continue the run in the folder.

    Raises:
        OrbitLensError: If the folder is not empty and `resume` is not set, if there is nothing to
            resume, or if the run to resume has other settings.
    """

    def __init__(self, path: str | Path, config: Mapping[str, Any], *, resume: bool) -> None:
        # Resolved at once: a failure must remove this very folder, wherever ".." leads later.
        self._named, self.path = path, Path(path).resolve()
        self.config = with_current_names(config)
        self._resume = resume
        with one_line_errors(path):
            if resume:
                self._check_same_run()
            elif self.path.exists():
                self._check_empty()

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Create the folder; empty it again on bad input, and say how to go on after a signal.

        Finished stages stay, so that `resume` continues from them. Resuming removes the temporary
        files of a killed process.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        with one_line_errors(self._named):
            self.path.mkdir(parents=True, exist_ok=True)
        with self._alone():
            yield from self._begun(made)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second run out until this process ends, in whatever way."""
        with one_line_errors(self._named):
            descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise OrbitLensError(
                f"`--out` {self.path}",
                expected="one run at a time",
                received="another process that is writing there",
                remedy="wait for that one, or choose another folder",
            ) from None
        except OSError:
            pass  # Some network file systems have no locks.
        try:
            yield
        finally:
            os.close(descriptor)

    def _begun(self, made: list[Path]) -> Iterator[None]:
        with one_line_errors(self._named):
            if self._resume:
                self._remove_left_overs()
            if not (self / "config.json").exists():
                write_json(self.config, self / "config.json")
        try:
            yield
        except OrbitLensError:
            if all(entry.name in _RECORDS for entry in self.path.iterdir()):
                for name in _RECORDS:
                    (self / name).unlink(missing_ok=True)
                for folder in made:
                    folder.rmdir()
            raise
        except (KeyboardInterrupt, Terminated) as error:
            raise type(error)(_GO_ON) from None
        except SystemExit as error:
            # A training ends in this way on SIGTERM, after it has written its checkpoint.
            if error.code == TERMINATED:
                raise Terminated(_GO_ON) from None
            raise

    def log(self, message: str) -> None:
        """Add a line with the time to log.txt."""
        with (self / "log.txt").open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {message}\n")

    def _remove_left_overs(self) -> None:
        for left_over in list(self.path.rglob(".*.partial*")):
            if left_over.is_dir():
                shutil.rmtree(left_over)
            else:
                left_over.unlink(missing_ok=True)

    def _check_empty(self) -> None:
        if self.path.is_dir():
            names = sorted(entry.name for entry in self.path.iterdir())
            names = [name for name in names if not name.startswith(".config.json.partial")]
            if not names:
                return
        is_run = (self / "config.json").is_file()
        received = "one that already holds a run" if is_run else "one that holds other files"
        raise OrbitLensError(
            f"`--out` {self.path}",
            expected="a new or empty folder",
            received=received if self.path.is_dir() else "a file",
            remedy="choose another, or continue the run with --resume"
            if is_run
            else "choose another",
        )

    def _check_same_run(self) -> None:
        if not (self / "config.json").is_file():
            raise OrbitLensError(
                f"`--resume` of {self.path}",
                expected="a folder with a run",
                received="no config.json there",
                remedy="start the run without --resume",
            )
        before = with_current_names(read_json(self / "config.json"))
        for name in sorted({*before, *self.config}):
            if before.get(name) != self.config.get(name):
                raise OrbitLensError(
                    f"`--resume` of {self.path}: `{name}`",
                    expected=f"{before.get(name)!r} as when the run began",
                    received=f"{self.config.get(name)!r}",
                    remedy="give the same settings, or another --out",
                )
