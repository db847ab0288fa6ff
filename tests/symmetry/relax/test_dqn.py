"""Double DQN: it learns, it can be made again, and it says when it fails."""

import jaxtyping
import pytest
import torch
from torch import Tensor

gymnasium = pytest.importorskip("gymnasium")

from orbitlens.errors import OrbitLensError, OrbitLensWarning  # noqa: E402
from orbitlens.reps import direct_sum, irreps, permutation, regular  # noqa: E402
from orbitlens.symmetry.check import break_symmetry, reflection  # noqa: E402
from orbitlens.symmetry.relax._replay import Replay, Transitions  # noqa: E402
from orbitlens.symmetry.relax.agents import QNetwork, q_network  # noqa: E402
from orbitlens.symmetry.relax.dqn import DQNRun, GymnasiumTask, VectorTask, train_dqn  # noqa: E402
from orbitlens.symmetry.relax.gate import SymmetryGate  # noqa: E402
from orbitlens.symmetry.relax.grid import FourGoalGrid, Step  # noqa: E402

TURNS = irreps("C4")[-1], regular("C4")


def small(kind: str = "relaxed") -> QNetwork:
    torch.manual_seed(0)
    return q_network(*TURNS, kind=kind, parameters=800, layers=2)


def test_a_relaxed_agent_learns_a_small_grid() -> None:
    grid = FourGoalGrid(side=5)
    run = train_dqn(small(), grid, updates=120, gamma=0.95, seed=0, check_every=60, lr=3e-3)
    assert run.score > 0.95 * grid.optimum() > run.history[0]["score"]
    assert [each["updates"] for each in run.history] == [0, 60, 120]
    assert not run.collapsed
    spreads = [each["spread"] for each in run.history]
    assert spreads[0] == 0 < spreads[1] < 0.3


