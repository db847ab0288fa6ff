"""Maps of states and actions, judged by the steps of an environment and by a fitted model."""

import json
from itertools import pairwise
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

from orbitlens.actions import own
from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.check import break_symmetry, check_environment, reflection

gymnasium = pytest.importorskip("gymnasium")

NAMES = ["CartPole-v1", "Pendulum-v1", "Acrobot-v1"]
FEWEST = {"CartPole-v1": 600, "Pendulum-v1": 400, "Acrobot-v1": 900}  # transitions of a model
TURN = np.array([[0.0, -1.0], [1.0, 0.0]])
TURNS = np.stack([np.linalg.matrix_power(TURN, k) for k in range(4)])


class Plane(gymnasium.Env):  # type: ignore[misc]
    """A point in the plane that a force moves; four turns are symmetries."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float64)

    def __init__(self, wind: float = 0.0, noise: float = 0.0, memory: float = 0.0) -> None:
        self.wind, self.noise, self.memory = wind, noise, memory
        self.state = np.zeros(2)
        self.before = np.zeros(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.state, self.before = self.np_random.normal(size=2), np.zeros(2)
        return self.state.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.state = 0.9 * self.state + 0.3 * action + [self.wind, 0.0] + self.memory * self.before
        self.state = self.state + self.noise * self.np_random.normal(size=2)
        self.before = action
        return self.state.copy(), -float(np.square(self.state).sum()), False, False, {}


def missing(name: str, place: int) -> tuple[Tensor, Tensor]:
    """Return the reflection of an environment with one sign of its observation wrong."""
    states, actions = reflection(name)
    wrong = states.clone()
    wrong[1, place, place] *= -1
    return wrong, actions


@pytest.mark.parametrize("name", NAMES)
def test_a_reflection_is_a_symmetry_to_rounding_by_steps(name: str) -> None:
    check = check_environment(name, *reflection(name), n=16)
    assert (check.verdict, check.judged_by, check.group) == ("symmetric", "steps", "C2")
    assert max(check.eps_r, check.eps_p) < 1e-6
    assert check.terminated_differs == 0
    assert max(check.closure, check.identity, check.inverses, check.bounds) < 1e-12
    assert check.wrong_maps["least"] > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_a_reflection_is_a_symmetry_by_a_model(name: str) -> None:
    check = check_environment(name, *reflection(name), judge="model", n=FEWEST[name])
    assert (check.verdict, check.judged_by) == ("symmetric", "model")
    assert check.wrong_maps["map"] < 0.2 * check.wrong_maps["least"]


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_sign_is_found_by_steps_whichever_it_is(name: str) -> None:
    for place in range(len(reflection(name)[0][0])):
        check = check_environment(name, *missing(name, place), n=16)
        assert check.verdict == "none"
        assert check.wrong_maps["better"] == f"the other sign of observation {place}"
        assert check.eps_p > 0.01


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_missing_sign_is_found_by_a_model(name: str) -> None:
    place = len(reflection(name)[0][0]) - 1
    check = check_environment(name, *missing(name, place), judge="model", n=FEWEST[name])
    assert check.verdict == "none"
    assert check.wrong_maps["better"] == f"the other sign of observation {place}"


@pytest.mark.parametrize("name", NAMES)
def test_actions_that_stay_are_found(name: str) -> None:
    states, actions = reflection(name)
    check = check_environment(name, states, actions[[0, 0]], n=16)
    assert check.verdict == "none"
    assert "action" in check.wrong_maps["better"]


@pytest.mark.parametrize("name", NAMES)
def test_errors_grow_with_what_breaks_the_symmetry(name: str) -> None:
    checks = [
        check_environment(break_symmetry(name, kappa), *reflection(name), n=16)
        for kappa in (0.0, 0.1, 0.3, 0.6)
    ]
    assert [check.verdict for check in checks[:3]] == ["symmetric", "nearly", "nearly"]
    # The push of a cart is most of what changes it in a step.
    assert checks[3].verdict == ("none" if name == "CartPole-v1" else "nearly")
    for figures in ([each.eps_r for each in checks], [each.eps_p for each in checks]):
        assert figures[0] < 1e-6
        assert all(a + 0.02 < b for a, b in pairwise(figures))


def test_the_errors_of_a_weak_pendulum_are_those_of_its_equations() -> None:
    kappa = 0.6
    check = check_environment(break_symmetry("Pendulum-v1", kappa), *reflection("Pendulum-v1"))
    # A torque of 2 turns by 3 kappa 2 dt less; m = l = 1, dt = 0.05.
    slower = 3 * kappa * 2 * 0.05
    most = np.hypot(slower, 0.05 * slower)
    assert 0.95 * most < check.eps_p <= most * (1 + 1e-5)
    most = kappa - 0.004 * (2 * kappa - kappa**2)
    assert 0.95 * most < check.eps_r <= most * (1 + 1e-5)


def test_errors_grow_by_a_model_too() -> None:
    found = [
        check_environment(
            break_symmetry("CartPole-v1", kappa), *reflection("CartPole-v1"), judge="model", n=600
        )
        for kappa in (0.0, 0.3, 0.6)
    ]
    assert [each.verdict for each in found[:2]] == ["symmetric", "nearly"]
    assert found[0].eps_p + 0.05 < found[1].eps_p < found[2].eps_p - 0.05
    assert any("root mean squares" in note for note in found[0].notes)


def test_the_leaning_pole_of_the_inverted_pendulum_is_found() -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("imageio")
    check = check_environment("InvertedPendulum-v5", *reflection("InvertedPendulum-v5"), n=32)
    assert (check.verdict, check.judged_by) == ("nearly", "steps")
    assert 1e-4 < check.eps_p < 0.02
    assert "leans by 1 mm" in check.notes[0]
    wrong = check_environment("InvertedPendulum-v5", *missing("InvertedPendulum-v5", 1), n=16)
    assert wrong.verdict == "none"


def test_four_turns_of_the_plane_in_every_form() -> None:
    def turn(values: Tensor, g: int) -> Tensor:
        return values @ torch.from_numpy(TURNS[g].T.copy())

    action = own("C4", turn)
    forms = [(TURNS, TURNS), (TURN, TURN.tolist()), (action, action), (action, TURNS)]
    found = [check_environment(Plane(), *pair, n=16) for pair in forms]
    assert {each.group for each in found} == {"C4"}
    assert {each.verdict for each in found} == {"symmetric"}
    assert [len(each.elements) for each in found] == [4, 4, 4, 4]
    wrong = check_environment(Plane(), TURN, TURN.T, n=16)
    assert (wrong.verdict, wrong.wrong_maps["better"]) != ("symmetric", None)


def test_wind_breaks_the_turns_by_its_chord() -> None:
    check = check_environment(Plane(wind=0.03), TURNS, TURNS, n=16)
    # The half turn moves the wind by twice its length.
    assert check.eps_p == pytest.approx(0.06)
    assert check.verdict == "nearly"


def test_random_steps_are_judged_by_a_model() -> None:
    check = check_environment(Plane(noise=0.05), FLIP, FLIP, n=1000)
    assert (check.judged_by, check.verdict) == ("model", "symmetric")
    assert "two steps from the same state with the same action differ" in check.notes[0]
    assert check.terminated_differs is None
    with pytest.raises(OrbitLensError, match="leave `judge` out"):
        check_environment(Plane(noise=0.05), TURNS, TURNS, judge="steps")


def test_a_model_says_that_it_has_not_seen_where_the_map_leads() -> None:
    class Corner(Plane):
        def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
            super().reset(**options)
            self.state = self.state + 20
            return self.state.copy(), {}

        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            return *super().step(action)[:3], True, {}

    check = check_environment(Corner(), TURN, TURN, judge="model", n=500)
    assert check.verdict == "unclear"
    assert any("100% of the moved transitions lie far beyond" in note for note in check.notes)
    assert check.sentence.startswith("It is not clear whether")


def test_what_a_state_hides_is_found_before_steps_judge() -> None:
    check = check_environment(Plane(memory=0.3), FLIP, FLIP, n=400)
    assert check.judged_by == "model"
    assert "not the step that was seen" in check.notes[0]

    def forgetful(env: Any, observation: np.ndarray) -> None:
        env.unwrapped.state = -observation

    with pytest.raises(OrbitLensError, match="`set_state` for Plane: .*not the step that was seen"):
        check_environment(Plane(), TURNS, TURNS, set_state=forgetful)
    with pytest.raises(OrbitLensError, match="`set_state` for Plane: .*ZeroDivisionError"):
        check_environment(Plane(), TURNS, TURNS, set_state=lambda env, observation: 1 / 0)


def test_a_setter_of_ones_own_makes_steps_possible() -> None:
    def set_state(env: Any, observation: np.ndarray) -> None:
        env.unwrapped.state = observation.copy()

    doubled = gymnasium.wrappers.TransformObservation(Plane(), lambda x: 2 * x, None)
    assert check_environment(doubled, FLIP, FLIP, n=400).judged_by == "model"
    check = check_environment(
        doubled, TURNS, TURNS, n=16, set_state=lambda env, x: set_state(env, x / 2)
    )
    assert (check.judged_by, check.verdict) == ("steps", "symmetric")


def test_the_record_is_ready_for_json_and_the_same_for_the_same_seed() -> None:
    states, actions = reflection("CartPole-v1")
    first, again, other = (
        check_environment("CartPole-v1", states, actions, n=16, seed=seed) for seed in (1, 1, 2)
    )
    assert json.loads(json.dumps(first.to_dict())) == again.to_dict()
    assert first.wrong_maps != other.wrong_maps
    assert first.sentence.startswith("The maps are a symmetry of CartPole-v1 (C2): by steps")
    assert str(first) == f"symmetric: {first.sentence}"
    assert "cannot prefer left to right there" in first.notes[-1]


def test_a_start_state_is_still_only_where_episodes_start_near_to_it() -> None:
    for env, maps in ((Plane(), (TURNS, TURNS)), ("Pendulum-v1", reflection("Pendulum-v1"))):
        notes = check_environment(env, *maps, n=32).notes
        assert not any("start state" in note for note in notes)


def test_the_bound_on_q_is_in_two_parts() -> None:
    env = break_symmetry("CartPole-v1", 0.5)
    check = check_environment(env, *reflection(env), n=32, gamma=0.5, value_slope=4.0)
    assert check.q_bound["rewards"] == pytest.approx(2 * check.eps_r)
    assert check.q_bound["per_slope"] == pytest.approx(check.eps_p)
    assert check.q_bound["total"] == pytest.approx(2 * check.eps_r + 4 * check.eps_p)
    assert check_environment(env, *reflection(env), n=16).q_bound["total"] is None


class Line(gymnasium.Env):  # type: ignore[misc]
    """A point on a line that a force pulls; its mirror image is a symmetry of how it moves."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, reward: Any, end: float = np.inf, spring: float = 0.0) -> None:
        self.reward, self.end, self.spring = reward, end, spring

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = self.np_random.normal(self.spring, 1.0, 2).astype(np.float32)
        return self.state, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        x, v = self.state
        v = 0.9 * v + 0.1 * float(action[0]) - 0.1 * (x - self.spring)
        x = x + 0.1 * v
        self.state = np.array([x, v], np.float32)
        return self.state, float(self.reward(x, float(action[0]))), bool(x > self.end), False, {}


