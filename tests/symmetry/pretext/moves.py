"""What the tests of pretext training share: inputs and functions moved by elements of a group."""

import torch

from orbitlens.groups import Group, from_name
from orbitlens.typing import Float, Int, Tensor

EXACT = [from_name(name) for name in ("C1", "C2", "C4", "D1", "D2", "D4")]


def noise(*shape: int, seed: int = 0) -> Float[Tensor, "..."]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def acted(group: Group, z: Float[Tensor, "n dim"], g: int) -> Float[Tensor, "n dim"]:
    """(g z)[f, a] = z[f, g^-1 a]."""
    functions = z.unflatten(1, (-1, group.order))
    moved = torch.empty_like(functions)
    for a in range(group.order):
        moved[:, :, group.multiply(g, a)] = functions[:, :, a]
    return moved.flatten(1)


def acted_by_own(
    group: Group, z: Float[Tensor, "n dim"], elements: Int[Tensor, " n"]
) -> Float[Tensor, "n dim"]:
    """Each row moved by its own element."""
    rows = [acted(group, row[None], int(g)) for row, g in zip(z, elements, strict=True)]
    return torch.cat(rows)


def elements(group: Group, n: int, seed: int = 0) -> Int[Tensor, " n"]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(group.order, (n,), generator=generator)