def test_the_same_seed_gives_the_same_run() -> None:
    runs = [
        train_dqn(small(), FourGoalGrid(side=3), updates=20, gamma=0.9, seed=1).history
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_one_update_leaves_the_symmetry_only_if_the_network_may() -> None:
    for kind, leaves in (("relaxed", True), ("plain", False)):
        run = train_dqn(small(kind), FourGoalGrid(0.6), updates=1, gamma=0.9, seed=0)
        assert (run.history[-1]["spread"] > 0) == leaves


def test_the_exact_network_stays_exact_and_is_warned_of_tied_states() -> None:
    network = small("exact")
    with pytest.warns(OrbitLensWarning, match="moves 1 of 9 states nowhere"):
        run = train_dqn(network, FourGoalGrid(0.6, side=3), updates=20, gamma=0.9, seed=0)
    assert run.history[-1]["spread"] == 0
    x, turn = torch.randn(16, 2), network.on_states.matrices[1].float()
    wanted = network(x) @ network.on_actions.matrices[1].T.float()
    torch.testing.assert_close(network(x @ turn.T), wanted, atol=1e-5, rtol=0)


def test_values_that_are_not_finite_are_told() -> None:
    network = small()
    with torch.no_grad():
        network.head.layer.filters.mul_(1e30)
    with pytest.raises(OrbitLensError, match="Q after .* updates: expected finite values"):
        train_dqn(network, FourGoalGrid(side=3), updates=60, gamma=0.9, seed=0, check_every=20)


def test_a_collapse_is_told_from_the_scores() -> None:
    course = [{"updates": 0.0, "score": 0.1}, {"updates": 1.0, "score": 0.8}]
    assert DQNRun((*course, {"updates": 2.0, "score": 0.3})).collapsed
    assert not DQNRun((*course, {"updates": 2.0, "score": 0.5})).collapsed


def test_the_memory_forgets_the_oldest() -> None:
    replay = Replay(5, 1)
    for first in (0, 3, 6):
        numbers = torch.arange(first, first + 3)
        column = numbers[:, None].float()
        replay.add(Transitions(column, numbers, column[:, 0], column, numbers < 0))
    drawn = replay.draw(200, torch.Generator().manual_seed(0))
    assert set(drawn.actions.tolist()) == {4, 5, 6, 7, 8}
    assert torch.equal(drawn.states[:, 0], drawn.rewards)


class Chain:
    """Two states: action 1 pays 1 and ends, action 0 leads on; Q* is known."""

    def __init__(self) -> None:
        self.at = torch.zeros(4)

    def reset(self, seed: int) -> Tensor:
        del seed
        return self._states()

    def _states(self) -> Tensor:
        return torch.stack([self.at, 1 - self.at], 1)

    def step(self, actions: Tensor) -> Step:
        ended = actions == 1
        rewards = torch.where(ended, 1.0 + self.at, 0.0)
        following = torch.stack([1 - self.at, self.at], 1)
        self.at = torch.where(ended, 0.0, 1 - self.at)
        return Step(rewards, following, ended, self._states())

    def starts(self) -> Tensor:
        return torch.eye(2)

    def score(self, choose: object) -> float:
        del choose
        return 0.0


def test_values_become_those_of_the_bellman_equation() -> None:
    """From 0: go on and then take 2, worth 2 gamma; take at once, 1. From 1: take 2."""
    task = Chain()
    assert isinstance(task, VectorTask)
    torch.manual_seed(0)
    swap = irreps("C2")[0], irreps("C2")[1]
    network = q_network(
        direct_sum(*swap), permutation("C2", [(1, 0)]), kind="plain", parameters=300, layers=1
    )
    train_dqn(network, task, updates=250, gamma=0.8, seed=0, lr=1e-2, tau=0.2, check_every=250)
    found = network(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    wanted = torch.tensor([[1.6, 1.0], [0.8 * 1.6, 2.0]])
    torch.testing.assert_close(found, wanted, atol=0.1, rtol=0)


class OneSide:
    """One state of two that a swap moves into each other; its action 0 pays 1, and all end."""

    def reset(self, seed: int) -> Tensor:
        del seed
        return self.starts()

    def step(self, actions: Tensor) -> Step:
        states = self.starts()
        return Step((actions == 0).float(), states, torch.ones(4, dtype=torch.bool), states)

    def starts(self) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(4, 2)

    def score(self, choose: object) -> float:
        del choose
        return 0.0


@pytest.mark.parametrize("how", ["moved", "closed gate", "open gate"])
def test_moved_transitions_teach_the_side_that_was_never_seen(how: str) -> None:
    swap = permutation("C2", [(1, 0)])
    torch.manual_seed(0)
    network = q_network(swap, swap, kind="plain", parameters=300, layers=1)
    gate = SymmetryGate(swap, swap)
    if how == "open gate":
        gate.forward = torch.ones_like  # type: ignore[method-assign]
    augment = True if how == "moved" else gate
    train_dqn(network, OneSide(), updates=100, gamma=0.9, seed=0, augment=augment, lr=1e-2)
    found = network(torch.eye(2)).detach()
    torch.testing.assert_close(found[0], torch.tensor([1.0, 0.0]), atol=0.1, rtol=0)
    unseen = float((found[1] - torch.tensor([0.0, 1.0])).abs().max())
    assert unseen > 0.3 if how == "open gate" else unseen < 0.1


def test_a_gate_learns_beside_the_network_and_never_in_its_place() -> None:
    grid, network = FourGoalGrid(0.6, side=3), small("plain")
    gate = SymmetryGate(*TURNS)
    before = [each.clone() for each in gate.parameters()]
    run = train_dqn(network, grid, updates=30, gamma=0.95, seed=0, augment=gate)
    assert len(run.history) == 2
    for now, then in zip(gate.parameters(), before, strict=True):
        assert torch.equal(now, then) != now.requires_grad
    assert float(gate.scales.min()) > 0


def test_cartpole_has_whole_episodes_as_its_score() -> None:
    task = GymnasiumTask(lambda: break_symmetry("CartPole-v1", 0.3), envs=2, episodes=2)
    maps = reflection("CartPole-v1")
    torch.manual_seed(0)
    network = q_network(*maps, kind="relaxed", parameters=300, layers=2)
    run = train_dqn(network, task, updates=5, gamma=0.99, seed=0, check_every=5)
    assert all(0 < each["score"] <= 500 for each in run.history)
    assert task.score(lambda s: torch.zeros(len(s)).long()) == task.score(
        lambda s: torch.zeros(len(s)).long()
    )


def test_the_name_of_an_environment_stands_for_copies_of_it() -> None:
    named = GymnasiumTask("CartPole-v1", envs=2, episodes=1)
    made = GymnasiumTask(lambda: gymnasium.make("CartPole-v1"), envs=2, episodes=1)
    assert torch.equal(named.reset(seed=3), made.reset(seed=3))
    assert not torch.equal(*named.reset(seed=3))


def test_neither_gradients_nor_the_default_type_of_the_caller_matter() -> None:
    networks, grid = [small(), small()], FourGoalGrid(side=3)
    how = {"updates": 20, "gamma": 0.9, "seed": 0}
    plain = train_dqn(networks[0], grid, **how)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            assert train_dqn(networks[1], grid, **how) == plain
    finally:
        torch.set_default_dtype(torch.float32)


def test_progress_is_told_after_each_update() -> None:
    told: list[tuple[int, int, float]] = []
    run = train_dqn(
        small(),
        FourGoalGrid(side=3),
        updates=6,
        gamma=0.9,
        seed=0,
        check_every=3,
        progress=lambda *each: told.append(each),
    )
    assert [each[:2] for each in told] == [(n, 6) for n in range(1, 7)]
    for history, losses in zip(run.history[1:], (told[:3], told[3:]), strict=True):
        assert history["loss"] == pytest.approx(sum(each[2] for each in losses) / 3)


def test_networks_that_cannot_be_trained_are_refused() -> None:
    grid, how = FourGoalGrid(side=3), {"updates": 1, "gamma": 0.9, "seed": 0}
    with pytest.raises(OrbitLensError, match="`network`: .*frozen ones alone; let some go"):
        train_dqn(small().requires_grad_(False), grid, **how)
    with pytest.raises(OrbitLensError, match="`network`: .*in float32, received float64"):
        train_dqn(small().double(), grid, **how)


def test_a_limit_of_time_ends_no_task() -> None:
    def make() -> object:
        return gymnasium.make("CartPole-v1", max_episode_steps=3)

    task = GymnasiumTask(make, envs=1)
    task.reset(seed=0)
    steps = [task.step(torch.tensor([i % 2])) for i in range(3)]
    assert [bool(each.ended) for each in steps] == [False] * 3
    assert not torch.equal(steps[-1].following, steps[-1].states)


def test_environments_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OrbitLensError, match="discrete actions"):
        GymnasiumTask(lambda: gymnasium.make("Pendulum-v1"), envs=1)
    with pytest.raises(OrbitLensError, match="no running mean|that no running mean moves"):
        GymnasiumTask(
            lambda: gymnasium.wrappers.NormalizeObservation(gymnasium.make("CartPole-v1")), envs=1
        )
    one = gymnasium.make("CartPole-v1")
    for make in (lambda: one, lambda: gymnasium.wrappers.TimeLimit(one, 5)):
        with pytest.raises(OrbitLensError, match="another environment at each of 3 calls, .* 1;"):
            GymnasiumTask(make, envs=2, episodes=1)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`make`: .*at each call, received .*; give it as lam"):
        GymnasiumTask(one, envs=1)
    cart = GymnasiumTask(lambda: gymnasium.make("CartPole-v1"), envs=1, episodes=1)
    with pytest.raises(OrbitLensError, match="states of 2 numbers"):
        train_dqn(small(), cart, updates=1, gamma=0.9, seed=0)
    acrobot = reflection("CartPole-v1")[0], [[0, 1, 2], [2, 1, 0]]
    with pytest.raises(OrbitLensError, match="3 actions"):
        train_dqn(
            q_network(*acrobot, kind="plain", parameters=300), cart, updates=1, gamma=0.9, seed=0
        )


@pytest.mark.parametrize(
    "wrong", [{"updates": 0}, {"gamma": 1.0}, {"tau": 0.0}, {"lr": -1.0}, {"batch": 0}]
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(OrbitLensError):
        train_dqn(small(), FourGoalGrid(side=3), **{"updates": 1, "gamma": 0.9, "seed": 0, **wrong})


def test_gates_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, wrong = FourGoalGrid(side=3), SymmetryGate(irreps("C4")[0], TURNS[1])
    how = {"updates": 1, "gamma": 0.9, "seed": 0}
    with pytest.raises(OrbitLensError, match="`augment`: expected a gate of the maps.*states"):
        train_dqn(small(), grid, augment=wrong, **how)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`augment`.*True, False or a SymmetryGate"):
        train_dqn(small(), grid, augment="gate", **how)


def test_other_networks_and_tasks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`network`"):
        train_dqn(torch.nn.Linear(2, 4), FourGoalGrid(), updates=1, gamma=0.9, seed=0)
    with pytest.raises(OrbitLensError, match="`task`"):
        train_dqn(small(), "grid", updates=1, gamma=0.9, seed=0)
