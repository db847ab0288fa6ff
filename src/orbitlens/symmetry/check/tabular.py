"""The bound on Q of an almost symmetric decision process, and its test on processes with tables.

Source: Park et al., Approximate Equivariance in Reinforcement Learning, arXiv 2411.04225. An MDP is
(G, eps_R, eps_P)-invariant if |R(s, a) - R(gs, ga)| <= eps_R and the distributions of g s' after
(s, a) and of the next state after (gs, ga) are at most eps_P apart.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int

from orbitlens.checks import as_axes
from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.check._laws import (
    as_permutations,
    block_diagonal,
    group_of,
    unit_columns,
)
from orbitlens.symmetry.check._numbers import as_discount, as_size
from orbitlens.typing import Numbers, Tensor

_ROUNDING = 1e-6  # of the sum of a row of probabilities
_MOST = 1e300  # of sums of rewards
_EQUAL = 1e-12  # of values, by which actions are as good as each other


@dataclass(frozen=True)
class TabularCheck:
    """How far a decision process with tables is from a symmetry, and what follows for Q.

    Args:
        eps_r: Largest |R(s, a) - R(gs, ga)|.
        eps_p: Largest sum over s' of |P(gs'|gs, ga) - P(s'|s, a)|, at most 2.
        gamma: The discount.
        rho: (max V* - min V*) / 2, the largest change of the mean of V* by unit of eps_p.
        gap: Largest |Q*(s, a) - Q*(gs, ga)|.
        bound: What `q_bound` allows for it.
    """

    eps_r: float
    eps_p: float
    gamma: float
    rho: float
    gap: float
    bound: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a JSON-ready record."""
        return asdict(self)


def q_bound(eps_r: float | int, eps_p: float | int, gamma: float, rho: float | int) -> float:
    """Return how far Q* may be from invariant under a map that is almost a symmetry.

        |Q*(s, a) - Q*(gs, ga)| <= (eps_R + gamma rho_F(V*) eps_P) / (1 - gamma)

    Source: Park et al., arXiv 2411.04225. The two Bellman equations differ by eps_R, by gamma times
    the same gap, and by gamma times what eps_P does to the mean of V* at the next state.

    Args:
        eps_r: Largest difference of rewards, 0 or more.
        eps_p: Largest distance of the distributions of the next state, 0 or more, in any integral
            probability metric.
        gamma: The discount, 0 <= gamma < 1.
        rho: rho_F(V*), 0 or more, in the same metric: (max V* - min V*) / 2 for the sum of
            absolute differences of probabilities; the slope of V* (its Lipschitz constant) for
            Wasserstein-1.

    Returns:
        The bound.

    Raises:
        OrbitLensError: If an argument is out of range.

    Example:
        >>> round(q_bound(eps_r=0.1, eps_p=0.2, gamma=0.9, rho=1.0), 6)
        2.8
    """
    eps_r, eps_p, rho = as_size("eps_r", eps_r), as_size("eps_p", eps_p), as_size("rho", rho)
    gamma = as_discount(gamma)
    return (eps_r + gamma * rho * eps_p) / (1 - gamma)


def check_mdp(
    transitions: Numbers,
    rewards: Numbers,
    states: Numbers,
    actions: Numbers,
    gamma: float = 0.9,
) -> TabularCheck:
    """Measure how far a process with tables is from a symmetry, and hold its Q to the bound.

        eps_R = max |R(s, a) - R(gs, ga)|
        eps_P = max sum_s' |P(gs'|gs, ga) - P(s'|s, a)|

    Source: Park et al., arXiv 2411.04225, with the distance of distributions in L1.

    Args:
        transitions: P(s'|s, a) as `transitions[s, a, s']`, shape [S, A, S]; rows sum to 1.
        rewards: R(s, a), shape [S, A].
        states: gs as `states[g, s]`, shape [|G|, S], element 0 the identity; or one permutation
            [S], which generates a cyclic group.
        actions: ga as `actions[g, a]`, shape [|G|, A]; or one permutation [A].
        gamma: The discount, 0 <= gamma < 1; default 0.9.

    Returns:
        The figures.

    Raises:
        OrbitLensError: If shapes do not fit, if rows are no distributions, if sums of rewards are
            not finite, or if the two maps together are no group.

    Example:
        >>> check = check_mdp([[[0, 1]], [[1, 0]]], [[0.0], [1.0]], [1, 0], [0], gamma=0.5)
        >>> check.eps_r, check.eps_p, round(check.gap, 6), round(check.bound, 6)
        (1.0, 0.0, 0.666667, 2.0)
    """
    table = as_axes("transitions", transitions, "S A S", dtype=torch.float64, least=1)
    n, m = table.shape[:2]
    sizes = {"S": n, "A": m}
    payoff = as_axes("rewards", rewards, "S A", dtype=torch.float64, sizes=sizes)
    gamma = as_discount(gamma)
    _check_rows(table)
    where, which = _permutations(states, actions, n, m)
    eps_r = eps_p = gap = 0.0
    _check_sums(payoff, gamma)
    q = _optimal_q(table, payoff, gamma)
    for moved, swapped in zip(where, which, strict=True):
        pairs = (moved[:, None], swapped[None, :])
        eps_r = max(eps_r, _largest(payoff - payoff[pairs]))
        change = table - table[pairs][:, :, moved]
        eps_p = max(eps_p, float(change.abs().sum(-1).max()))
        gap = max(gap, _largest(q - q[pairs]))
    value = q.max(1).values
    rho = float(value.max() - value.min()) / 2
    return TabularCheck(eps_r, eps_p, gamma, rho, gap, q_bound(eps_r, eps_p, gamma, rho))


def _check_rows(table: Float[Tensor, "S A S"]) -> None:
    wrong = (table < 0).any(-1) | ((table.sum(-1) - 1).abs() > _ROUNDING)
    if bool(wrong.any()):
        s, a = wrong.nonzero()[0].tolist()
        raise OrbitLensError(
            "`transitions`",
            expected="probabilities, which sum to 1 over the next states",
            received=f"a row for state {s}, action {a} that sums to {float(table[s, a].sum()):.6g}",
            remedy="divide each row by its sum",
        )


def _check_sums(payoff: Float[Tensor, "S A"], gamma: float) -> None:
    most = _largest(payoff)
    # Differences of returns are summed over time once more by the bound.
    if most > _MOST * (1 - gamma) ** 2:
        raise OrbitLensError(
            "`rewards`",
            expected=f"rewards of at most {_MOST * (1 - gamma) ** 2:.3g} for this gamma, so that "
            "their sums over time stay finite",
            received=most,
            remedy="divide them by a number: Q* and the bound scale with them",
        )


def _permutations(
    states: Numbers, actions: Numbers, n: int, m: int
) -> tuple[Int[Tensor, "group S"], Int[Tensor, "group A"]]:
    """Return where each element sends states and actions, once both are one group together."""
    where, which = as_permutations("states", states, n), as_permutations("actions", actions, m)
    joint = block_diagonal(unit_columns(where), unit_columns(which))
    _, matrices, _ = group_of(joint, generated=where.ndim == 1)
    moved = matrices.argmax(1)
    return moved[:, :n], moved[:, n:] - n


def _optimal_q(
    table: Float[Tensor, "S A S"], payoff: Float[Tensor, "S A"], gamma: float
) -> Float[Tensor, "S A"]:
    """Return Q* by policy iteration, which solves for the values of each policy exactly."""
    everyone = torch.arange(len(table))
    policy = payoff.argmax(1)
    while True:
        evaluation = torch.eye(len(table)).double() - gamma * table[everyone, policy]
        value = torch.linalg.solve(evaluation, payoff[everyone, policy])
        q = payoff + gamma * table @ value
        # An action that is better by rounding alone could change for ever.
        better = q.max(1).values - q[everyone, policy] > _EQUAL * (1 + value.abs().max())
        if not bool(better.any()):
            return q
        policy = torch.where(better, q.argmax(1), policy)


def _largest(values: Tensor) -> float:
    return float(values.abs().max())
