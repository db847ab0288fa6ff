"""The number of threads of a step, found by trial.

Threads wait for each other many times in a step. In a small step they gain little by it, and beside
other busy programs much less: while one of them has to wait for a core, the others wait for it. The
bits of a step do not depend on its threads, see `kernels`, so that they may change at any time.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import final

from orbitlens.kernels import team, team_size

_SMALL = 2**28
"""Multiplications of a step, below which the number of threads is tried; some 10 ms of a thread."""
_STEPS = 3
"""Steps of a trial with each number of threads."""
_CLEAR = 2.0
"""Ratio of the times of two steps that ends a trial at once."""
_GAIN = 0.95
"""Share of the time of one thread that more must not exceed."""
_APART = 40
"""Times the duration of a trial until the next, so that trials cost a fortieth at most."""
_SECONDS = 1.0
"""Seconds until the next trial at least."""


@final
class StepThreads:
    """One thread or all of them for each step, whichever was faster when last tried.

    A step of `multiplications` in its largest product that is not small always gets all threads.
    """

    def __init__(self, multiplications: int) -> None:
        self._most = team_size()
        self._tries = self._most > 1 and multiplications < _SMALL
        self._chosen = self._most
        self._next = 0.0
        # The first step prepares memory and kernels, so its time says nothing.
        self._is_first = True
        self._taken: dict[int, list[float]] = {1: [], self._most: []}

    @contextmanager
    def step(self) -> Iterator[None]:
        """Take a step, in a number of threads that a trial has chosen or tries."""
        tries = self._tries and not self._is_first and time.perf_counter() >= self._next
        own = self._taken
        threads = min(own, key=lambda size: len(own[size])) if tries else self._chosen
        start = time.perf_counter()
        with team(threads):
            yield
        self._is_first = False
        if tries:
            own[threads].append(time.perf_counter() - start)
            self._decide()

    def _decide(self) -> None:
        """End the trial if its steps are enough to choose."""
        one, most = self._taken[1], self._taken[self._most]
        if len(one) != len(most):
            return
        ratio = median(most) / median(one)
        if len(one) < _STEPS and 1 / _CLEAR < ratio < _CLEAR:
            return
        self._chosen = self._most if ratio < _GAIN else 1
        self._next = time.perf_counter() + max(_SECONDS, _APART * sum([*one, *most]))
        self._taken = {1: [], self._most: []}
