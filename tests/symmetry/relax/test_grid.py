"""The grid with four goals: its symmetry, its walks and its optima."""

import numpy as np
import pytest
import torch

from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.check import check_mdp
from orbitlens.symmetry.relax.grid import FourGoalGrid


def turned_cells(side: int) -> list[int]:
    """Where each cell goes by a quarter turn, (x, y) -> (-y, x) about the middle."""
    last = side - 1
    return [x * side + (last - y) for y in range(side) for x in range(side)]


@pytest.mark.parametrize("e", [0.0, 0.3, 1.0])
def test_a_quarter_turn_misses_by_e_in_rewards_and_by_nothing_in_moves(e: float) -> None:
    grid = FourGoalGrid(e, side=5)
    cells, n = turned_cells(5), 25
    table = torch.nn.functional.one_hot(grid.next, n).double()
    table[grid.ends] = 0.0
    # What follows the end is nothing: the cell itself, without rewards.
    ends = grid.ends.nonzero().squeeze(1)
    table[ends, :, ends] = 1.0
    rewards = grid.rewards.clone()
    rewards[grid.ends] = 0.0
    check = check_mdp(table, rewards, cells, [1, 2, 3, 0], gamma=0.95)
    assert check.eps_r == pytest.approx(e)
    assert check.eps_p == 0.0
    assert check.gap <= check.bound + 1e-9


def test_the_maps_move_positions_and_actions_as_the_grid_does() -> None:
    grid = FourGoalGrid(side=7)
    states, actions = grid.maps
    cells = torch.tensor(turned_cells(7))
    turned = grid.positions @ states.matrices[1].T.float()
    torch.testing.assert_close(turned, grid.positions[cells])
    images = actions.matrices[1].argmax(0)
    assert torch.equal(grid.next[cells][:, images], cells[grid.next])


def test_the_optima_are_those_of_the_publicly_described_task() -> None:
    found = [FourGoalGrid(e).optimum() for e in (0.0, 0.6)]
    assert found == pytest.approx([0.866, 0.671], abs=5e-4)
    # A symmetric policy goes to the nearest goal: 0.866 (1 + 3 * 0.4) / 4.
    assert FourGoalGrid(0.6).symmetric_optimum() == pytest.approx(0.476, abs=5e-4)
    assert FourGoalGrid(0.0).symmetric_optimum() == FourGoalGrid(0.0).optimum()


def test_the_smallest_grid_by_hand() -> None:
    """On 3 x 3 cells: corners and goals are one move from a goal, the middle too."""
    assert FourGoalGrid(side=3).optimum() == pytest.approx(1.0)
    always_right = FourGoalGrid(side=3, gamma=0.5).score(lambda s: torch.zeros(len(s)).long())
    # Middle row: right from the left goal needs two moves, the middle and the goal itself one.
    assert always_right == pytest.approx((0.5 + 1 + 1 + 2 * (1 + 0 + 0)) / 9)


def test_the_best_policy_scores_the_optimum() -> None:
    grid = FourGoalGrid(0.6)
    value = torch.zeros(13**2)
    for _ in range(25):
        q = grid.rewards + 0.95 * (value * ~grid.ends)[grid.next]
        value = q.amax(1)
    assert grid.score(lambda s: q.argmax(1)) == pytest.approx(grid.optimum())


def test_walks_end_at_goals_and_after_some_steps() -> None:
    grid = FourGoalGrid(side=3, steps=4, envs=64)
    states = grid.reset(seed=0)
    for _ in range(20):
        found = grid.step(torch.zeros(64, dtype=torch.int64))
        at_goal = (found.following.abs().sum(1) == 1) & (found.following != states).any(1)
        assert torch.equal(found.rewards > 0, found.ended)
        assert bool(found.ended[at_goal].all())
        # Those that are not over go on where they are.
        on = (found.states == found.following).all(1)
        assert bool((on | found.ended | (grid._walked == 0)).all())
        states = found.states


def test_the_same_seed_gives_the_same_walks() -> None:
    walks = []
    for _ in range(2):
        grid = FourGoalGrid(envs=4)
        grid.reset(seed=3)
        walks.append(torch.stack([grid.step(torch.ones(4).long()).states for _ in range(30)]))
    assert torch.equal(*walks)


@pytest.mark.parametrize(
    "wrong", [{"e": -0.1}, {"e": 1.1}, {"e": np.nan}, {"side": 4}, {"envs": 0}, {"gamma": 1.0}]
)
def test_wrong_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(OrbitLensError):
        FourGoalGrid(**wrong)
