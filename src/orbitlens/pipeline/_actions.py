"""Actions by their names: those that settings name, and those that a store was harvested with."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from orbitlens import actions, groups
from orbitlens.actions import Action
from orbitlens.data import array_shape
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.pipeline._given_source import is_array_source
from orbitlens.pipeline.config import RunConfig


def action_by_name(name: str, group: Group, settings: Mapping[str, Any]) -> Action:
    """Build an action of `orbitlens.actions` from its name, as in `Action.name` and `.config`.

    Raises:
        OrbitLensError: If the group has no such action.
    """
    if name == "reverse_complement":
        if group != groups.cyclic(2):
            raise OrbitLensError(
                "`group` of reverse_complement",
                expected="C2, the two strands",
                received=group.name,
                remedy="leave it out, or give C2",
            )
        return actions.reverse_complement()
    build: Callable[..., Action] = getattr(actions, name)
    return build(group, **settings)


def action_of(config: RunConfig, group: str) -> Action:
    """Build the action that settings name, of a group; inputs in a file are checked by shape.

    Raises:
        OrbitLensError: If the group has no such action, or cannot move inputs of this shape.
    """
    settings: dict[str, Any] = {}
    if config.action == "images":
        settings = {"interpolation": config.interpolation}
    elif config.action == "points":
        settings = {"axis": config.axis, "centred": config.centred}
    action = action_by_name(config.action, groups.from_name(group), settings)
    if is_array_source(config.source):
        action.check(torch.empty(1, *array_shape(config.source)[1:]))
    return action
