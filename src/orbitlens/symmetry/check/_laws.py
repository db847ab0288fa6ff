"""The laws of a group, of maps of states and actions as one set of matrices."""

import numpy as np
import torch
from jaxtyping import Float, Int

from orbitlens.checks import as_indices, as_tensor
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, cyclic, dihedral, from_table
from orbitlens.typing import Tensor

ROUNDING = 1e-5  # of products of matrices, whose entries are about 1
_MOST = 256  # elements
_SHOWN = 8  # numbers of a permutation


def as_permutations(name: str, value: object, size: int) -> Int[Tensor, "*group size"]:
    """Return one permutation of 0 to size - 1, or one for each element."""
    rows = as_tensor(name, value).ndim
    found = as_indices(name, value, f"group {name}" if rows == 2 else name, most=size - 1)
    if found.shape[-1] != size or not bool((found.sort(-1).values == torch.arange(size)).all()):
        raise OrbitLensError(
            f"`{name}`",
            expected=f"permutations of 0 to {size - 1} that say where each goes, such as "
            + (f"{list(range(size))[::-1]}" if size <= _SHOWN else "a list in another order"),
            received=found.tolist() if found.numel() <= 16 else f"shape {list(found.shape)}",
            remedy="give each number once in each permutation",
        )
    return found


def unit_columns(where: Int[Tensor, "*group size"]) -> Float[Tensor, "*group size size"]:
    """Return permutations as matrices: column i is the unit vector of the place where i moves."""
    return torch.nn.functional.one_hot(where, where.shape[-1]).mT.double()


def block_diagonal(
    states: Float[Tensor, "*group d d"], actions: Float[Tensor, "*others m m"]
) -> Float[Tensor, "given both both"]:
    """Return the matrices that move states and actions together, one for each given element."""
    if states.ndim != actions.ndim:
        raise other_elements("a single map beside a list of maps")
    stacks = [each if each.ndim == 3 else each[None] for each in (states, actions)]
    if len(stacks[0]) != len(stacks[1]):
        raise other_elements(f"{len(stacks[0])} and {len(stacks[1])}")
    return torch.stack([torch.block_diag(*pair) for pair in zip(*stacks, strict=True)])


def group_of(
    matrices: Float[Tensor, "given d d"], *, generated: bool
) -> tuple[Group, Float[Tensor, "group d d"], dict[str, float]]:
    """Return the group of some matrices, all of its matrices, and how exactly they obey its laws.

    `generated`: there is one matrix, and its powers are the group.
    """
    if generated:
        matrices = _powers(matrices[0])
    n = len(matrices)
    if n > _MOST:
        raise no_group(f"at most {_MOST} elements", f"{n}", "choose a smaller group")
    flat = matrices.flatten(1)
    identity = torch.eye(matrices.shape[1], dtype=matrices.dtype)
    laws = {"identity": largest(matrices[0] - identity)}
    if laws["identity"] > ROUNDING:
        where = int((matrices - identity).abs().amax((1, 2)).argmin())
        near = largest(matrices[where] - identity) <= ROUNDING
        raise no_group(
            "identity: element 0 moves nothing",
            f"it as element {where}" if near else "no such element",
            "bring the identity first",
        )
    distances = torch.cdist(flat, flat, p=torch.inf)
    same = (distances <= ROUNDING).triu(1).nonzero()
    if len(same):
        g, h = same[0].tolist()
        raise no_group("each element once", f"elements {g} and {h} that are equal", "give one")
    table, closure = torch.zeros(n, n, dtype=torch.int64), 0.0
    for g in range(n):
        distances = torch.cdist((matrices[g] @ matrices).flatten(1), flat, p=torch.inf)
        errors, table[g] = distances.min(1)
        if errors.max() > ROUNDING:
            raise no_group(
                "closure: every product of two elements is an element",
                f"none for element {g} times element {int(errors.argmax())}",
                "add the missing elements, or correct the maps",
            )
        closure = max(closure, float(errors.max()))
    alone = (table != 0).all(1).nonzero()
    if len(alone):
        raise no_group(
            "inverses: some product with each element is the identity",
            f"none for element {int(alone[0])}",
            "give matrices that can be inverted",
        )
    inverses = matrices[(table == 0).long().argmax(1)]
    laws = {"closure": closure, **laws, "inverses": largest(matrices @ inverses - identity)}
    return _named(table.numpy()), matrices, laws


def _powers(generator: Float[Tensor, "d d"]) -> Float[Tensor, "group d d"]:
    identity = torch.eye(len(generator), dtype=generator.dtype)
    powers = [identity]
    while len(powers) <= _MOST:
        following = powers[-1] @ generator
        if largest(following - identity) <= ROUNDING:
            return torch.stack(powers)
        powers.append(following)
    raise no_group(
        f"inverses: some power of the map, up to {_MOST}, is the identity",
        "none",
        "correct the map, or give every element",
    )


def _named(table: Int[np.ndarray, "order order"]) -> Group:
    order = len(table)
    known = [cyclic(order)] + ([dihedral(order // 2)] if order % 2 == 0 else [])
    for group in known:
        if np.array_equal(group.table, table):
            return group
    return from_table(table, f"G{order}")


def largest(values: Tensor) -> float:
    """Return the largest size of a number."""
    return float(values.abs().max())


def no_group(law: str, received: str, remedy: str) -> OrbitLensError:
    """Return the error for maps that break a law."""
    return OrbitLensError(
        "`states` and `actions`", expected=f"a group; {law}", received=received, remedy=remedy
    )


def other_elements(received: str) -> OrbitLensError:
    """Return the error for two maps that are not of the same elements."""
    return OrbitLensError(
        "`states` and `actions`",
        expected="maps of the same elements in the same order",
        received=received,
        remedy="give one of each for every element, or one of each that generates the group",
    )
