"""Many SAEs of equal shapes as one: every tensor gets a leading axis, the member.

A small SAE spends its time on starting operations, not on arithmetic. Every part of an SAE works on
the last axes of its tensors, so a stack of members is an SAE whose parameters have one more axis.
It starts each operation once for all members.
"""

import copy
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import nn

from orbitlens.errors import OrbitLensError
from orbitlens.sae import SAE


def stack_key(sae: SAE) -> tuple[Any, ...]:
    """Return parts, settings, shapes and trained tensors, equal for SAEs that can be stacked."""
    parts = tuple((name, type(module), _settings(module)) for name, module in sae.named_modules())
    tensors = tuple(
        (name, tuple(tensor.shape), tensor.dtype, tensor.device)
        for name, tensor in sae.state_dict().items()
    )
    trained = tuple(name for name, tensor in sae.named_parameters() if tensor.requires_grad)
    return parts, tensors, trained


def _settings(module: nn.Module) -> tuple[tuple[str, Any], ...]:
    """Return the attributes besides tensors and parts; those without a hash by identity."""
    return tuple(
        (name, value if isinstance(value, Hashable) else id(value))
        for name, value in sorted(vars(module).items())
        if not name.startswith("_") and name != "training"
    )


def stack_saes(members: Sequence[SAE]) -> SAE:
    """Build an SAE of copies of the members' tensors, for activations [member, batch, dim]."""
    if len({stack_key(member) for member in members}) != 1:
        raise OrbitLensError(
            "`members`",
            expected="at least one SAE, all with equal parts, settings and shapes",
            received=f"{len(members)} of {len({stack_key(member) for member in members})} kinds",
            remedy="stack SAEs that differ only in their weights",
        )
    stack = copy.deepcopy(members[0])
    states = [dict([*m.named_parameters(), *m.named_buffers()]) for m in members]
    for name, first in states[0].items():
        tensor = torch.stack([state[name].detach() for state in states])
        if isinstance(first, nn.Parameter):
            tensor = nn.Parameter(tensor, requires_grad=first.requires_grad)
        owner, _, leaf = name.rpartition(".")
        setattr(stack.get_submodule(owner), leaf, tensor)
    return stack


@torch.no_grad()
def unstack_(stack: SAE, members: Sequence[SAE]) -> None:
    """Copy the slices of a stack to its members, in the order in which they were stacked."""
    stacked = stack.state_dict()
    for index, member in enumerate(members):
        for name, tensor in member.state_dict().items():
            tensor.copy_(stacked[name][index])
    hand_out_buffers(stack, members)


def hand_out_buffers(stack: SAE, members: Sequence[SAE]) -> None:
    """Give members their slices of all buffers of a stack, also of those that files leave out."""
    for name, stacked in stack.named_buffers():
        owner, _, leaf = name.rpartition(".")
        for member, own in zip(members, stacked, strict=True):
            # A new tensor, since a module may cache facts about the old one.
            setattr(member.get_submodule(owner), leaf, own.clone())
