"""Signals that end a program in good order: its files are whole, and a line says how to go on."""

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import final

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = {128 + number: number for number in _SIGNALS}
SAME_REQUEST = 1.0
"""A supervisor may signal a process and then its whole group: both mean the same."""
_AGAIN = 0.25
"""Seconds to the next look whether the exception was swallowed."""


@final
class Terminated(BaseException):
    """Stands for SIGTERM or SIGHUP as KeyboardInterrupt stands for Ctrl-C.

    Args:
        number: The signal.
        advice: How to go on.
    """

    def __init__(self, number: int, advice: str = "") -> None:
        super().__init__(advice)
        self.number = number

    @property
    def code(self) -> int:
        """The exit code: 143 after SIGTERM, 129 after SIGHUP."""
        return 128 + self.number


_ENDS = (KeyboardInterrupt, Terminated)


def leave(number: int, frame: FrameType | None) -> None:
    """End the process at once and without a word; this is a handler of signals."""
    del frame
    os._exit(128 + number)


def stopping_signals() -> list[signal.Signals]:
    """Return the signals that stop this process; `nohup` and `&` make it ignore some."""
    ours = (signal.SIG_IGN, None)
    return [number for number in _SIGNALS if signal.getsignal(number) not in ours]


@contextmanager
def listening_to_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt or `Terminated` in the block on the first signal that stops it.

    The next one ends the process at once, with its children: the first may have been swallowed by a
    library, or the process may hang. This holds only in the main thread, and only for signals that
    would end the process. Python drops the exception where it cannot go on, as in a weak reference
    or the lock of an import, and libraries that try an import catch it; it is then raised again.

    Example:
        >>> with listening_to_signals():
        ...     try:
        ...         signal.raise_signal(signal.SIGTERM)
        ...     except Terminated as error:
        ...         print(error.code)
        143
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ends = (signal.SIG_DFL, signal.default_int_handler, leave)
    before = {n: signal.getsignal(n) for n in _SIGNALS if signal.getsignal(n) in ends}
    alarm = signal.getsignal(signal.SIGALRM)
    asked = 0

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        nonlocal asked
        if not asked:  # the other thread decides what a second one means
            asked = number
            warnings.simplefilter("ignore", RuntimeWarning)  # of coroutines that are not awaited
            signal.signal(signal.SIGALRM, insist)
            insist()

    def insist(*_: object) -> None:
        if not _is_ending():
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
            raise KeyboardInterrupt if asked == signal.SIGINT else Terminated(asked)

    with _ending_at_the_second(before), _dropping_in_silence(lambda: asked > 0):
        for number in before:
            signal.signal(number, stop)
        try:
            yield
        finally:
            if asked:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, alarm)
            for number, handler in before.items():
                signal.signal(number, handler)


def _is_ending() -> bool:
    """Return whether the program is between our exception and its end."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, _ENDS):
        error = error.__context__
    return error is not None


@contextmanager
def _dropping_in_silence(ending: Callable[[], bool]) -> Iterator[None]:
    """Say nothing where Python drops an error of a program that a signal ends.

    It may be our exception, which comes again, or the end of an object that was not made wholly.
    """
    before = sys.unraisablehook

    def hook(dropped: "sys.UnraisableHookArgs") -> None:
        if not ending():
            before(dropped)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextmanager
def _ending_at_the_second(numbers: Collection[int]) -> Iterator[None]:
    """End the process at the second signal, even if its main thread never comes back.

    Handlers run between two steps of Python in the main thread. The numbers of signals, however,
    are written to a pipe the moment they arrive.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(reading, numbers), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)
        thread.join()
        os.close(reading)


def _watch(pipe: int, numbers: Collection[int]) -> None:
    first = None
    while told := os.read(pipe, 64):
        for number in told:
            now = time.monotonic()
            if number not in numbers:
                continue
            if first is None:
                first = now
            elif now - first > SAME_REQUEST:
                leave(number, None)
