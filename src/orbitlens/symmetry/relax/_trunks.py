"""The layers that the networks of agents share: exact, relaxed or plain."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import nn

from orbitlens.checks import as_axes, as_count, check_kind
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.reps import Representation, check_multiplies
from orbitlens.symmetry.check._laws import (
    as_permutations,
    block_diagonal,
    group_of,
    unit_columns,
)
from orbitlens.symmetry.relax.relaxed import RelaxedGroupLinear, RelaxedLiftingLinear
from orbitlens.typing import Numbers, Tensor

AgentKind = Literal["exact", "relaxed", "plain"]
_KINDS = ("exact", "relaxed", "plain")


def as_kind(kind: str) -> bool:
    """Return whether a kind has the layers of a group, and refuse an unknown one."""
    if kind not in _KINDS:
        raise unknown_name("`kind`", str(kind), _KINDS)
    return kind != "plain"


def banks_of(kind: str, banks: int) -> int:
    """Return the number of filter banks L; plain layers have one."""
    number = as_count("banks", banks)
    return number if as_kind(kind) else 1


def trunk(states: Representation, widths: Sequence[int], kind: str, banks: int) -> nn.Sequential:
    """Return layers and ReLUs from states to functions on the group, or to plain units."""
    layers: list[nn.Module]
    pairs = pairwise([as_count("widths", each) for each in widths])
    if as_kind(kind):
        number, frozen = banks_of(kind, banks), kind == "exact"
        layers = [RelaxedLiftingLinear(states, widths[0], banks=number, frozen=frozen)]
        layers += [
            RelaxedGroupLinear(states.group, *pair, banks=number, frozen=frozen) for pair in pairs
        ]
    else:
        layers = [nn.Linear(states.dim, widths[0]), *(nn.Linear(*pair) for pair in pairs)]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))


def as_maps(states: object, actions: object) -> tuple[Representation, Representation]:
    """Return maps of states and of actions as representations of one group."""
    given = [isinstance(each, Representation) for each in (states, actions)]
    if all(given):
        return _of_one_group(states, actions)
    if any(given):
        name, other = ("actions", actions) if given[0] else ("states", states)
        check_kind(name, other, Representation, "give both as representations, or both as matrices")
    return _from_matrices(states, actions)


def _of_one_group(states: object, actions: object) -> tuple[Representation, Representation]:
    maps: list[Representation] = []
    for name, each in (("states", states), ("actions", actions)):
        check_multiplies(each, name)  # type: ignore[arg-type]
        maps.append(each)  # type: ignore[arg-type]
    if maps[0].group != maps[1].group:
        raise OrbitLensError(
            "`actions`",
            expected=f"a representation of {maps[0].group.name}, as that of states",
            received=f"one of {maps[1].group.name}",
            remedy="give the two representations of one symmetry",
        )
    return maps[0], maps[1]


def _from_matrices(states: Numbers, actions: Numbers) -> tuple[Representation, Representation]:
    """Return representations from one matrix, or permutation of actions, for each element."""
    on_states = as_axes("states", states, "group d d", dtype=torch.float64, least=1)
    if torch.as_tensor(actions).ndim == 3:
        on_actions: Tensor = as_axes("actions", actions, "group m m", dtype=torch.float64, least=1)
    else:
        size = torch.as_tensor(actions).shape[-1]
        on_actions = unit_columns(as_permutations("actions", actions, size))
    group, both, _ = group_of(block_diagonal(on_states, on_actions), generated=False)
    dim = on_states.shape[-1]
    return (
        Representation(group, both[:, :dim, :dim], "states"),
        Representation(group, both[:, dim:, dim:], "actions"),
    )