FLIP = -np.eye(2)


def even(x: float, action: float) -> float:
    return -x * x


def toll(x: float, action: float) -> float:
    return -x * x - 0.3 * max(action, 0.0)


@pytest.mark.parametrize("judge", ["steps", "model"])
def test_an_odd_reward_is_no_symmetry_though_the_dynamics_are_exact(judge: str) -> None:
    env = Line(lambda x, action: x)
    check = check_environment(env, FLIP, [[-1]], judge=judge, n=None if judge == "steps" else 1000)
    assert check.verdict == "none"
    assert "because of the rewards" in check.sentence
    assert check.wrong_maps["observations"] < 0.01
    assert check.wrong_maps["rewards"] > 1
    assert check.wrong_maps["other_rewards"] == pytest.approx(np.sqrt(2))


def test_an_odd_reward_is_missed_by_twice_its_spread() -> None:
    # A constant pays alike on both sides, so that it is no part of the spread.
    for constant in (0.0, 100.0):
        check = check_environment(Line(lambda x, action, c=constant: x + c), FLIP, [[-1]], n=64)
        assert check.wrong_maps["rewards"] == pytest.approx(2.0, abs=0.05)
        assert check.verdict == "none"


def test_a_constant_reward_has_no_spread_and_counts_where_episodes_end() -> None:
    check = check_environment(Line(lambda x, action: 5.0), FLIP, [[-1]], n=64)
    assert check.wrong_maps["rewards"] == 0
    assert (check.wrong_maps["reward_unit"], check.verdict) == ("spread", "symmetric")
    weak = break_symmetry("CartPole-v1", 0.1)
    living = check_environment(weak, *reflection("CartPole-v1"), n=128)
    assert living.wrong_maps["reward_unit"] == "size"
    assert living.wrong_maps["rewards"] == pytest.approx(0.1, rel=0.1)
    assert (living.kappa, living.verdict) == (0.1, "nearly")
    assert "(C2, kappa = 0.1)" in living.sentence


