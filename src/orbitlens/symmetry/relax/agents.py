"""Networks of agents that start exactly symmetric: values of actions, actors and critics.

    QNetwork   values of discrete actions,         Q(gs, ga) = Q(s, a)
    Actor      a distribution of vectors,          pi(ga | gs) = pi(a | s)
    Critic     values of states and vectors,       Q(gs, ga) = Q(s, a)

Each comes in three kinds that learn equally many numbers. "exact" keeps the symmetry for ever,
"relaxed" keeps it at first and can leave it in every layer, "plain" knows nothing of it.

Source: Park, Bhatt, Zeng, Wong, Koppel, Ganesh & Walters 2025, arXiv 2411.04225, *Approximate
Equivariance in Reinforcement Learning*. Which layers it relaxes, and its sizes, are not public;
here all are relaxed, heads included.
"""

from functools import partial

from torch import nn

from orbitlens.checks import check_kind
from orbitlens.reps import Representation
from orbitlens.symmetry.relax._budget import fitted_widths, learned_numbers
from orbitlens.symmetry.relax._networks import Actor, Critic, QNetwork
from orbitlens.symmetry.relax._signed import are_signed_permutations
from orbitlens.symmetry.relax._trunks import AgentKind, as_kind, as_maps, banks_of
from orbitlens.typing import Numbers

__all__ = [
    "Actor",
    "AgentKind",
    "Critic",
    "QNetwork",
    "actor",
    "critic",
    "learned_parameters",
    "maps_of_agent",
    "q_network",
]


def maps_of_agent(states: object, actions: object) -> tuple[Representation, Representation]:
    """Return maps of states and actions as representations of one group.

    Args:
        states: rho_S, as a representation or as matrices, shape [|G|, d, d], the identity first.
        actions: rho_A, likewise; or permutations of discrete actions, shape [|G|, n], that say
            where each action goes. `symmetry.check.reflection` gives both for known environments.

    Returns:
        The two representations.

    Raises:
        OrbitLensError: If the maps together are no group, or of different groups.

    Example:
        >>> from orbitlens.symmetry.check import reflection
        >>> states, actions = maps_of_agent(*reflection("CartPole-v1"))
        >>> states.group.name, states.dim, actions.matrices[1].tolist()
        ('C2', 4, [[0.0, 1.0], [1.0, 0.0]])
    """
    return as_maps(states, actions)


def q_network(
    states: object,
    actions: object,
    *,
    kind: AgentKind,
    parameters: int,
    banks: int = 2,
    layers: int = 3,
    centre: Numbers | None = None,
    scale: Numbers | None = None,
) -> QNetwork:
    """Return a `QNetwork` that learns a given number of parameters, up to 5%.

    Args:
        states: rho_S, see `maps_of_agent`.
        actions: rho_A, by permutations.
        kind: "exact", "relaxed" or "plain".
        parameters: How many numbers it shall learn; `learned_parameters` says how many it does.
        banks: Filter banks L; default 2. An exact network needs no more than 1.
        layers: Hidden layers; default 3.
        centre: Centre of the observations; default 0.
        scale: Scales of the observations; default 1.

    Returns:
        The network, whose hidden layers have equal widths up to 1.

    Raises:
        OrbitLensError: As `QNetwork`, or if no width meets the budget.

    Example:
        >>> from orbitlens.reps import irreps, regular
        >>> maps = irreps("C4")[-1], regular("C4")
        >>> networks = [
        ...     q_network(*maps, kind=kind, banks=1, parameters=4800) for kind in ("exact", "plain")
        ... ]
        >>> [(each.widths, learned_parameters(each)) for each in networks]
        [((24, 24, 24), 4825), ((47, 47, 46), 4793)]
    """
    maps = as_maps(states, actions)
    images = maps[1].matrices.argmax(1)
    orbits = len({tuple(sorted(set(images[:, a].tolist()))) for a in range(maps[1].dim)})
    outputs = (orbits, maps[1].dim)
    widths = _widths(maps[0], maps[0].dim, outputs, kind, banks, parameters, layers)
    return QNetwork(*maps, widths, kind=kind, banks=banks, centre=centre, scale=scale)


def actor(
    states: object,
    actions: object,
    *,
    kind: AgentKind,
    parameters: int,
    banks: int = 2,
    layers: int = 2,
    centre: Numbers | None = None,
    scale: Numbers | None = None,
    low: Numbers | None = None,
    high: Numbers | None = None,
    radius: float | None = None,
) -> Actor:
    """Return an `Actor` that learns a given number of parameters, up to 5%.

    Args:
        states: rho_S, see `maps_of_agent`.
        actions: rho_A.
        kind: "exact", "relaxed" or "plain".
        parameters: How many numbers it shall learn.
        banks: Filter banks L; default 2. An exact network needs no more than 1.
        layers: Hidden layers; default 2.
        centre: Centre of the observations; default 0.
        scale: Scales of the observations; default 1.
        low: Lower bounds of the actions.
        high: Upper bounds of the actions.
        radius: Largest length of an action.

    Raises:
        OrbitLensError: As `Actor`, or if no width meets the budget.
    """
    maps = as_maps(states, actions)
    spreads = maps[1].dim if are_signed_permutations(maps[1]) else 1
    outputs = (maps[1].dim + spreads, 2 * maps[1].dim)
    return Actor(
        *maps,
        _widths(maps[0], maps[0].dim, outputs, kind, banks, parameters, layers),
        kind=kind,
        banks=banks,
        centre=centre,
        scale=scale,
        low=low,
        high=high,
        radius=radius,
    )


def critic(
    states: object,
    actions: object,
    *,
    kind: AgentKind,
    parameters: int,
    banks: int = 2,
    layers: int = 2,
    centre: Numbers | None = None,
    scale: Numbers | None = None,
) -> Critic:
    """Return a `Critic` that learns a given number of parameters, up to 5%; see `actor`."""
    maps = as_maps(states, actions)
    dim = maps[0].dim + maps[1].dim
    widths = _widths(maps[0], dim, (1, 1), kind, banks, parameters, layers)
    return Critic(*maps, widths, kind=kind, banks=banks, centre=centre, scale=scale)


def learned_parameters(network: nn.Module) -> int:
    """Return how many numbers a network learns; frozen relaxation weights are none of them."""
    check_kind("network", network, nn.Module, "give the network that is trained")
    return sum(each.numel() for each in network.parameters() if each.requires_grad)


def _widths(
    states: Representation,
    dim: int,
    outputs: tuple[int, int],
    kind: AgentKind,
    banks: int,
    parameters: int,
    layers: int,
) -> tuple[int, ...]:
    """Return widths that meet a budget; `outputs`: of a head on the group, of a plain one."""
    of_group = as_kind(kind)
    count = partial(
        learned_numbers,
        dim,
        outputs=outputs[0] if of_group else outputs[1],
        order=states.group.order if of_group else 1,
        banks=banks_of(kind, banks),
        frozen=kind != "relaxed",
    )
    return fitted_widths(count, parameters, layers)
