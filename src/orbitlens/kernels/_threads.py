"""A team of threads whose number changes no bit of a training.

Torch and its libraries divide long sums among their threads, so their last bits depend on the
number of threads. Inside `steady` torch has one thread. The others help where the work falls into
parts that do not depend on their number: in the loops of `kernels.c`, where one thread computes a
row; in large matrix products, which `_dense` cuts into pieces; and, inside `spread`, in operations
on each number or each row alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_team: ContextVar[int | None] = ContextVar("team", default=None)


def is_steady() -> bool:
    """Return whether the number of threads has no say in the bits."""
    return _team.get() is not None


def team_size() -> int:
    """Return the number of threads that share the work; outside `steady`, all of torch's."""
    return _team.get() or torch.get_num_threads()


@contextmanager
def steady() -> Iterator[None]:
    """Leave one thread to torch, and make a team of as many as it had; put both back at the end."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    token = _team.set(threads)
    try:
        yield
    finally:
        _team.reset(token)
        torch.set_num_threads(threads)


@contextmanager
def team(threads: int) -> Iterator[None]:
    """Let so many threads share the work."""
    token = _team.set(threads)
    try:
        yield
    finally:
        _team.reset(token)


@contextmanager
def spread() -> Iterator[None]:
    """Lend the team to torch, for operations that compute each number or each row alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(team_size())
    try:
        yield
    finally:
        torch.set_num_threads(threads)
