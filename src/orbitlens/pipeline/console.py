"""Progress of a run: one line per stage, with the time left, and one per warning."""

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

from orbitlens.errors import OrbitLensWarning, missing_extra, printable, without_credentials
from orbitlens.pipeline.folder import RunFolder

Tick = Callable[..., None]
"""A function that takes progress: (done, total), and details that may be ignored."""


@final
class Console:
    """Progress on standard error, so that standard output holds results alone.

    Args:
        quiet: Print nothing.

    Example:
        >>> console = Console(quiet=True)
        >>> with console.stage("harvest") as tick:
        ...     tick(1, 10)
        >>> list(console.seconds)
        ['harvest']
    """

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self._folder: RunFolder | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[Tick]:
        """Time a stage and show its progress.

        Args:
            name: The words that the user reads.

        Yields:
            A function to call with (done, total); it ignores further arguments.
        """
        start = time.perf_counter()
        if self.quiet:
            yield _no_tick
        else:
            with _bar(printable(name)) as tick:
                yield tick
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def say(self, message: str) -> None:
        """Print a line on standard error."""
        if not self.quiet:
            print(printable(without_credentials(message)), file=sys.stderr)  # noqa: T201

    @contextmanager
    def hearing(self) -> Iterator[None]:
        """Take every `OrbitLensWarning` of the block as by `warn`, and leave all others alone.

        Example:
            >>> from orbitlens.errors import warn
            >>> console = Console(quiet=True)
            >>> with console.hearing():
            ...     warn("layer '3'", found="it is constant", remedy="choose another layer")
            >>> console.warnings
            ["layer '3': it is constant; choose another layer"]
        """
        with warnings.catch_warnings():
            warnings.simplefilter("always", OrbitLensWarning)
            show_others = warnings.showwarning

            def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
                if issubclass(category, OrbitLensWarning):
                    self.warn(str(message))
                else:
                    show_others(message, category, *where, **more)

            warnings.showwarning = show
            yield

    def warn(self, message: str) -> None:
        """Print a warning, and keep it; the same words are heard once."""
        if message not in self.warnings:
            self.say(f"warning: {message}")
            self._keep(message)

    def keep_warnings_in(self, folder: RunFolder) -> None:
        """Keep all warnings in the folder of a run, and take up those of its finished stages."""
        heard, self.warnings, self._folder = self.warnings, folder.warnings(), folder
        for message in heard:
            if message not in self.warnings:
                self._keep(message)

    def with_warnings(self, record: Mapping[str, Any], doubts: Sequence[str]) -> dict[str, Any]:
        """Warn of the doubts about a record, and return it with all warnings."""
        for doubt in doubts:
            self.warn(doubt)
        return {**record, "warnings": list(self.warnings)}

    def _keep(self, message: str) -> None:
        self.warnings.append(message)
        if self._folder is not None:
            self._folder.keep_warnings(self.warnings)


def _no_tick(done: int, total: int, *details: Any) -> None:
    del done, total, details


@contextmanager
def _bar(name: str) -> Iterator[Tick]:
    try:
        from rich import console, progress
    except ImportError:
        raise missing_extra("rich", extra="cli") from None
    columns = (
        progress.TextColumn("{task.description:<34}", markup=False),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console.Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)

        def tick(done: int, total: int, *details: Any) -> None:
            del details
            bar.update(task, completed=done, total=total)

        yield tick
        if bar.tasks[task].total is None:
            bar.update(task, completed=1, total=1)
