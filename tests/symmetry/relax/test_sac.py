"""SAC with networks of ours, as stable-baselines3 calls them."""

from typing import Any

import numpy as np
import pytest
import torch

gymnasium = pytest.importorskip("gymnasium")
vec_env = pytest.importorskip("stable_baselines3.common.vec_env")

from orbitlens.errors import OrbitLensError, OrbitLensWarning  # noqa: E402
from orbitlens.reps import irreps  # noqa: E402
from orbitlens.symmetry.check import break_symmetry, reflection  # noqa: E402
from orbitlens.symmetry.relax.agents import learned_parameters  # noqa: E402
from orbitlens.symmetry.relax.sac import make_sac, train_sac  # noqa: E402

MAPS = reflection("Pendulum-v1")
KINDS = ["exact", "relaxed", "plain"]


def agent(kind: str = "relaxed", env: Any = "Pendulum-v1", **settings: Any) -> Any:
    given = {"parameters": 400, "learning_starts": 5, "batch_size": 16, **settings}
    return make_sac(env, *MAPS, kind=kind, **given)


def mirrored(state: np.ndarray) -> np.ndarray:
    return state * np.array([1, -1, -1], dtype=np.float32)


STATES = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)


def policy_error(own: Any) -> float:
    actions = [own.predict(each, deterministic=True)[0] for each in (STATES, mirrored(STATES))]
    return float(np.abs(actions[0] + actions[1]).max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_policy_is_symmetric_at_first(kind: str) -> None:
    assert (policy_error(agent(kind)) < 1e-5) == (kind != "plain")


@pytest.mark.parametrize(("kind", "leaves"), [("exact", False), ("relaxed", True)])
def test_training_on_a_broken_pendulum_leaves_it_only_if_it_can(kind: str, leaves: bool) -> None:
    broken = break_symmetry("Pendulum-v1", 0.6)
    own = agent(kind, broken)
    judge = break_symmetry(gymnasium.make("Pendulum-v1", max_episode_steps=10), 0.6)
    run = train_sac(own, judge, steps=7, check_every=7, episodes=1)
    assert [each["steps"] for each in run.history] == [0, 7]
    assert (run.history[-1]["spread"] > 0) == leaves
    assert (policy_error(own) > 1e-5) == leaves
    assert run.score == run.history[-1]["score"] < 0


def test_networks_meet_the_budget_and_the_targets_start_equal() -> None:
    own = agent("relaxed", parameters=1000)
    sizes = [own.policy.actor.network, *own.policy.critic.networks]
    assert all(abs(learned_parameters(each) - 1000) <= 50 for each in sizes)
    pairs = zip(own.critic.parameters(), own.critic_target.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_the_same_seed_gives_the_same_agent() -> None:
    weights = [agent(seed=3).policy.state_dict() for _ in range(2)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_actions_lie_within_the_bounds() -> None:
    own = agent()
    actions = np.stack([own.predict(state)[0] for state in 50 * STATES])
    assert float(np.abs(actions).max()) <= 2.0


def test_values_that_are_not_finite_are_told() -> None:
    own = agent()
    with torch.no_grad():
        own.policy.critic.networks[0].head.layer.filters.fill_(float("nan"))
    with pytest.raises(OrbitLensError, match="Q after 0 steps: expected finite values"):
        train_sac(own, "Pendulum-v1", steps=1)


def test_weights_that_are_not_finite_are_told_while_they_are_trained() -> None:
    own = agent(learning_rate=1e30)
    with pytest.raises(OrbitLensError, match="weights after 0 to 20 steps: expected finite values"):
        train_sac(own, gymnasium.make("Pendulum-v1", max_episode_steps=3), steps=20, episodes=1)


def test_maps_and_spaces_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="actions that are vectors"):
        make_sac("CartPole-v1", *reflection("CartPole-v1"), kind="exact", parameters=400)
    signs = reflection("InvertedPendulum-v5")
    with pytest.raises(OrbitLensError, match="matrices of 3 x 3"):
        make_sac("Pendulum-v1", *signs, kind="exact", parameters=400)
    with pytest.raises(OrbitLensError, match="no running mean"):
        agent(env=gymnasium.wrappers.NormalizeObservation(gymnasium.make("Pendulum-v1")))
    copies = vec_env.DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")])
    with pytest.raises(OrbitLensError, match="a Gymnasium environment .* received VecNormalize"):
        agent(env=vec_env.VecNormalize(copies))
    ends = np.float32([-1.0]), np.float32([2.0])
    uneven = gymnasium.wrappers.RescaleAction(gymnasium.make("Pendulum-v1"), *ends)
    with pytest.raises(OrbitLensError, match="bounds"):
        agent(env=uneven)
    with pytest.raises(OrbitLensError, match="`scale` of observations|`scale`"):
        agent(scale=[1.0, -1.0, 1.0])


def test_settings_that_stable_baselines_does_not_take_are_told() -> None:
    with pytest.raises(OrbitLensError, match="`policy_kwargs`: expected none.*`parameters`"):
        agent(policy_kwargs={"net_arch": [4]})
    with pytest.raises(OrbitLensError, match="a setting of SAC: .*did you mean 'learning_rate'"):
        agent(learning_rat=1e-3)


def test_agents_that_cannot_be_trained_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="`agent`: expected an agent of make_sac, .*NoneType"):
        train_sac(None, "Pendulum-v1", steps=1)
    own = agent()
    own.critic.requires_grad_(False)
    with pytest.raises(OrbitLensError, match="the critics of `agent`: .*frozen ones alone"):
        train_sac(own, "Pendulum-v1", steps=1)
    own = agent()
    own.actor.double()
    with pytest.raises(OrbitLensError, match="the actor of `agent`: .*float32, received float64"):
        train_sac(own, "Pendulum-v1", steps=1)


def test_neither_gradients_nor_the_default_type_of_the_caller_matter() -> None:
    judge = gymnasium.make("Pendulum-v1", max_episode_steps=10)
    plain = train_sac(agent(seed=1), judge, steps=7, episodes=1)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            assert train_sac(agent(seed=1), judge, steps=7, episodes=1) == plain
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


class TurnedPlane(gymnasium.Env):
    """Two actions that a third of a turn moves."""

    observation_space = gymnasium.spaces.Box(np.full(2, -1.0, np.float32), np.ones(2, np.float32))

    def __init__(self, high: list[float]) -> None:
        bounds = np.array(high, dtype=np.float32)
        self.action_space = gymnasium.spaces.Box(-bounds, bounds)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        return np.zeros(2, dtype=np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        return np.zeros(2, dtype=np.float32), 0.0, False, True, {}


def test_turns_need_a_ball_within_equal_bounds() -> None:
    turn = irreps("C3")[-1]
    with pytest.raises(OrbitLensError, match="the same bound"):
        make_sac(TurnedPlane([1.0, 2.0]), turn, turn, kind="plain", parameters=2000)
    own = make_sac(TurnedPlane([2.0, 2.0]), turn, turn, kind="relaxed", parameters=2000)
    drawn = np.stack([own.predict(np.ones(2, dtype=np.float32))[0] for _ in range(20)])
    assert float(np.linalg.norm(drawn, axis=1).max()) <= 2.0 + 1e-5


def test_starts_that_the_group_keeps_are_warned_of_for_the_exact_agent() -> None:
    turn = irreps("C3")[-1]
    with pytest.warns(OrbitLensWarning, match="states nowhere"):
        make_sac(TurnedPlane([1.0, 1.0]), turn, turn, kind="exact", parameters=2000)
