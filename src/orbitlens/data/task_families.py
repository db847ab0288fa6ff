"""Families of tasks: examples of each to adapt on, and others to be tested on."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from orbitlens.checks import as_count, as_number, as_tensor, as_text
from orbitlens.data._digest import header_hash, numbers_of
from orbitlens.errors import OrbitLensError, out_of_range

_PARTS = ("support_x", "support_y", "query_x", "query_y")


@dataclass(frozen=True, eq=False)
class Episodes:
    """Some tasks, each with examples to adapt on (support) and others to be tested on (query).

    Args:
        support_x: Inputs to adapt on, shape [tasks, support, ...].
        support_y: Their targets, shape [tasks, support, ...].
        query_x: Inputs of the test, shape [tasks, query, ...].
        query_y: Their targets, shape [tasks, query, ...].

    Raises:
        OrbitLensError: If the four parts have other numbers of tasks, if inputs and targets have
            other numbers of examples, or if there are none.

    Example:
        >>> x, y = torch.randn(4, 5, 3), torch.randn(4, 5, 2)
        >>> Episodes(x[:, :1], y[:, :1], x[:, 1:], y[:, 1:]).n_tasks
        4
    """

    support_x: Shaped[Tensor, "tasks support *axes"]
    support_y: Shaped[Tensor, "tasks support *out"]
    query_x: Shaped[Tensor, "tasks query *axes"]
    query_y: Shaped[Tensor, "tasks query *out"]

    def __post_init__(self) -> None:
        for name in _PARTS:
            if not isinstance(part := getattr(self, name), Tensor):
                object.__setattr__(self, name, as_tensor(name, part, dtype=None))
        shapes = [tuple(each.shape[:2]) for each in self.parts]
        if (
            min(map(len, shapes)) < 2
            or len({shape[0] for shape in shapes}) > 1
            or shapes[0] != shapes[1]
            or shapes[2] != shapes[3]
            or 0 in (*shapes[0], *shapes[2])
        ):
            raise OrbitLensError(
                "episodes",
                expected="support and query of the same tasks, [tasks, examples, ...], with a "
                "target for each input",
                received=f"shapes {', '.join(str(list(each.shape)) for each in self.parts)}",
                remedy="give at least one example of each kind for every task",
            )

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four tensors: support inputs and targets, query inputs and targets."""
        return self.support_x, self.support_y, self.query_x, self.query_y

    @property
    def n_tasks(self) -> int:
        """The number of tasks."""
        return len(self.support_x)

    def check(self) -> None:
        """Raise if numbers are not floating or not finite, or if a query is in the support."""
        for name, tensor in zip(_PARTS, self.parts, strict=True):
            _as_floating(name, tensor)
        support, query = self.support_x.flatten(2), self.query_x.flatten(2)
        same = (support[:, :, None] == query[:, None]).all(-1).flatten(1).any(1)
        if bool(same.any()):
            raise OrbitLensError(
                "`query_x`",
                expected="inputs that are not in the support of their task",
                received=f"such inputs in {int(same.sum())} of {len(same)} tasks",
                remedy="test on examples that a task has not adapted on",
            )


@runtime_checkable
class TaskFamily(Protocol):
    """Related tasks, from which some can be drawn."""

    @property
    def identity(self) -> str:
        """A text that differs between families with other examples, to tell their checkpoints."""
        ...

    def draw(
        self, n_tasks: int, *, support: int, query: int, generator: torch.Generator
    ) -> Episodes:
        """Draw different tasks, each with support and query that have no example in common.

        Args:
            n_tasks: Number of tasks, exactly.
            support: Examples of each to adapt on; a family that augments them may return more.
            query: Examples of each to be tested on, exactly.
            generator: All random numbers come from it, so that a seed gives the same tasks again.

        Returns:
            The examples, as floating tensors: inputs [tasks, examples, ...] and their targets.
        """
        ...


