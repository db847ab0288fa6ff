"""A program from its first moment to its last: no traceback for a signal or a lost stream."""

import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, final

from orbitlens.processes._parent import end_with_parent
from orbitlens.processes._stopping import leave, stopping_signals


def run_program(main: Callable[[], None]) -> None:
    """Run `main`, which ends in SystemExit, as the whole work of this process.

    Before and after it, a signal that stops the process ends it quietly. Standard error takes
    everything, and loses what nobody can read; a closed stream is the null device.
    """
    end_with_parent()
    for number in stopping_signals():
        signal.signal(number, leave)
    _open_closed_streams()
    sys.stderr = _forgiving(sys.stderr)
    try:
        main()
    finally:
        _drop_unwritten()


def _open_closed_streams() -> None:
    """Open the null device for each closed stream: the next file would get its number otherwise.

    What a library prints to standard error would then be written into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - to the end of the process


def _forgiving(stream: Any) -> io.TextIOWrapper:
    encoding = "utf-8" if stream is None else stream.encoding
    return io.TextIOWrapper(
        io.BufferedWriter(_Forgiving(2, "w", closefd=False)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


@final
class _Forgiving(io.FileIO):
    """A stream whose reader may leave, or whose disk may be full: the rest is lost, and no more."""

    def write(self, content: Any, /) -> int:
        """Write, or pretend to."""
        try:
            return super().write(content) or 0
        except OSError:
            return len(content)


def _drop_unwritten() -> None:
    """Flush standard output; without its reader, what is left would fail once more at the end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
