"""The bound on Q: theorems on decision processes with tables, and cases worked by hand."""

import jaxtyping
import numpy as np
import pytest
import torch

from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.check import check_mdp, q_bound

STATES, ACTIONS = 12, 4


def turned(order: int, size: int) -> np.ndarray:
    """Return every power of the permutation that turns blocks of `order` places."""
    blocks = np.arange(size) // order * order
    return np.stack([blocks + (np.arange(size) + k) % order for k in range(order)])


def process(seed: int, order: int, noise: float) -> tuple[np.ndarray, ...]:
    """Return a random process that is symmetric but for a share `noise`, and its maps."""
    generator = np.random.default_rng(seed)
    states, actions = turned(order, STATES), turned(order, ACTIONS)
    if ACTIONS % order:
        actions = np.tile(np.arange(ACTIONS), (order, 1))
    table = generator.dirichlet(np.full(STATES, 0.3), (STATES, ACTIONS))
    rewards = generator.normal(size=(STATES, ACTIONS))
    pairs = list(zip(states, actions, strict=True))
    even = np.mean([table[s][:, a][:, :, s] for s, a in pairs], axis=0)
    level = np.mean([rewards[s][:, a] for s, a in pairs], axis=0)
    mixed = noise * table + (1 - noise) * even, noise * rewards + (1 - noise) * level
    return *mixed, states, actions


def test_the_gap_of_q_is_within_the_bound_on_200_random_processes() -> None:
    shares = []
    for seed in range(200):
        order, noise = (2, 3, 4)[seed % 3], (0.05, 0.3, 1.0)[seed // 3 % 3]
        check = check_mdp(*process(seed, order, noise), gamma=0.9)
        assert check.gap <= check.bound
        shares.append(check.gap / check.bound)
    assert 0.05 < max(shares) < 1


@pytest.mark.parametrize("order", [2, 3, 4])
def test_a_symmetric_process_has_an_invariant_q(order: int) -> None:
    check = check_mdp(*process(7, order, 0.0))
    assert max(check.eps_r, check.eps_p, check.gap) < 1e-9
    assert check.bound < 1e-12 / (1 - 0.9)


def test_two_states_that_pay_0_and_1_for_ever_reach_the_bound() -> None:
    # V = 0 and 1 / (1 - 0.9) = 10.
    check = check_mdp([[[1, 0]], [[0, 1]]], [[0], [1]], [1, 0], [0], gamma=0.9)
    assert (check.eps_r, check.eps_p) == (1, 0)
    assert check.gap == pytest.approx(10)
    assert check.bound == pytest.approx(10)


def test_a_door_that_only_one_side_can_take() -> None:
    # State 0 goes to state 2, which pays 1 for ever: V = 9, 0, 10. State 1 stays.
    stay = [[[0, 0, 1]], [[0, 1, 0]], [[0, 0, 1]]]
    check = check_mdp(stay, [[0], [0], [1]], [[0, 1, 2], [1, 0, 2]], [[0], [0]], gamma=0.9)
    assert (check.eps_r, check.eps_p) == (0, 2)
    assert check.rho == pytest.approx(5)
    assert check.gap == pytest.approx(9)
    assert check.bound == pytest.approx(90)


def test_one_permutation_stands_for_its_powers() -> None:
    table, rewards, states, actions = process(3, 4, 0.5)
    assert check_mdp(table, rewards, states[1], actions[1]) == check_mdp(
        torch.from_numpy(table), rewards.tolist(), states, actions
    )


def test_the_bound_adds_what_rewards_and_transitions_do() -> None:
    assert q_bound(1, 0, 0.5, 3) == 2
    assert q_bound(0, 1, 0.5, 3) == 3
    assert q_bound(0.1, 2, 0.0, 3) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transitions": np.full((2, 1, 2), 0.4)}, "sum to 1.*state 0, action 0 that sums to 0.8"),
        ({"transitions": [[[2, -1]], [[0, 1]]]}, "probabilities"),
        ({"transitions": np.ones((2, 2))}, "`transitions`"),
        ({"rewards": [[0.0], [np.nan]]}, "`rewards`"),
        ({"rewards": [[0.0, 1.0]]}, "`rewards`"),
        ({"states": [0, 0]}, r"permutations of 0 to 1 .*\[1, 0\], received \[0, 0\]"),
        ({"states": [0, 2]}, "`states`"),
        ({"states": [[1, 0], [0, 1]], "actions": [[0], [0]]}, "identity.*as element 1"),
        ({"states": [[0, 1], [0, 1]], "actions": [[0], [0]]}, "elements 0 and 1 that are equal"),
        ({"states": [[0, 1], [1, 0]]}, "same elements"),
        ({"gamma": 1.0}, "0 <= gamma < 1"),
    ],
)
def test_bad_input_is_refused(change: dict[str, object], message: str) -> None:
    good = {
        "transitions": [[[1, 0]], [[0, 1]]],
        "rewards": [[0], [1]],
        "states": [1, 0],
        "actions": [0],
    }
    with pytest.raises(OrbitLensError, match=message):
        check_mdp(**{**good, **change})


def test_permutations_that_are_not_closed_are_refused() -> None:
    turn, stay = [1, 2, 0], [0, 1, 2]
    table = np.tile(np.eye(3)[:, None], (1, 1, 1))
    with pytest.raises(OrbitLensError, match="closure.*element 1 times element 1"):
        check_mdp(table, [[0], [0], [0]], [stay, turn], [[0], [0]])


@pytest.mark.parametrize("name", ["eps_r", "eps_p", "rho"])
def test_negative_errors_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    values = {"eps_r": 1, "eps_p": 1, "gamma": 0.9, "rho": 1}
    with pytest.raises(OrbitLensError, match=f"`{name}`: expected at least 0"):
        q_bound(**{**values, name: -1})
    with pytest.raises(OrbitLensError, match="a finite number"):
        q_bound(**{**values, name: "1"})


def test_rewards_whose_sums_overflow_are_refused() -> None:
    swap = [[[0, 1]], [[1, 0]]]
    with pytest.raises(OrbitLensError, match="`rewards`: expected rewards of at most 1e\\+296"):
        check_mdp(swap, [[-1e307], [1e307]], [1, 0], [0], gamma=0.99)
    large = check_mdp(swap, [[-1e200], [1e200]], [1, 0], [0], gamma=0.99)
    assert large.gap < large.bound < np.inf
