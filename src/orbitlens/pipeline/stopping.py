"""SIGTERM ends a command as Ctrl-C does: what it has begun is left in order, and a line is said."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import final

TERMINATED = 128 + signal.SIGTERM
"""The exit code of what SIGTERM has ended."""


@final
class Terminated(BaseException):
    """SIGTERM, as KeyboardInterrupt is Ctrl-C; the message says how to go on."""


@contextmanager
def listening_to_sigterm() -> Iterator[None]:
    """Raise `Terminated` in the block on the first SIGTERM; let no other disturb the clearing up.

    Only in the main thread, and only where SIGTERM would end the process at once.

    Example:
        >>> with listening_to_sigterm():
        ...     try:
        ...         signal.raise_signal(signal.SIGTERM)
        ...     except Terminated:
        ...         print("terminated")
        terminated
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    told = False

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        nonlocal told
        # A supervisor tells every process of a group, and a parent hands on what it was told.
        if not told:
            told = True
            raise Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
