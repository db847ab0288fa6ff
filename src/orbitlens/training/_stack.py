"""Many SAEs of equal shapes as one: every tensor gets a leading axis, the member.

A small SAE is bound by the cost of starting an operation, not by its arithmetic. Every part of an
SAE computes on the last axes of its tensors, so a stack of members is an SAE whose parameters have
one more axis, and it starts each operation once for all of them.
"""

import copy
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import nn

from orbitlens.errors import OrbitLensError
from orbitlens.sae import SAE


def stack_key(sae: SAE) -> tuple[Any, ...]:
    """Return what SAEs must share to be stacked: parts, settings, shapes, what is trained.

    Args:
        sae: The SAE.

    Returns:
        A value that is equal for two SAEs if and only if they can be stacked.

    Example:
        >>> from orbitlens.sae import topk_sae
        >>> first, second = (topk_sae(4, 8, 2, seed=seed) for seed in (0, 1))
        >>> stack_key(first) == stack_key(second), stack_key(first) == stack_key(topk_sae(4, 8, 3))
        (True, False)
    """
    parts = tuple((name, type(module), _settings(module)) for name, module in sae.named_modules())
    tensors = tuple(
        (name, tuple(tensor.shape), tensor.dtype, tensor.device)
        for name, tensor in sae.state_dict().items()
    )
    trained = tuple(name for name, tensor in sae.named_parameters() if tensor.requires_grad)
    return parts, tensors, trained


def _settings(module: nn.Module) -> tuple[tuple[str, Any], ...]:
    """What a module was built with, besides tensors and parts; what has no hash, by identity."""
    return tuple(
        (name, value if isinstance(value, Hashable) else id(value))
        for name, value in sorted(vars(module).items())
        if not name.startswith("_") and name != "training"
    )


def stack_saes(members: Sequence[SAE]) -> SAE:
    """Build the SAE whose tensors are those of the members, one after the other.

    Args:
        members: SAEs of one `stack_key`.

    Returns:
        A new SAE; it maps activations of shape [member, batch, dim], each slice as its member
        does. It shares no memory with the members.

    Raises:
        OrbitLensError: If there are no members, or they cannot be stacked.

    Example:
        >>> from orbitlens.sae import topk_sae
        >>> members = [topk_sae(4, 8, 2, seed=seed) for seed in range(3)]
        >>> stack, x = stack_saes(members), torch.randn(3, 5, 4)
        >>> torch.allclose(stack(x).x_hat[2], members[2](x[2]).x_hat, atol=1e-6)
        True
    """
    if len({stack_key(member) for member in members}) != 1:
        raise OrbitLensError(
            "`members`",
            expected="at least one SAE, all with equal parts, settings and shapes",
            received=f"{len(members)} of {len({stack_key(member) for member in members})} kinds",
            remedy="stack SAEs that differ in their weights alone",
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
    """Give every member its slice of a stack, in place.

    Args:
        stack: What `stack_saes` built.
        members: The members, in the same order.

    Example:
        >>> from orbitlens.sae import topk_sae
        >>> members = [topk_sae(4, 8, 2, seed=seed) for seed in range(3)]
        >>> stack = stack_saes(members)
        >>> _ = stack.W_dec.data.zero_()
        >>> unstack_(stack, members)
        >>> members[1].W_dec.abs().max().item()
        0.0
    """
    stacked = stack.state_dict()
    for index, member in enumerate(members):
        for name, tensor in member.state_dict().items():
            tensor.copy_(stacked[name][index])
