"""The gate on the symmetric backup: where it opens, and what a backup with it finds."""

import pytest
import torch
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.reps import irreps, regular
from orbitlens.symmetry.relax._replay import Transitions
from orbitlens.symmetry.relax.agents import learned_parameters, q_network
from orbitlens.symmetry.relax.dqn import train_dqn
from orbitlens.symmetry.relax.gate import GatedQNetwork, SymmetryGate, gated_q_network
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


def test_a_closed_gate_is_the_exact_network_and_an_open_one_the_plain() -> None:
    torch.manual_seed(0)
    network, x = gated_q_network(*TURNS, parameters=1200), torch.randn(8, 2)
    torch.testing.assert_close(network(x), network.exact(x))
    with torch.no_grad():
        network.gate.gate[-1].bias.fill_(1.0)
    torch.testing.assert_close(network(x), network.plain(x))


def test_both_networks_share_the_budget() -> None:
    network = gated_q_network(*TURNS, parameters=4825)
    shared = learned_parameters(network.exact) + learned_parameters(network.plain)
    assert abs(shared - 4825) <= 0.05 * 4825


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


def test_double_dqn_trains_network_and_gate() -> None:
    torch.manual_seed(0)
    grid = FourGoalGrid(0.6, side=3)
    network = gated_q_network(*TURNS, parameters=1200, layers=2)
    before = [each.clone() for each in network.gate.parameters()]
    run = train_dqn(network, grid, updates=30, gamma=0.95, seed=0)
    assert len(run.history) == 2
    learned = zip(network.gate.parameters(), before, strict=True)
    assert any(not torch.equal(now, then) for now, then in learned if now.requires_grad)


def test_networks_in_the_wrong_order_are_refused() -> None:
    exact, plain = (q_network(*TURNS, kind=k, parameters=500) for k in ("exact", "plain"))
    with pytest.raises(OrbitLensError, match="kind 'exact'.*in the order"):
        GatedQNetwork(plain, exact, SymmetryGate(*TURNS))


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(OrbitLensError, match="`threshold`"):
        SymmetryGate(*TURNS, threshold=threshold)