@pytest.mark.parametrize("seed", range(2))
def test_a_toll_on_actions_to_one_side_is_seen_by_the_model(seed: int) -> None:
    check = check_environment(Line(toll), FLIP, [[-1]], judge="model", seed=seed, n=1200)
    assert check.verdict in ("nearly", "none")
    # The toll is 0.3 |a| in each pair, for actions that are uniform.
    assert check.eps_r == pytest.approx(0.3 / np.sqrt(3), rel=0.05)
    assert check.q_bound["rewards"] == pytest.approx(100 * check.eps_r)
    beyond = np.sqrt(check.reward["rms"] ** 2 - check.reward["model"] ** 2)
    assert check.eps_r == pytest.approx(beyond)
    assert f"root mean square of {check.eps_r:.2g}" in check.sentence


def test_a_reward_that_is_even_is_no_toll_to_the_model() -> None:
    check = check_environment(Line(even), FLIP, [[-1]], judge="model", n=600)
    assert check.verdict == "symmetric"


def test_what_was_not_judged_stands_in_the_sentence() -> None:
    far = check_environment(Line(even, end=50.0), FLIP, [[-1]], n=64)
    assert (far.verdict, far.ends_judged, far.visited_only) == ("symmetric", False, True)
    assert "on states that random actions visit" in far.sentence
    assert far.sentence.endswith("No episode ended there, so ends were not judged.")
    model = check_environment(Line(even, end=1.5), FLIP, [[-1]], judge="model", n=300)
    assert model.sentence.endswith("A model cannot judge ends of episodes.")
    assert (model.ends_judged, model.terminated_differs) == (False, None)
    both = check_environment("CartPole-v1", *reflection("CartPole-v1"), n=32)
    assert (both.ends_judged, both.terminated_differs) == (True, 0)
    assert "end" not in both.sentence


