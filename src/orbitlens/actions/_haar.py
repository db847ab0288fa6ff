"""Uniform draws from groups that have no short list of elements."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from orbitlens.checks import as_flags
from orbitlens.errors import OrbitLensError


def haar_rotations(n: int, generator: torch.Generator) -> Float[Tensor, "n 3 3"]:
    """Return rotations of space that are drawn by the Haar measure of SO(3), float64.

    A quaternion of four normal numbers, divided by its length, is uniform on the sphere.
    """
    drawn = torch.randn(n, 4, generator=generator, device=generator.device, dtype=torch.float64)
    w, x, y, z = (drawn / torch.linalg.vector_norm(drawn, dim=1, keepdim=True)).unbind(1)
    entries = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(entries, dim=1).unflatten(1, (3, 3))


def haar_reflections(n: int, generator: torch.Generator) -> Float[Tensor, "n 3 3"]:
    """Return elements of O(3) that are drawn by its Haar measure: SO(3) with either sign."""
    turns = haar_rotations(n, generator)
    signs = torch.randint(2, (n, 1, 1), generator=generator, device=generator.device)
    return turns * (2 * signs - 1)


def haar_permutations(
    n: int, nodes: int, generator: torch.Generator, mask: Bool[Tensor, "n nodes"] | None = None
) -> Float[Tensor, "n nodes nodes"]:
    """Return uniform permutation matrices, P[i, j] = 1 where node j goes to i, float64.

    Padded nodes stay.
    """
    keys = torch.rand(n, nodes, generator=generator, device=generator.device, dtype=torch.float64)
    if mask is not None:
        later = 1 + torch.arange(nodes, device=keys.device, dtype=keys.dtype)
        keys = torch.where(mask.to(keys.device), keys, later)
    return torch.eye(nodes, dtype=keys.dtype, device=keys.device)[keys.argsort(dim=1)]


def as_prefix_mask(mask: object, n: int, nodes: int) -> Bool[Tensor, "n nodes"]:
    """Return a mask of the nodes that are there; these come first, and there is at least one."""
    found = as_flags("mask", mask, "n nodes", size=n)
    if found.shape[1] != nodes:
        raise OrbitLensError(
            "`mask`",
            expected=f"one flag for each node, shape [{n}, {nodes}]",
            received=f"shape {list(found.shape)}",
            remedy="pad the mask as the inputs are padded",
        )
    broken = ((found[:, 1:] & ~found[:, :-1]).any(1) | ~found[:, 0]).nonzero()
    if len(broken):
        raise OrbitLensError(
            "`mask`",
            expected="True for the nodes that are there, then False for the padding",
            received=f"input {int(broken[0])} with {found[broken[0, 0]].int().tolist()}",
            remedy="bring the padding to the end; an input has at least one node",
        )
    return found
