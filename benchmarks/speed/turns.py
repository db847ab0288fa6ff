"""Contestants that take turns: one process for each, which works only when it is called.

A machine that others use is fast and slow by turns. So every contestant is started and warmed up,
and then each does a piece of work at its turn, in rounds; the best of each counts.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torch import Tensor


class Contestant:
    """A process that does a piece of work at each call of `turn`.

    Args:
        program: The command, whose standard input and output are what `Referee` reads and writes.
    """

    def __init__(self, program: Sequence[str | Path]) -> None:
        # Names come from the command line or from this folder, so nothing is quoted.
        self._process = subprocess.Popen(
            [str(word) for word in program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"},
        )

    def turn(self, *figures: float) -> list[float]:
        """Tell it what to do, and return what it answers."""
        self._process.stdin.write(" ".join(map(str, figures)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a contestant ended: {self._process.args}")
        return [float(word) for word in answer.split()]

    def end(self) -> None:
        """Wait until it has ended."""
        self._process.communicate()


class Referee:
    """The other end, in the contestant's process; what libraries print goes to standard error."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def wait(self) -> list[float]:
        """Wait for this contestant's turn; what it is to do."""
        line = sys.stdin.readline()
        if not line:
            sys.exit()
        return [float(word) for word in line.split()]

    def answer(self, *figures: float) -> None:
        """Tell what came of it."""
        print(*figures, file=self._answers, flush=True)


class Epochs:
    """Makes turns of the epochs of our `fit`, as its `progress`; call `begin` just before `fit`.

    Args:
        wait: Waits for the turn.
        done: Told after a turn how many seconds an epoch took.
        each: Epochs of a turn; the first turn, which sets up, is one epoch whatever this is.
        clock: Seconds now.
    """

    def __init__(
        self,
        wait: Callable[[], object],
        done: Callable[[float], None],
        each: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._wait, self._done, self._each, self._clock = wait, done, each, clock
        self._first = self._last = 1

    def begin(self) -> None:
        """Wait, then start the clock."""
        self._wait()
        self._start = self._clock()

    def __call__(self, epoch: int, epochs: int, loss: float) -> None:
        """At the end of a turn stop the clock, and start it again at the next."""
        if epoch < self._last:
            return
        seconds = self._clock() - self._start
        self._done(seconds / (self._last - self._first + 1))
        self._first, self._last = self._last + 1, self._last + self._each
        if epoch < epochs:
            self.begin()


def paced(
    batches: Sequence[Tensor],
    blocks: int,
    wait: Callable[[], object],
    done: Callable[[float], None],
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Tensor]:
    """Yield all batches in each block; `wait` before it, then tell `done` how long it took.

    A library takes a step between one batch and its next, so the clock stops when it asks for the
    first batch after the block.
    """
    for _ in range(blocks):
        wait()
        start = clock()
        yield from batches
        done(clock() - start)


def peak_bytes() -> int:
    """The most memory that this process has held since it started or `forget_peak` was called."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024


def forget_peak() -> None:
    """Start `peak_bytes` anew from what is held now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
