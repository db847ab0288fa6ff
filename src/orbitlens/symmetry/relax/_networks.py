"""The networks of agents: values of discrete actions, actors and critics."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.errors import OrbitLensError
from orbitlens.models import keeps_settings
from orbitlens.reps import Representation, direct_sum
from orbitlens.symmetry.relax._scaling import Scaling
from orbitlens.symmetry.relax._trunks import AgentKind, as_kind, as_maps, banks_of, trunk
from orbitlens.symmetry.relax.heads import (
    ActionSpread,
    InvariantHead,
    PermutedActionsHead,
    VectorActionsHead,
)
from orbitlens.symmetry.relax.squash import Squash
from orbitlens.typing import Numbers

_LOG_STD = (-20.0, 2.0)  # bounds in the code of Haarnoja et al. 2018, arXiv 1812.05905
_SMALL = 0.1  # factor of the first weights of the last layer, so that values begin near 0


@final
@keeps_settings
class QNetwork(nn.Module):
    """Values Q(s, a) of discrete actions that the group permutes.

    Args:
        states: rho_S.
        actions: rho_A, permutation matrices; see reps.permutation.
        widths: Features of each hidden layer, |G| values each; of a plain network, its units.
        kind: "exact", "relaxed" or "plain"; default "relaxed".
        banks: Filter banks L; default 2. An exact network needs no more than 1.
        centre: Centre of the observations, which rho_S must keep; default 0.
        scale: Scales of the observations, likewise; default 1.

    Raises:
        OrbitLensError: If a map is no representation, if an action is not moved to an action, or if
            centre or scale would break the symmetry.

    Example:
        >>> from orbitlens.reps import irreps, regular
        >>> network = QNetwork(irreps("C4")[-1], regular("C4"), [8, 8])
        >>> network(torch.rand(5, 2)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        states: Representation,
        actions: Representation,
        widths: Sequence[int],
        *,
        kind: AgentKind = "relaxed",
        banks: int = 2,
        centre: Numbers | None = None,
        scale: Numbers | None = None,
    ) -> None:
        super().__init__()
        self.on_states, self.on_actions = as_maps(states, actions)
        self.kind, self.widths = kind, tuple(widths)
        number, frozen = banks_of(kind, banks), kind == "exact"
        # Also plain networks are for actions that the group permutes.
        head = PermutedActionsHead(self.on_actions, widths[-1], banks=number, frozen=frozen)
        self.scaling = Scaling(self.on_states, centre, scale)
        self.trunk = trunk(self.on_states, widths, kind, banks)
        self.head = head if as_kind(kind) else nn.Linear(widths[-1], self.on_actions.dim)
        _shrink(self.head)

    def forward(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch actions"]:
        """Return the value of each action, [..., actions]."""
        values: Tensor = self.head(self.trunk(self.scaling(states)))
        return values


@final
@keeps_settings
class Actor(nn.Module):
    """A normal distribution of vectors, to be squashed within bounds, for each state.

        a = squash(u),   u ~ N(mean(s), std(s)^2)

    Args:
        states: rho_S.
        actions: rho_A, orthogonal matrices.
        widths: Features of each hidden layer, |G| values each; of a plain network, its units.
        kind: "exact", "relaxed" or "plain"; default "relaxed".
        banks: Filter banks L; default 2. An exact network needs no more than 1.
        centre: Centre of the observations, which rho_S must keep; default 0.
        scale: Scales of the observations, likewise; default 1.
        low: Lower bounds of the actions; see `Squash`.
        high: Upper bounds of the actions.
        radius: Largest length of an action, for matrices that are no signed permutations.

    Raises:
        OrbitLensError: If a map is no representation, if rho_A does not keep the bounds, or if
            centre or scale would break the symmetry.

    Example:
        >>> from orbitlens.symmetry.check import reflection
        >>> from orbitlens.symmetry.relax.agents import maps_of_agent
        >>> network = Actor(*maps_of_agent(*reflection("Pendulum-v1")), [8, 8], low=-2, high=2)
        >>> actions, log_density = network.draw(torch.rand(5, 3))
        >>> actions.shape, log_density.shape
        (torch.Size([5, 1]), torch.Size([5]))
    """

    def __init__(
        self,
        states: Representation,
        actions: Representation,
        widths: Sequence[int],
        *,
        kind: AgentKind = "relaxed",
        banks: int = 2,
        centre: Numbers | None = None,
        scale: Numbers | None = None,
        low: Numbers | None = None,
        high: Numbers | None = None,
        radius: float | None = None,
    ) -> None:
        super().__init__()
        self.on_states, self.on_actions = as_maps(states, actions)
        self.kind, self.widths = kind, tuple(widths)
        self.squash = Squash(self.on_actions, low=low, high=high, radius=radius)
        self.scaling = Scaling(self.on_states, centre, scale)
        self.trunk = trunk(self.on_states, widths, kind, banks)
        number, frozen = banks_of(kind, banks), kind == "exact"
        self.head: nn.Module = (
            VectorActionsHead(self.on_actions, widths[-1], banks=number, frozen=frozen)
            if as_kind(kind)
            else nn.Linear(widths[-1], 2 * self.on_actions.dim)
        )
        _shrink(self.head)

    def forward(self, states: Float[Tensor, "*batch dim"]) -> ActionSpread:
        """Return mean and logarithm of the standard deviation of u, [..., m] each."""
        found = self.head(self.trunk(self.scaling(states)))
        mean, log_std = found if as_kind(self.kind) else found.chunk(2, dim=-1)
        return ActionSpread(mean, log_std.clamp(*_LOG_STD))

    def draw(
        self, states: Float[Tensor, "*batch dim"]
    ) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch"]]:
        """Return actions drawn at random, and the logarithms of their densities."""
        mean, log_std = self.forward(states)
        normal = torch.distributions.Normal(mean, log_std.exp())
        u = normal.rsample()
        return self.squash(u), normal.log_prob(u).sum(-1) - self.squash.log_det(u)

    def best(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch m"]:
        """Return the actions of the means, squash(mean(s))."""
        actions: Tensor = self.squash(self.forward(states).mean)
        return actions


@final
@keeps_settings
class Critic(nn.Module):
    """The value Q(s, a) of a state and a vector, which are lifted together.

    Args:
        states: rho_S.
        actions: rho_A.
        widths: Features of each hidden layer, |G| values each; of a plain network, its units.
        kind: "exact", "relaxed" or "plain"; default "relaxed".
        banks: Filter banks L; default 2. An exact network needs no more than 1.
        centre: Centre of the observations, which rho_S must keep; default 0.
        scale: Scales of the observations, likewise; default 1.

    Raises:
        OrbitLensError: As `Actor`.

    Example:
        >>> from orbitlens.symmetry.check import reflection
        >>> from orbitlens.symmetry.relax.agents import maps_of_agent
        >>> network = Critic(*maps_of_agent(*reflection("Pendulum-v1")), [8, 8])
        >>> network(torch.rand(5, 3), torch.rand(5, 1)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        states: Representation,
        actions: Representation,
        widths: Sequence[int],
        *,
        kind: AgentKind = "relaxed",
        banks: int = 2,
        centre: Numbers | None = None,
        scale: Numbers | None = None,
    ) -> None:
        super().__init__()
        self.on_states, self.on_actions = as_maps(states, actions)
        self.kind, self.widths = kind, tuple(widths)
        self.scaling = Scaling(self.on_states, centre, scale)
        self.trunk = trunk(direct_sum(self.on_states, self.on_actions), widths, kind, banks)
        number, frozen = banks_of(kind, banks), kind == "exact"
        self.head: nn.Module = (
            InvariantHead(self.on_states.group, widths[-1], banks=number, frozen=frozen)
            if as_kind(kind)
            else nn.Linear(widths[-1], 1)
        )
        _shrink(self.head)

    def forward(
        self, states: Float[Tensor, "*batch dim"], actions: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch"]:
        """Return the values, [...]."""
        scaled = self.scaling(states)
        if actions.shape != (*scaled.shape[:-1], self.on_actions.dim):
            raise OrbitLensError(
                "`actions`",
                expected=f"{self.on_actions.dim} numbers for each state, as many as rho_A moves",
                received=f"shape {list(actions.shape)} for states of shape {list(states.shape)}",
                remedy="give one action of the environment for each state",
            )
        values: Tensor = self.head(self.trunk(torch.cat([scaled, actions], dim=-1)))
        return values.squeeze(-1)


@torch.no_grad()
def _shrink(head: nn.Module) -> None:
    """Let values begin near 0, so that the first targets are rewards."""
    layer = head if isinstance(head, nn.Linear) else head.layer
    (layer.weight if isinstance(layer, nn.Linear) else layer.filters).mul_(_SMALL)  # type: ignore[union-attr, operator]