def test_an_end_on_one_side_alone_is_no_symmetry() -> None:
    check = check_environment(Line(even, end=1.0), FLIP, [[-1]], n=64)
    assert check.verdict == "none"
    assert "because of the ends of episodes" in check.sentence
    assert "only one step ended the episode" in check.sentence


@pytest.mark.parametrize("judge", ["steps", "model"])
def test_a_centre_other_than_0_is_named(judge: str) -> None:
    env = Line(lambda x, action: -((x - 3.0) ** 2), spring=3.0)
    n = 32 if judge == "steps" else 500
    check = check_environment(env, FLIP, [[-1]], judge=judge, n=n)
    assert check.verdict in ("none", "unclear")
    assert check.wrong_maps["centre"]["at"] == pytest.approx([3.0, 0.0], abs=0.05)
    assert "about the centre (3" in check.sentence
    assert any("actions.own(" in note for note in check.notes)
    about = own("C2", lambda s, g: torch.tensor([6.0, 0.0]) - s if g else s.clone())
    if judge == "steps":
        found = check_environment(env, about, [[-1]], n=64)
        assert (found.verdict, found.wrong_maps["centre"]) == ("symmetric", None)


QUARTER = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_change_that_mends_one_element_alone_is_no_hint(sign: int) -> None:
    # The square of the quarter turn is the reflection, for the other sign of its torque: but that
    # sign is 1 for any sign of the quarter turn itself.
    check = check_environment("Pendulum-v1", QUARTER, [[sign]], n=64)
    assert (check.verdict, check.wrong_maps["better"]) == ("none", None)
    assert check.wrong_maps["least"] > 10
    assert "other sign" not in check.sentence
    assert "because of the next observations and of the rewards" in check.sentence
    assert check.outside > 0.5
    assert "may lead off the states that the environment can take" in check.sentence
    assert any("r takes observation 1 from -1 to 1 into -8 to 8" in each for each in check.notes)


