"""SIGTERM ends a command as Ctrl-C does: it leaves its files in order and prints a line."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import final

__all__ = ["TERMINATED", "Terminated", "listening_to_sigterm"]

TERMINATED = 128 + signal.SIGTERM
"""The exit code of a command that SIGTERM ended."""


@final
class Terminated(BaseException):
    """Stands for SIGTERM as KeyboardInterrupt stands for Ctrl-C; its message says how to go on."""


@contextmanager
def listening_to_sigterm() -> Iterator[None]:
    """Raise `Terminated` in the block on the first SIGTERM, and ignore those that follow.

    This holds only in the main thread, and only if SIGTERM would end the process at once.

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
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        nonlocal stopping
        # A supervisor signals every process of a group, and a parent passes its signal on.
        if not stopping:
            stopping = True
            raise Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
