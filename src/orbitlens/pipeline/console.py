"""Progress of a run: one line per stage, with the time left."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

from orbitlens.errors import missing_extra

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
            with _bar(name) as tick:
                yield tick
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def say(self, message: str) -> None:
        """Print a line on standard error."""
        if not self.quiet:
            print(message, file=sys.stderr)  # noqa: T201


def _no_tick(done: int, total: int, *details: Any) -> None:
    del done, total, details


@contextmanager
def _bar(name: str) -> Iterator[Tick]:
    try:
        from rich import console, progress
    except ImportError:
        raise missing_extra("rich", extra="cli") from None
    columns = (
        progress.TextColumn("{task.description:<34}"),
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
