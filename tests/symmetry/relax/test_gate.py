"""The gate on the symmetric backup: where it opens, and what a backup with it finds."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from orbitlens.errors import OrbitLensError
from orbitlens.reps import irreps, regular
from orbitlens.symmetry.relax._moved import moved
from orbitlens.symmetry.relax._replay import Transitions
from orbitlens.symmetry.relax.gate import SymmetryGate
from orbitlens.symmetry.relax.grid import FourGoalGrid

TURNS = irreps("C4")[-1], regular("C4")


def everywhere(grid: FourGoalGrid) -> Transitions:
    """Each action from each cell, once."""
    cells = torch.arange(len(grid.next)).repeat_interleave(4)
    actions = torch.arange(4).repeat(len(grid.next))
    following = grid.next[cells, actions]
    positions = grid.positions
    return Transitions(
        positions[cells],
        actions,
        grid.rewards[cells, actions],
        positions[following],
        grid.ends[following],
    )


def trained(e: float, steps: int = 150) -> tuple[FourGoalGrid, SymmetryGate]:
    torch.manual_seed(0)
    grid, gate = FourGoalGrid(e, side=3), SymmetryGate(*TURNS, threshold=0.3)
    found = everywhere(grid)
    optimiser = torch.optim.Adam(gate.parameters(), lr=1e-2)
    for _ in range(steps):
        gate.observe(found)
        optimiser.zero_grad()
        gate.loss(found).backward()
        optimiser.step()
    return grid, gate


def test_the_gate_opens_where_rewards_break_the_symmetry_and_only_there() -> None:
    grid, gate = trained(0.8)
    open_at = gate(grid.positions) > 0
    broken = grid.ends[grid.next]
    assert float((open_at == broken).float().mean()) > 0.9
    assert bool(open_at[broken].any())


def test_the_gate_stays_closed_where_nothing_is_broken() -> None:
    grid, gate = trained(0.0)
    assert float(gate(grid.positions).mean()) < 0.05


def test_predictions_disagree_by_no_more_than_their_errors_at_first() -> None:
    gate, found = SymmetryGate(*TURNS), everywhere(FourGoalGrid(0.6, side=3))
    gate.observe(found)
    before = {name: value.clone() for name, value in gate.state_dict().items()}
    assert bool((gate.disagreement(found.states, found.actions) >= 0).all())
    gate(found.states)
    assert all(torch.equal(value, before[name]) for name, value in gate.state_dict().items())


def true_of(found: Transitions, grid: FourGoalGrid) -> Tensor:
    """Which transitions the grid makes, rewards and ends included."""
    middle = (grid.side - 1) / 2
    cells, following = (
        ((1 + each) * middle).round().long() @ torch.tensor([1, grid.side])
        for each in (found.states, found.following)
    )
    same = grid.next[cells, found.actions] == following
    paid = grid.rewards[cells, found.actions] == found.rewards
    return same & paid & (grid.ends[following] == found.ended)


@pytest.mark.parametrize("element", range(4))
def test_moved_steps_of_a_symmetric_grid_are_steps_of_it(element: int) -> None:
    grid = FourGoalGrid(side=5)
    found = everywhere(grid)
    elements = torch.full((len(found.actions),), element)
    new = moved(found, elements, *TURNS)
    assert bool(true_of(new, grid).all())
    assert torch.allclose(new.states, found.states) == (element == 0)


@pytest.mark.parametrize("element", range(4))
def test_a_gate_that_is_right_lets_true_steps_alone_be_moved(element: int) -> None:
    grid = FourGoalGrid(0.6, side=5)
    found, gate = everywhere(grid), SymmetryGate(*TURNS)
    elements = torch.full((len(found.actions),), element)
    assert bool(true_of(moved(found, elements, *TURNS), grid).all()) == (element == 0)

    def broken(states: Tensor) -> Tensor:
        cells = ((1 + states) * 2).round().long() @ torch.tensor([1, 5])
        return grid.ends[grid.next[cells]].float()

    gate.forward = broken  # type: ignore[method-assign]
    new = moved(found, elements, *TURNS, gate)
    assert bool(true_of(new, grid).all())
    still = grid.ends[grid.next].flatten()
    assert torch.equal(new.states[still], found.states[still])
    assert torch.allclose(new.states, found.states) == (element == 0)


def test_a_gate_that_is_open_at_either_end_keeps_a_step_as_it_was() -> None:
    right = torch.tensor([[0.5, 0.0]])
    step = Transitions(
        right, torch.tensor([0]), torch.ones(1), 2 * right, torch.zeros(1, dtype=torch.bool)
    )
    quarter, gate = torch.tensor([1]), SymmetryGate(*TURNS)
    turned = moved(step, quarter, *TURNS, gate)
    assert turned.states.tolist() == [[0.0, 0.5]]
    assert turned.actions.tolist() == [1]
    for at, action in ((step.states, 0), (turned.states, 1)):
        opened = one_hot(torch.tensor(action), 4).float()

        def gated(states: Tensor, at: Tensor = at, opened: Tensor = opened) -> Tensor:
            return (states == at).all(1, keepdim=True) * opened

        gate.forward = gated  # type: ignore[method-assign]
        assert torch.equal(moved(step, quarter, *TURNS, gate).states, step.states)


def iterate(grid: FourGoalGrid, gate: Tensor) -> Tensor:
    """Q of the gated backup by tables, (1 - gate) T_E + gate T_N."""
    side = grid.side
    turn = torch.tensor([x * side + (side - 1 - y) for y in range(side) for x in range(side)])
    fair = grid.rewards
    paid = [fair]
    for _ in range(3):
        paid.append(paid[-1][turn][:, [1, 2, 3, 0]])
    mean = torch.stack(paid).mean(0)
    rewards = torch.where(gate > 0, fair, mean)
    value = torch.zeros(len(fair))
    for _ in range(200):
        q = rewards + 0.95 * (value * ~grid.ends)[grid.next]
        value = q.amax(1)
    return q


def test_a_gate_that_is_right_gives_the_true_values_and_none_a_spread_error() -> None:
    """Moves are symmetric, so T_E differs by the mean of the rewards alone."""
    grid = FourGoalGrid(0.6)
    true = iterate(grid, torch.ones(169, 4))
    gated = iterate(grid, grid.ends[grid.next].float())
    torch.testing.assert_close(gated, true)
    errors = (iterate(grid, torch.zeros(169, 4)) - true).abs()
    assert float((errors > 0.05).float().mean()) > 0.5
    assert float(errors.max()) <= 0.45 / (1 - 0.95)


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(OrbitLensError, match="`threshold`"):
        SymmetryGate(*TURNS, threshold=threshold)