class Flag(Plane):
    """The plane, with a number that the action's last one pushes; r turns its sign over."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float64)

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(**options)
        self.state = self.np_random.normal(size=3)
        return self.state.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.state = 0.9 * self.state + 0.3 * action
        return self.state.copy(), -float(np.square(self.state).sum()), False, False, {}


def test_a_change_is_named_with_the_elements_that_it_mends() -> None:
    flips = np.array([1.0, -1.0, 1.0, -1.0])

    def turns(signs: np.ndarray) -> np.ndarray:
        found = np.zeros((4, 3, 3))
        found[:, :2, :2], found[:, 2, 2] = TURNS, signs
        return found

    assert check_environment(Flag(), turns(flips), turns(flips), n=16).verdict == "symmetric"
    check = check_environment(Flag(), turns(np.ones(4)), turns(flips), n=32)
    assert check.verdict == "none"
    assert check.wrong_maps["better"] == "the other sign of observation 2 under r and r^3"
    assert check.wrong_maps["least"] == check.wrong_maps["better_miss"] < 1e-9
    assert f"under r and r^3 they miss by {check.wrong_maps['least']:.2g}" in check.sentence


def test_maps_that_move_nothing_are_refused_and_a_half_of_them_is_said() -> None:
    still = own("C2", lambda values, g: values.clone())
    for name, actions in (("CartPole-v1", still), ("CartPole-v1", [[0, 1], [0, 1]])):
        with pytest.raises(OrbitLensError, match="a map that moves something.*use their element"):
            check_environment(name, still, actions)
    swapped = check_environment("CartPole-v1", still, [1, 0], n=16)
    assert swapped.verdict == "none"
    assert any("move no state, only actions" in note for note in swapped.notes)
    resting = check_environment("CartPole-v1", reflection("CartPole-v1")[0], still, n=16)
    assert any("move no action, only states" in note for note in resting.notes)
    twice = own("C4", lambda values, g: values * (-1.0) ** g)
    notes = check_environment(Plane(), twice, twice, n=16).notes
    assert "No state or action that was seen moves under r^2." in notes


def test_actions_that_do_the_same_are_a_symmetry_without_states() -> None:
    class Doubled(Pushes):
        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            return super().step(abs(action - 1))

    check = check_environment(Doubled(even), np.stack([np.eye(2)] * 2), [[0, 1, 2], [2, 1, 0]])
    assert check.verdict == "symmetric"
    assert any("exchange do the same" in note for note in check.notes)


class Arena(Plane):
    """The plane, where episodes end far from the middle."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        state, reward, _, cut, info = super().step(action)
        return state, reward, bool(np.linalg.norm(state) > 1.5), cut, info


def test_the_largest_miss_is_the_cause_where_few_episodes_end_alone() -> None:
    check = check_environment(Arena(wind=0.08), TURNS, TURNS)
    assert check.verdict == "none"
    assert 0 < check.terminated_differs < 0.2
    assert 0.5 < check.wrong_maps["observations"] < 0.5 * check.wrong_maps["median"]
    assert "(C4) on states that random actions visit because of the next obs" in check.sentence


@pytest.mark.parametrize("made", [Plane, lambda: Plane()])
def test_a_class_or_function_is_told_to_be_called(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=rf"{made.__name__}; call it: {made.__name__}\(\)"):
        check_environment(made, FLIP, FLIP)


