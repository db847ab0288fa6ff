"""The folder of a run: every finished stage has its final name, and nothing else is there."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from orbitlens.errors import OrbitLensError, printable, without_credentials
from orbitlens.files import alone_in, digest_of, one_line_errors, read_json, write_json
from orbitlens.pipeline._kept_settings import settings_of, shown
from orbitlens.pipeline.config import LATER, OPEN, RunConfig, with_current_names
from orbitlens.processes import STOPPED, Terminated

_WARNINGS = "warnings.json"
_RECORDS = ("config.json", "log.txt", _WARNINGS)
_DEFAULTS = {entry.name: entry.default for entry in fields(RunConfig)}
_GO_ON = "continue with --resume"


@final
class RunFolder:
    """A folder that one run writes, stage by stage.

    Every stage writes under a temporary name and then renames. So a stage is done if its result
    exists, and an interrupted run continues from the first stage that is not done. Each stage has
    its own seeds: the result is the same, bit for bit, as without the interruption.

    Args:
        path: The folder.
        config: The settings, JSON-ready; written as config.json. Those of `LATER` may differ from
            those before.
        resume: Continue the run in the folder.
        open_settings: Names of settings that are not known yet, so that they are not compared.

    Raises:
        OrbitLensError: If the folder is not empty and `resume` is not set, if there is nothing to
            resume, or if the run to resume has other settings.
    """

    def __init__(
        self,
        path: str | Path,
        config: Mapping[str, Any],
        *,
        resume: bool,
        open_settings: Sequence[str] = (),
    ) -> None:
        # Resolved at once: a failure must remove this very folder, wherever ".." leads later.
        self._named, self.path = path, Path(path).resolve()
        self.config = shown(with_current_names(config))
        self._resume, self._open = resume, (*open_settings, *LATER)
        with one_line_errors(path):
            self._check()
            self.before = settings_of(self.path) if resume else {}

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
        with alone_in(self.path, f"`--out` {self.path}"):
            # Another run may have come and gone since the first look.
            with one_line_errors(self._named):
                self._check()
            yield from self._begun(made)

    def _begun(self, made: list[Path]) -> Iterator[None]:
        try:
            with one_line_errors(self._named):
                if self._resume:
                    self._remove_left_overs()
                self.refuse_links()
                if not self.before or any(
                    self.before.get(name, _DEFAULTS.get(name)) != self.config.get(name)
                    for name in LATER
                ):
                    write_json(self.config, self / "config.json")
            yield
        except OrbitLensError as error:
            # What the system refused, such as room on a disk, can be continued.
            if not isinstance(error.__cause__, OSError):
                self._remove_records(made)
            raise
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_GO_ON) from None
        except Terminated as error:
            raise Terminated(error.number, _GO_ON) from None
        except SystemExit as error:
            # A training ends in this way on a signal, after it has written its checkpoint.
            if error.code in STOPPED:
                raise Terminated(STOPPED[error.code], _GO_ON) from None
            raise

    def _remove_records(self, made: list[Path]) -> None:
        """Remove the folder again if nothing was done in it."""
        with suppress(OSError):
            if all(entry.name in _RECORDS for entry in self.path.iterdir()):
                for name in _RECORDS:
                    (self / name).unlink(missing_ok=True)
                for folder in made:
                    folder.rmdir()

    def log(self, message: str) -> None:
        """Add a line with the time to log.txt."""
        line = printable(without_credentials(message))
        path = self / "log.txt"
        with (
            one_line_errors(path),
            open(path, "a", encoding="utf-8", opener=_open_no_link) as file,
        ):
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {line}\n")

    def warnings(self) -> list[str]:
        """Return the warnings of the stages that are done."""
        file = self / _WARNINGS
        record = read_json(file) if file.exists() else {}
        known = {None, self._identity(), digest_of(self.before), digest_of(self.config)}
        if record.get("run") not in known:
            raise OrbitLensError(
                str(file),
                expected="the warnings of this run",
                received="those of another",
                remedy="restore the file, or remove it",
            )
        kept = record.get("warnings")
        return [str(each) for each in kept] if isinstance(kept, list) else []

    def _identity(self) -> str:
        """Return what stays the same of the settings of a run that goes on."""
        return digest_of({name: self.config[name] for name in self.config if name not in LATER})

    def keep_warnings(self, messages: Sequence[str]) -> None:
        """Keep all warnings so far, and log the last of them; it is new."""
        record = {"run": self._identity(), "warnings": list(messages)}
        write_json(record, self / _WARNINGS)
        self.log(f"warning: {messages[-1]}")

    def refuse_links(self) -> None:
        """Raise if a link in the folder leads elsewhere: nothing is written through it.

        The store alone may lie on another disk.
        """
        for entry in sorted([*self.path.glob("*"), *self.path.glob("saes/*")]):
            if entry.is_symlink() and not (entry.name == "acts.zarr" and entry.exists()):
                raise OrbitLensError(
                    str(entry),
                    expected="a part of the run",
                    received=f"a link to {entry.readlink()}",
                    remedy="remove the link, or move what it leads to into the folder",
                )

    def _remove_left_overs(self) -> None:
        for left_over in list(self.path.rglob(".*.partial*")):
            if left_over.is_dir() and not left_over.is_symlink():
                shutil.rmtree(left_over)
            else:
                left_over.unlink(missing_ok=True)

    def _check(self) -> None:
        if self._is_empty():
            return
        if self._resume:
            self._check_same_run()
        elif self.path.exists():
            self._check_empty()

    def _is_empty(self) -> bool:
        """Return whether nothing was written here, perhaps since a run was killed at its start."""
        if not self.path.is_dir():
            return False
        names = [entry.name for entry in self.path.iterdir()]
        return all(name.startswith(".config.json.partial") for name in names)

    def _check_empty(self) -> None:
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
        before = settings_of(self.path)
        # Settings that an earlier version did not have are at their defaults.
        before = {**{name: _DEFAULTS.get(name) for name in self.config}, **before}
        for name in sorted({*before, *self.config} - {*self._open}):
            if before.get(name) != self.config.get(name):
                raise OrbitLensError(
                    f"`--resume` of {self.path}: `{name}`",
                    expected=f"{before.get(name)!r} as when the run began",
                    received=f"{self.config.get(name)!r}",
                    remedy="give the same settings, or another --out",
                )


def check_place(out: str | Path, config: RunConfig, *, resume: bool) -> None:
    """Check that a run can be written to `out`, as far as its folder and its settings can tell."""
    RunFolder(out, config.to_dict(), resume=resume, open_settings=OPEN)


def _open_no_link(path: str, flags: int) -> int:
    """Open a file to write, unless it is a link, which could lead to any file of the user."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)
