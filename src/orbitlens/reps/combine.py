"""New representations from given ones: sum, product, dual, restriction."""

from collections.abc import Sequence

import numpy as np
import torch

from orbitlens.checks import as_samples
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.reps._door import as_representation
from orbitlens.reps.base import Representation


def direct_sum(*reps: Representation) -> Representation:
    """Return the block-diagonal representation with blocks rho_1(g), rho_2(g), ...

    Args:
        reps: At least one representation, all of one group.

    Returns:
        The sum. Dimensions add up, and so do characters.

    Raises:
        OrbitLensError: If there is none, or their groups differ.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import irreps
        >>> direct_sum(*irreps(cyclic(3))).dim
        3
    """
    group = _common_group(reps)
    blocks = [torch.block_diag(*(rep.matrices[g] for rep in reps)) for g in range(group.order)]
    return Representation(group, torch.stack(blocks), " + ".join(rep.name for rep in reps))


def tensor_product(left: Representation, right: Representation) -> Representation:
    """Return rho(g) = left(g) (x) right(g) on pairs of coordinates, the right index fastest.

    Args:
        left: A representation.
        right: Another of the same group.

    Returns:
        The product. Dimensions multiply, and so do characters.

    Raises:
        OrbitLensError: If their groups differ.

    Example:
        >>> from orbitlens.groups import dihedral
        >>> from orbitlens.reps import irreps
        >>> plane = irreps(dihedral(3))[2]
        >>> tensor_product(plane, plane).character[:2].round(decimals=6).tolist()
        [4.0, 1.0]
    """
    group = _common_group([left, right])
    matrices = torch.stack(
        [torch.kron(a, b) for a, b in zip(left.matrices, right.matrices, strict=True)]
    )
    return Representation(group, matrices, f"({left.name}) (x) ({right.name})")


def dual(rep: Representation) -> Representation:
    """Return the representation on linear functions, rho*(g) = rho(g^-1)^T.

    Args:
        rep: A representation; an orthogonal one is its own dual.

    Returns:
        The dual representation.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import regular
        >>> torch.equal(dual(regular(cyclic(4))).matrices, regular(cyclic(4)).matrices)
        True
    """
    inverses = torch.from_numpy(as_representation(rep).group.inverses.copy())
    return Representation(rep.group, rep.matrices[inverses].mT.contiguous(), f"({rep.name})*")


def restrict(rep: Representation, subgroup: Group | str, elements: Sequence[int]) -> Representation:
    """Return the restriction of a representation to a subgroup.

    Args:
        rep: A representation of the larger group.
        subgroup: The subgroup, or its name.
        elements: Index in the larger group of each element of the subgroup, shape [|subgroup|].

    Returns:
        The matrices of these elements, as a representation of the subgroup.

    Raises:
        OrbitLensError: If the elements do not multiply as those of the subgroup.

    Example:
        >>> from orbitlens.groups import cyclic, dihedral
        >>> from orbitlens.reps import irreps
        >>> plane = irreps(dihedral(4))[-1]
        >>> restrict(plane, cyclic(4), [0, 1, 2, 3]).character.round().int().tolist()
        [2, 0, -2, 0]
    """
    subgroup = as_group(subgroup)
    places = as_samples(elements, as_representation(rep).group.order, "elements")
    fits = (
        places.shape == (subgroup.order,)
        and len(np.unique(places)) == len(places)
        and np.array_equal(rep.group.table[np.ix_(places, places)], places[subgroup.table])
    )
    if not fits:
        raise OrbitLensError(
            "`elements`",
            expected=f"{subgroup.order} elements of {rep.group.name} that multiply as those of "
            f"{subgroup.name}",
            received=list(elements),
            remedy="give the index of every element of the subgroup, in the order of the subgroup",
        )
    chosen = rep.matrices[torch.from_numpy(places.copy())]
    return Representation(subgroup, chosen, f"{rep.name} | {subgroup.name}")


def _common_group(reps: Sequence[Representation]) -> Group:
    names = [as_representation(rep).group.name for rep in reps]
    if not reps or any(rep.group != reps[0].group for rep in reps):
        raise OrbitLensError(
            "representations",
            expected="at least one, all of one group",
            received=", ".join(names) or "none",
            remedy="restrict them to a common subgroup first",
        )
    return reps[0].group
