"""The reflections of known environments, and the wrapper that breaks them by a known amount."""

import sys
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

from orbitlens.errors import MissingExtraError, OrbitLensError
from orbitlens.symmetry.check import break_symmetry, reflection

gymnasium = pytest.importorskip("gymnasium")

NAMES = ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "InvertedPendulum-v5"]


def stepped(env: Any, state: list[float], action: Any) -> tuple[np.ndarray, float]:
    """Return the state after a step from a state, in double precision, and the reward."""
    env.reset(seed=0)
    env.unwrapped.state = np.array(state)
    reward = env.step(action)[1]
    return np.array(env.unwrapped.state), float(reward)


def push(torque: float) -> np.ndarray:
    return np.array([torque], dtype=np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_a_reflection_twice_moves_nothing(name: str) -> None:
    states, actions = reflection(name)
    assert torch.equal(states[1] @ states[1], states[0])
    twice = actions[1][actions[1]] if actions.ndim == 2 else actions[1] @ actions[1]
    assert torch.equal(twice, actions[0])


@pytest.mark.parametrize("name", NAMES[:3])
def test_an_environment_is_known_within_its_wrappers(name: str) -> None:
    env = break_symmetry(gymnasium.make(name), 0.5)
    for found, wanted in zip(reflection(env), reflection(name), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("name", NAMES[:3])
def test_a_wrapper_that_breaks_nothing_changes_nothing(name: str) -> None:
    plain, broken = gymnasium.make(name), break_symmetry(name, 0.0)
    plain.action_space.seed(0)
    found, wanted = broken.reset(seed=0)[0], plain.reset(seed=0)[0]
    for _ in range(8):
        assert np.array_equal(found, wanted)
        action = plain.action_space.sample()
        (found, reward, *_), (wanted, paid, *_) = broken.step(action), plain.step(action)
        assert reward == paid


@pytest.mark.parametrize("kappa", [0.1, 0.6])
def test_a_weaker_torque_turns_the_pendulum_less_by_three_kappa_u_dt(kappa: float) -> None:
    weak, plain = break_symmetry("Pendulum-v1", kappa), gymnasium.make("Pendulum-v1")
    there, _ = stepped(weak, [0.5, 0.1], push(2.0))
    here, _ = stepped(plain, [0.5, 0.1], push(2.0))
    # m = l = 1, dt = 0.05, u = 2.
    assert here[1] - there[1] == pytest.approx(3 * kappa * 2 * 0.05, rel=1e-6)
    assert here[0] - there[0] == pytest.approx(3 * kappa * 2 * 0.05 * 0.05, rel=1e-6)
    assert np.array_equal(
        stepped(weak, [0.5, 0.1], push(-2.0))[0], stepped(plain, [0.5, 0.1], push(-2.0))[0]
    )


def test_speeds_are_clipped_after_a_weaker_torque_as_after_any() -> None:
    # Gravity adds 0.75 at most, so that both torques lead beyond the largest speed.
    weak, plain = break_symmetry("Pendulum-v1", 0.6), gymnasium.make("Pendulum-v1")
    assert np.array_equal(
        stepped(weak, [1.5, 7.9], push(2.0))[0], stepped(plain, [1.5, 7.9], push(2.0))[0]
    )


def test_the_toll_of_the_pendulum_is_in_proportion_to_the_torque() -> None:
    weak, plain = break_symmetry("Pendulum-v1", 0.5), gymnasium.make("Pendulum-v1")
    state = [0.3, 0.0]
    for torque in (0.5, 2.0):
        paid = stepped(plain, state, push(torque))[1] - stepped(weak, state, push(torque))[1]
        # The toll is 0.5 at the largest torque; half of the torque saves 3/4 of 0.001 u^2.
        assert paid == pytest.approx(0.25 * torque - 0.00075 * torque**2)
    assert stepped(weak, state, push(-2.0))[1] == stepped(plain, state, push(-2.0))[1]


def test_the_push_of_the_cart_is_weaker_to_the_right_and_whole_afterwards() -> None:
    weak = break_symmetry("CartPole-v1", 0.25)
    right, reward = stepped(weak, [0.0] * 4, 1)
    left, whole = stepped(weak, [0.0] * 4, 0)
    assert right[1] == pytest.approx(-0.75 * left[1])
    assert (reward, whole) == (0.75, 1.0)
    assert weak.unwrapped.force_mag == 10.0


def test_the_torque_of_the_acrobot_is_weaker_to_one_side() -> None:
    weak, plain = break_symmetry("Acrobot-v1", 0.5), gymnasium.make("Acrobot-v1")
    state = [0.1, 0.2, 0.0, 0.0]
    ends = [stepped(plain, state, a)[0] for a in range(3)]
    assert np.array_equal(stepped(weak, state, 0)[0], ends[0])
    assert np.array_equal(stepped(weak, state, 1)[0], ends[1])
    halfway = stepped(weak, state, 2)[0]
    assert halfway == pytest.approx((ends[1] + ends[2]) / 2, abs=1e-3)
    assert not np.array_equal(halfway, ends[2])
    assert stepped(weak, state, 2)[1] == -1.5
    assert weak.unwrapped.AVAIL_TORQUE == [-1.0, 0.0, 1.0]


def test_the_names_of_a_wrapped_environment_stay() -> None:
    broken = break_symmetry("Pendulum-v1", 0.3)
    assert (broken.spec.id, broken.kappa) == ("Pendulum-v1", 0.3)


@pytest.mark.parametrize("kappa", [-0.1, 1.0, float("nan"), "much"])
def test_a_kappa_out_of_range_is_refused(kappa: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`kappa`"):
        break_symmetry("CartPole-v1", kappa)


def test_other_environments_are_refused() -> None:
    with pytest.raises(OrbitLensError, match=r"Box of actions .* Discrete\(3\)"):
        break_symmetry("MountainCar-v0", 0.1)
    with pytest.raises(OrbitLensError, match=r"did you mean 'CartPole-v1'"):
        reflection("CartPole")
    with pytest.raises(OrbitLensError, match=r"one of CartPole-v1.* received MountainCar-v0"):
        reflection(gymnasium.make("MountainCar-v0"))
    with pytest.raises(OrbitLensError, match="name of a Gymnasium environment"):
        break_symmetry("NoSuchThing-v3", 0.1)
    with pytest.raises(OrbitLensError, match="Did you mean: `Pendulum`"):
        break_symmetry("Pendulim-v1", 0.1)
    with pytest.raises(OrbitLensError, match="No module named 'nowhere'") as found:
        break_symmetry("nowhere:Thing-v0", 0.1)
    assert "mujoco" not in str(found.value)
    with pytest.raises(OrbitLensError, match="a Gymnasium environment or its name, received int"):
        break_symmetry(3, 0.1)


def test_maps_need_no_gymnasium_and_environments_name_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    assert len(reflection("CartPole-v1")) == 2
    with pytest.raises(MissingExtraError, match=r"orbitlens\[gym\]"):
        break_symmetry("CartPole-v1", 0.1)