@dataclass(frozen=True, eq=False)
class HeldTasks:
    """Tasks in memory, each with the same number of examples.

    Args:
        name: Name of the family.
        x: Inputs, shape [tasks, examples, ...].
        y: Targets, shape [tasks, examples, ...].

    Raises:
        OrbitLensError: If numbers are not floating, NaN or infinite, or if inputs and targets have
            other numbers of tasks or examples.

    Example:
        >>> held = HeldTasks("noise", torch.randn(10, 20, 3), torch.randn(10, 20, 2))
        >>> drawn = held.draw(4, support=1, query=19, generator=torch.Generator())
        >>> drawn.query_x.shape
        torch.Size([4, 19, 3])
    """

    name: str
    x: Float[Tensor, "tasks examples *axes"]
    y: Float[Tensor, "tasks examples *out"]

    def __post_init__(self) -> None:
        as_text("name", self.name)
        for name in ("x", "y"):
            object.__setattr__(self, name, _as_floating(name, getattr(self, name)))
        if self.x.ndim < 2 or self.x.shape[:2] != self.y.shape[:2] or 0 in self.x.shape[:2]:
            raise OrbitLensError(
                "`x` and `y`",
                expected="inputs [tasks, examples, ...], and as many targets",
                received=f"shapes {list(self.x.shape)} and {list(self.y.shape)}",
                remedy="give every example of every task a target",
            )

    @property
    def n_tasks(self) -> int:
        """The number of tasks."""
        return len(self.x)

    @cached_property
    def identity(self) -> str:
        """The name, and a digest of all numbers."""
        digests = []
        for tensor in (self.x, self.y):
            values = numbers_of(tensor)
            content = header_hash(str(values.dtype), values.shape)
            content.update(values.data)
            digests.append(str(content.hexdigest())[:16])
        return f"{self.name} {'-'.join(digests)}"

    def draw(
        self, n_tasks: int, *, support: int, query: int, generator: torch.Generator
    ) -> Episodes:
        """Draw different tasks, and for each of them support and query without common examples.

        Args:
            n_tasks: Number of tasks.
            support: Examples of each to adapt on.
            query: Examples of each to be tested on.
            generator: All random numbers come from it.

        Raises:
            OrbitLensError: If there are fewer tasks, or fewer examples than support and query take.
        """
        n_tasks, support, query = (
            as_count("n_tasks", n_tasks),
            as_count("support", support),
            as_count("query", query),
        )
        if n_tasks > self.n_tasks:
            remedy = "draw fewer tasks at once, or make more"
            raise out_of_range("n_tasks", f"at most the {self.n_tasks} tasks", n_tasks, remedy)
        examples = self.x.shape[1]
        if support + query > examples:
            raise OrbitLensError(
                "`support` + `query`",
                expected=f"at most the {examples} examples of a task",
                received=f"{support} + {query}",
                remedy="lower one of the two, or give more examples",
            )
        tasks = torch.randperm(self.n_tasks, generator=generator)[:n_tasks, None]
        order = torch.rand(n_tasks, examples, generator=generator).argsort(1)
        first, second = order[:, :support], order[:, support : support + query]
        return Episodes(
            self.x[tasks, first], self.y[tasks, first], self.x[tasks, second], self.y[tasks, second]
        )

    def split(self, share: float | int = 0.8) -> "tuple[HeldTasks, HeldTasks]":
        """Return the first tasks, for training, and the rest.

        Args:
            share: The share of the first ones, between 0 and 1; default 0.8.

        Raises:
            OrbitLensError: If one of the two parts would have no task.
        """
        first = round(as_number("share", share) * self.n_tasks)
        if not 0 < first < self.n_tasks:
            remedy = "leave tasks in both parts"
            raise out_of_range("share", "a number between 0 and 1", share, remedy)
        train = replace(self, x=self.x[:first], y=self.y[:first])
        return train, replace(self, x=self.x[first:], y=self.y[first:])


def _as_floating(name: str, value: object) -> Tensor:
    """Return a tensor of finite floating numbers as it is."""
    if isinstance(value, Tensor) and not value.is_floating_point():
        raise OrbitLensError(
            f"`{name}`",
            expected="floating numbers",
            received=str(value.dtype).removeprefix("torch."),
            remedy="call .float(); write classes as numbers that the loss can take",
        )
    return as_tensor(name, value, dtype=None)
