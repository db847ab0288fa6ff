"""A square grid with four goals, exactly symmetric under quarter turns until one goal pays more.

Source: ours. It is the smallest task on which an exactly equivariant agent has a ceiling that can
be computed: it cannot tell the goals apart.
"""

from collections.abc import Callable
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from orbitlens.checks import as_count, as_number, as_seed
from orbitlens.errors import out_of_range
from orbitlens.reps import Representation, irreps, regular
from orbitlens.symmetry.check._numbers import as_discount

__all__ = ["FourGoalGrid", "Step"]

_MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1))  # each a quarter turn from the last


class Step(NamedTuple):
    """What one step of all parallel environments gives.

    Args:
        rewards: Shape [envs].
        following: The next states, shape [envs, dim].
        ended: Whether the task is over there, so that nothing more can be earned, shape [envs]; a
            limit of time does not end it.
        states: Where the environments go on: the next states, or new starts, shape [envs, dim].
    """

    rewards: Float[Tensor, " envs"]
    following: Float[Tensor, "envs dim"]
    ended: Bool[Tensor, " envs"]
    states: Float[Tensor, "envs dim"]


@final
class FourGoalGrid:
    """Parallel walks on a grid with a goal in the middle of each edge.

    The goal on the right pays 1 and the other three 1 - e. A walk starts anywhere, moves right, up,
    left or down, stays where a wall is, and ends when a move reaches a goal, or after some steps.
    The state is the position, from -1 to 1. A quarter turn moves position and action, with
    eps_R = e and eps_P = 0.

    Args:
        e: What three goals pay less, 0 <= e <= 1; default 0, the symmetric grid.
        side: Cells of an edge, an odd number; default 13.
        steps: Longest walk; default 25.
        envs: Walks side by side; default 8.
        gamma: The discount of what a walk earns; default 0.95.

    `positions` holds the position of each cell, `next` and `rewards` where each move leads and what
    it earns, [cells, 4], and `ends` which cells are goals.

    Raises:
        OrbitLensError: If an argument is out of range.

    Example:
        >>> grid = FourGoalGrid(e=0.6)
        >>> grid.reset(seed=0).shape
        torch.Size([8, 2])
        >>> round(grid.optimum(), 3), round(grid.symmetric_optimum(), 3)
        (0.671, 0.476)
    """

    def __init__(
        self,
        e: float = 0.0,
        *,
        side: int = 13,
        steps: int = 25,
        envs: int = 8,
        gamma: float = 0.95,
    ) -> None:
        self.e, self.gamma = float(as_number("e", e)), as_discount(gamma)
        if not 0 <= self.e <= 1:
            raise out_of_range("e", "0 <= e <= 1", e)
        self.side, self.steps = as_count("side", side, least=3), as_count("steps", steps)
        if self.side % 2 == 0:
            raise out_of_range("side", "an odd number, so that edges have a middle", side)
        self.envs = as_count("envs", envs)
        self.next, self.rewards, self.ends = self._tables()
        half, cells = self.side // 2, torch.arange(self.side**2)
        self.positions = (
            torch.stack([cells % self.side - half, cells // self.side - half], 1) / half
        )
        self._cells = torch.zeros(self.envs, dtype=torch.int64)
        self._walked = torch.zeros(self.envs, dtype=torch.int64)
        self._generator = torch.Generator()

    @property
    def maps(self) -> tuple[Representation, Representation]:
        """How quarter turns move positions and actions."""
        return irreps("C4")[-1], regular("C4")

    def reset(self, seed: int) -> Float[Tensor, "envs 2"]:
        """Start all walks anew, and return their positions."""
        self._generator.manual_seed(as_seed(seed))
        self._cells = self._drawn(self.envs)
        # Walks end at different times, as they will do later on.
        self._walked = torch.randint(self.steps, (self.envs,), generator=self._generator)
        return self.positions[self._cells]

    def step(self, actions: Int[Tensor, " envs"]) -> Step:
        """Move all walks; those that are over start anew."""
        reached = self.next[self._cells, actions]
        rewards, ended = self.rewards[self._cells, actions], self.ends[reached]
        self._walked = self._walked + 1
        over = ended | (self._walked >= self.steps)
        self._cells = torch.where(over, self._drawn(self.envs), reached)
        self._walked = torch.where(over, 0, self._walked)
        return Step(rewards, self.positions[reached], ended, self.positions[self._cells])

    def starts(self) -> Float[Tensor, "cells 2"]:
        """Return all positions, at each of which a walk may start."""
        return self.positions

    def score(self, choose: Callable[[Float[Tensor, "n 2"]], Int[Tensor, " n"]]) -> float:
        """Return the mean over all starts of sum_t gamma^t r_t under a policy."""
        actions = choose(self.positions)
        cells = torch.arange(len(self.next))
        total, alive = torch.zeros(len(cells)), torch.ones(len(cells))
        for t in range(self.steps):
            total += alive * self.gamma**t * self.rewards[cells, actions[cells]]
            cells = self.next[cells, actions[cells]]
            alive = alive * ~self.ends[cells]
        return float(total.mean())

    def optimum(self) -> float:
        """Return the largest possible score, by value iteration."""
        return self._best_score(self.rewards)

    def symmetric_optimum(self) -> float:
        """Return the largest score of policies pi(gs) = g pi(s): each goal pays the mean of all."""
        return self._best_score((1 - 0.75 * self.e) * self.ends[self.next].float())

    def _best_score(self, rewards: Float[Tensor, "cells 4"]) -> float:
        value = torch.zeros(len(rewards), dtype=torch.float64)
        for _ in range(self.steps):
            value = (rewards + self.gamma * (value * ~self.ends)[self.next]).amax(1)
        return float(value.mean())

    def _tables(
        self,
    ) -> tuple[Int[Tensor, "cells 4"], Float[Tensor, "cells 4"], Bool[Tensor, " cells"]]:
        """Return where each move leads from each cell, what it earns, and which cells are goals."""
        last, middle = self.side - 1, self.side // 2
        cells = torch.arange(self.side**2)
        x, y = cells % self.side, cells // self.side
        moved = [
            (y + up).clamp(0, last) * self.side + (x + right).clamp(0, last) for right, up in _MOVES
        ]
        following = torch.stack(moved, 1)
        paid = torch.zeros(self.side**2)
        places = ((last, middle), (middle, last), (0, middle), (middle, 0))
        for i, (right, up) in enumerate(places):
            paid[up * self.side + right] = 1.0 if i == 0 else 1 - self.e
        ends = torch.zeros(self.side**2, dtype=torch.bool)
        ends[[up * self.side + right for right, up in places]] = True
        return following, paid[following], ends

    def _drawn(self, n: int) -> Int[Tensor, " n"]:
        return torch.randint(self.side**2, (n,), generator=self._generator)
