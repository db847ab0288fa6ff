"""A gate on the symmetric backup: the symmetry is used where it holds, and nowhere else.

    (T Q)(s, a) = (1 - lambda(s, a)) (T_E Q)(s, a) + lambda(s, a) (T_N Q)(s, a)

T_E is the backup of the process averaged over the group, T_N that of the process as it is, and the
gate lambda is 1 where rewards or transitions break the symmetry. Under T_E alone a break at one
place spreads to all states that lead there, by up to 1 / (1 - gamma).

Both backups are of any Q: best values may be asymmetric where rewards and transitions are not. So
the gate is on the data here: a transition is moved by a random element where the gate is closed,
and any network learns from it.

Source: Chang et al. 2025, arXiv 2512.00915, *Partially Equivariant Reinforcement Learning in
Symmetry-Breaking Environments*: the backup, and a gate that is learned from one-step predictions
which disagree. It gates an exact and a plain network side by side; the gate on the data is ours, as
are labels, thresholds and sizes, for its own were out of reach.
"""

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from orbitlens.checks import as_number
from orbitlens.errors import out_of_range
from orbitlens.reps import Representation, direct_sum, irreps
from orbitlens.symmetry.relax._replay import Transitions
from orbitlens.symmetry.relax._trunks import as_maps, trunk
from orbitlens.symmetry.relax.heads import VectorActionsHead

_WIDTHS = (24, 24)  # features of the exact predictor; as many values in the plain networks
_CLOSED = -2.0  # logit of the gate at first, so that it begins symmetric
_MEMORY = 0.99  # of the scales of rewards and changes

__all__ = ["SymmetryGate"]


@final
class SymmetryGate(nn.Module):
    """Says where a process breaks a symmetry, from one-step predictions that disagree.

        d(s, a) = |r_N - r_E| / r_rms + |c_N - c_E| / c_rms,    label 1 where d > threshold

    Two networks predict reward r and change of state c = s' - s: E is exactly equivariant, N plain.
    Where the symmetry is broken, E can learn no more than the mean over the group. The gate learns
    the labels by logistic regression, as a plain network of the state with a value for each action.

    Args:
        states: rho_S.
        actions: rho_A, permutation matrices.
        threshold: From where on predictions disagree, above 0; default 0.5, half the root mean
            square of rewards, or of changes.

    Raises:
        OrbitLensError: If a map is no representation, or the threshold is out of range.

    Example:
        >>> from orbitlens.reps import irreps, regular
        >>> SymmetryGate(irreps("C4")[-1], regular("C4"))(torch.rand(5, 2)).sum().item()
        0.0
    """

    scales: Tensor

    def __init__(
        self, states: Representation, actions: Representation, *, threshold: float = 0.5
    ) -> None:
        super().__init__()
        self.on_states, self.on_actions = as_maps(states, actions)
        self.threshold = float(as_number("threshold", threshold, "above 0"))
        if self.threshold <= 0:
            raise out_of_range("threshold", "above 0", threshold)
        joint = direct_sum(self.on_states, self.on_actions)
        predicted = direct_sum(irreps(joint.group)[0], self.on_states)
        units = [each * joint.group.order for each in _WIDTHS]
        self.exact = nn.Sequential(
            trunk(joint, _WIDTHS, "exact", 1),
            VectorActionsHead(predicted, _WIDTHS[-1], banks=1, frozen=True),
        )
        self.plain = nn.Sequential(
            trunk(joint, units, "plain", 1), nn.Linear(units[-1], predicted.dim)
        )
        last = nn.Linear(units[-1], self.on_actions.dim)
        self.gate = nn.Sequential(trunk(self.on_states, units, "plain", 1), last)
        with torch.no_grad():
            last.weight.zero_()
            last.bias.fill_(_CLOSED)
        self.register_buffer("scales", torch.zeros(2))

    def forward(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch actions"]:
        """Return lambda(s, a) for each action: 1 where the symmetry is broken, else 0."""
        return (self.gate(states) > 0).to(states)

    def disagreement(
        self, states: Float[Tensor, "batch dim"], actions: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """Return d(s, a), without gradients."""
        with torch.no_grad():
            return self._apart(*self._predictions(states, actions))

    def observe(self, found: Transitions) -> None:
        """Take the scales of rewards and changes from a batch into the running ones."""
        changes = found.following - found.states
        squares = torch.stack([found.rewards.square().mean(), changes.square().sum(-1).mean()])
        kept = _MEMORY if bool(self.scales.any()) else 0.0
        self.scales.copy_(kept * self.scales + (1 - kept) * squares)

    def loss(self, found: Transitions) -> Float[Tensor, ""]:
        """Return the errors of both predictions, and the logistic loss of the gate."""
        exact, plain = self._predictions(found.states, found.actions)
        rewards, changes = self._units(exact)
        true = torch.cat(
            [found.rewards[:, None] / rewards, (found.following - found.states) / changes], 1
        )
        misses = (exact - true).square().sum(-1) + (plain - true).square().sum(-1)
        labels = self._apart(exact.detach(), plain.detach()) > self.threshold
        logits = self.gate(found.states).gather(1, found.actions[:, None]).squeeze(1)
        return misses.mean() + binary_cross_entropy_with_logits(logits, labels.to(logits))

    def _predictions(
        self, states: Float[Tensor, "batch dim"], actions: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch out"], Float[Tensor, "batch out"]]:
        """Return reward and change in units of their scales, of the exact and the plain network."""
        joint = torch.cat([states, one_hot(actions, self.on_actions.dim).to(states)], 1)
        return self.exact(joint).mean, self.plain(joint)

    def _units(self, like: Tensor) -> tuple[Tensor, Tensor]:
        rewards, changes = self.scales.sqrt().clamp_min(torch.finfo(like.dtype).tiny).to(like)
        return rewards, changes

    @staticmethod
    def _apart(
        exact: Float[Tensor, "batch out"], plain: Float[Tensor, "batch out"]
    ) -> Float[Tensor, " batch"]:
        gap = exact - plain
        return gap[:, 0].abs() + gap[:, 1:].norm(dim=-1)