def test_a_model_says_what_goes_beyond_its_own_error() -> None:
    check = check_environment("Pendulum-v1", *reflection("Pendulum-v1"), judge="model", n=400)
    assert ", beyond the error of the model itself; observations are missed by" in check.sentence


class Pushes(Line):
    """The line with a push to the left, none, and one to the right."""

    action_space = gymnasium.spaces.Discrete(3)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return super().step(np.array([action - 1.0]))


def test_maps_of_discrete_actions_in_every_form() -> None:
    states = torch.stack([torch.eye(2), -torch.eye(2)]).double()
    matrix = np.eye(3)[[2, 1, 0]]
    mirror = own("C2", lambda values, g: 2 - values if g else values.clone())
    moved = own("C2", lambda s, g: s @ states[g].to(s.dtype))
    pairs = [
        (states[1], [2, 1, 0]),
        (states[1], matrix),
        (states, np.stack([np.eye(3), matrix])),
        (states[1], mirror),
        (moved, [2, 1, 0]),
        (moved, matrix),
    ]
    found = [check_environment(Pushes(even), *pair, n=16) for pair in pairs]
    assert {each.verdict for each in found} == {"symmetric"}
    assert len({each.eps_p for each in found}) == 1
    swap = check_environment("CartPole-v1", -np.eye(4), [[0, 1], [1, 0]], n=32)
    assert swap.verdict == "symmetric"


