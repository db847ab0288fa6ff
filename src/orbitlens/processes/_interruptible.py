"""What is written from time to time, and once more when a signal stops the process."""

import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from orbitlens.processes._stopping import SAME_REQUEST, stopping_signals


class Interruptible(ABC):
    """Says when to write, every `seconds` and after a signal; the work goes on until then."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._written = time.monotonic()
        self._signal, self._told = 0, 0.0

    @abstractmethod
    def read(self) -> object:
        """Return what an earlier process wrote; None if there is nothing."""

    def wrote(self) -> None:
        """Note that all has just been written."""
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether to write now: the interval has passed, or a signal arrived."""
        return bool(self._signal) or time.monotonic() - self._written >= self.seconds

    def stop_after_signal(self) -> None:
        """Raise KeyboardInterrupt after Ctrl-C; SystemExit 143 after SIGTERM, 129 after SIGHUP."""
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal:
            raise SystemExit(128 + self._signal)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note Ctrl-C, SIGTERM and SIGHUP instead of stopping at once; a second one stops at once.

        Signals that this process ignores, such as SIGHUP under `nohup`, stay ignored.
        """
        # Only the main thread may set handlers; in others the interval alone counts.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {name: signal.getsignal(name) for name in stopping_signals()}

        def note(number: int, frame: FrameType | None) -> None:
            del frame
            if not self._signal:
                self._signal, self._told = number, time.monotonic()
            elif time.monotonic() - self._told > SAME_REQUEST:
                signal.signal(number, before[signal.Signals(number)])
                signal.raise_signal(number)

        for name in before:
            signal.signal(name, note)
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)