def test_one_map_beside_an_action_stands_for_the_powers_of_element_1() -> None:
    turn = own("C4", lambda values, g: values @ torch.from_numpy(TURNS[g].T.copy()))
    for pair in ((turn, TURN), (TURN, turn)):
        assert check_environment(Plane(), *pair, n=16).verdict == "symmetric"
    four = own("D2", lambda values, g: values * torch.tensor([1 - 2 * (g % 2), 1 - 2 * (g // 2)]))
    with pytest.raises(OrbitLensError, match="a single map beside an Action of D2"):
        check_environment(Plane(), four, -np.eye(2))


@pytest.mark.parametrize("name", ["states", "actions"])
def test_a_plain_function_gets_the_line_to_write(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    maps = {"states": FLIP, "actions": [[-1]], name: lambda s: -s}
    with pytest.raises(OrbitLensError, match=rf'`{name}`: .*orbitlens.actions.own\("C2", lambda'):
        check_environment(Line(even), **maps)


@pytest.mark.parametrize("method", ["reset", "step"])
def test_what_an_environment_raises_is_one_line(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Any, *given: Any, **named: Any) -> Any:
        raise RuntimeError("a wheel\ncame off")

    monkeypatch.setattr(Line, method, fails)
    message = "environment Line: .*RuntimeError: a wheel came off"
    with pytest.raises(OrbitLensError, match=message):
        check_environment(Line(even), FLIP, [[-1]])
    monkeypatch.setattr(Line, method, lambda self, *given, **named: None)
    with pytest.raises(OrbitLensError, match="environment Line: .*TypeError"):
        check_environment(Line(even), FLIP, [[-1]])


EYE = np.eye(3)
MIRROR = np.diag([1.0, -1.0, -1.0])


@pytest.mark.parametrize(
    ("states", "actions", "message"),
    [
        ([MIRROR, EYE], [[[-1]], [[1]]], "a group; identity.* received it as element 1"),
        ([EYE, 2 * MIRROR], [[[1]], [[-1]]], "closure.*element 1 times element 1"),
        ([EYE, np.diag([1.0, 0, 0])], [[[1]], [[1]]], "inverses.*none for element 1"),
        ([EYE, EYE], [[[1]], [[1]]], "each element once"),
        (2 * EYE, [[-1]], "inverses: some power of the map"),
        (EYE, [[1]], "a map that moves something"),
        ([EYE, MIRROR], [[-1]], "a single map beside a list"),
        ([EYE, MIRROR], [[[1]], [[-1]], [[1]]], "received 2 and 3"),
        (np.eye(4), [[-1]], r"`states`: .*\[3, 3\].* received shape \[4, 4\]"),
        (MIRROR, [[-1, 0]], "`actions`"),
        (MIRROR, [[np.nan]], "`actions`.*finite"),
        (MIRROR, [[2.0]], "inverses: some power"),
    ],
)
def test_maps_that_are_no_group_are_refused_with_the_law(
    states: Any, actions: Any, message: str
) -> None:
    states = np.stack(states) if isinstance(states, list) else states
    with pytest.raises(OrbitLensError, match=message):
        check_environment("Pendulum-v1", states, actions)


def test_maps_that_leave_the_actions_are_refused() -> None:
    class OneSided(Plane):
        action_space = gymnasium.spaces.Box(0.0, 1.0, (2,), np.float64)

    with pytest.raises(OrbitLensError, match="keep the bounds of actions, 0 to 1.* -1 and -?0"):
        check_environment(OneSided(), -np.eye(2), -np.eye(2))
    eighth = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    with pytest.raises(OrbitLensError, match="keep the bounds of actions"):
        check_environment(Plane(), eighth, eighth)
    states, _ = reflection("Acrobot-v1")
    with pytest.raises(OrbitLensError, match=r"such as \[2, 1, 0\], received \[0, 0, 2\]"):
        check_environment("Acrobot-v1", states[1], [0, 0, 2])
    longer = own("C2", lambda values, g: values * (-2.0) ** g if g else values.clone())
    mirror = own("C2", lambda values, g: values * (1 - 2 * g))
    with pytest.raises(OrbitLensError):
        check_environment("Pendulum-v1", mirror, longer)


@pytest.mark.parametrize("name", NAMES)
def test_too_few_transitions_for_the_model_are_refused_with_how_many_it_takes(name: str) -> None:
    states, actions = reflection(name)
    with pytest.raises(
        OrbitLensError, match=f"at least {FEWEST[name]} transitions .* received 100"
    ):
        check_environment(name, states, actions, judge="model", n=100)


def test_other_spaces_are_refused() -> None:
    class Pictures(Plane):
        observation_space = gymnasium.spaces.Box(0, 1, (4, 4), np.float64)

    with pytest.raises(OrbitLensError, match=r"environment Pictures: .*Box of one axis"):
        check_environment(Pictures(), TURNS, TURNS)


def test_observations_that_are_not_finite_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="observations of Plane: .*2 finite numbers"):
        check_environment(Plane(wind=np.nan), TURNS, TURNS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judge": "step"}, "did you mean 'steps'"),
        ({"n": 3}, "`n`: expected at least 16"),
        ({"gamma": 1.0}, "0 <= gamma < 1"),
        ({"value_slope": -1.0}, "`value_slope`: expected at least 0"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_arguments_out_of_range_are_refused(
    change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        check_environment("Pendulum-v1", MIRROR, [[-1]], **change)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_verdict_does_not_depend_on_the_units_of_states_and_rewards(scale: float) -> None:
    class Scaled(Plane):
        def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
            return scale * super().reset(**options)[0], {}

        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            state, reward, *others = super().step(action)
            return scale * state, scale * reward, *others

    def set_state(env: Any, observation: np.ndarray) -> None:
        env.state = observation / scale

    found = [
        check_environment(Scaled(wind), *maps, n=16, set_state=set_state)
        for wind, maps in ((0.0, (FLIP, FLIP)), (0.03, (FLIP, FLIP)), (0.0, (FLIP, -FLIP)))
    ]
    assert [each.verdict for each in found] == ["symmetric", "nearly", "none"]


@pytest.mark.parametrize("size", [1e-6, 1.0])
def test_an_odd_reward_counts_however_small_it_is_or_large_its_constant(size: float) -> None:
    for constant in (0.0, 1e4 * size):
        env = Line(lambda x, action, c=constant: size * x + c)
        assert check_environment(env, FLIP, [[-1]], n=32).verdict == "none"


def test_a_map_that_misses_half_of_a_step_is_no_symmetry() -> None:
    states, actions = reflection("Pendulum-v1")
    # Torques are turned over while states stay: gravity, most of a step, stays too.
    turned = check_environment("Pendulum-v1", states[[0, 0]], actions, n=64)
    assert turned.wrong_maps["observations"] == pytest.approx(0.63, abs=0.06)
    shear = torch.tensor([[1.0, 0.5, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]]).double()
    sheared = check_environment("Pendulum-v1", shear @ states @ shear.inverse(), actions, n=64)
    assert (turned.verdict, sheared.verdict) == ("none", "none")


@pytest.mark.parametrize("judge", ["steps", "model"])
def test_nothing_is_clear_where_nothing_changes(judge: str) -> None:
    class Still(Line):
        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            return self.state, 1.0, False, False, {}

    n = 32 if judge == "steps" else 300
    for actions in ([[-1]], [[1]]):
        check = check_environment(Still(even), FLIP, actions, judge=judge, n=n)
        assert check.verdict == "unclear"
        assert (check.wrong_maps["better"], check.wrong_maps["centre"]) == (None, None)
        assert "since neither observations nor rewards change in a step" in check.sentence
        assert any("every map fits" in note for note in check.notes)


def blown(wind: float, n: int, seed: int) -> Any:
    """Return the check of the half turn of a plane with noise, which a model judges."""
    return check_environment(Plane(wind=wind, noise=0.1), FLIP, FLIP, n=n, seed=seed)


def test_noise_that_may_hide_a_bias_leaves_the_verdict_open() -> None:
    few = blown(0.0, 400, 0)
    assert few.verdict == "unclear"
    assert "since noise may hide an error of" in few.sentence
    assert any("give a larger `n`" in note for note in few.notes)
    assert all(blown(0.1, 400, seed).verdict != "symmetric" for seed in range(2))


def test_more_transitions_tell_a_bias_that_is_less_than_the_noise() -> None:
    # A wind of 0.05 moves g s' by 0.1, which is the noise.
    assert blown(0.05, 1600, 0).verdict in ("nearly", "none")


def test_a_wrapper_that_shows_more_than_a_known_environment_is_judged_by_a_model() -> None:
    env = gymnasium.wrappers.TimeAwareObservation(gymnasium.make("Pendulum-v1"))
    states, actions = reflection("Pendulum-v1")
    wider = torch.stack([torch.block_diag(each, torch.ones(1, 1).double()) for each in states])
    check = check_environment(env, wider, actions, n=500)
    assert (check.judged_by, check.visited_only) == ("model", True)
    assert "cannot be set from an observation" in check.notes[0]


def test_a_class_with_the_name_of_a_known_one_is_not_taken_for_it() -> None:
    pendulum = type("PendulumEnv", (Line,), {})(even)
    assert check_environment(pendulum, FLIP, [[-1]], n=32).verdict == "symmetric"
    with pytest.raises(OrbitLensError, match="received PendulumEnv"):
        reflection(pendulum)


@pytest.mark.parametrize("state", [[[1.0], [1.0, 2.0]], ("left",)])
def test_a_state_that_is_no_list_of_numbers_leaves_the_judgement_to_a_model(state: Any) -> None:
    class Hidden(Line):
        def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
            self.shown, self.state = super().reset(**options)[0], state
            return self.shown, {}

        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            self.state = self.shown
            found = super().step(action)
            self.shown, self.state = found[0], state
            return found

    assert check_environment(Hidden(even), FLIP, [[-1]], n=300).judged_by == "model"


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_setter_that_does_nothing_is_refused(name: str) -> None:
    with pytest.raises(OrbitLensError, match="`set_state`.*equal steps from different states"):
        check_environment(name, *reflection(name), set_state=lambda env, observation: None)


def test_maps_that_are_being_learned_are_read_as_they_are() -> None:
    states, actions = (each.clone().requires_grad_() for each in reflection("Pendulum-v1"))
    assert check_environment("Pendulum-v1", states, actions, n=16).verdict == "symmetric"


def test_a_package_that_an_environment_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(name: str) -> None:
        raise gymnasium.error.DependencyNotInstalled("Box2D is not installed")

    monkeypatch.setattr(gymnasium, "make", lacks)
    message = "environment LunarLander-v3: .*Box2D is not installed; install"
    with pytest.raises(OrbitLensError, match=message):
        check_environment("LunarLander-v3", np.eye(8), [0, 1, 2, 3])
