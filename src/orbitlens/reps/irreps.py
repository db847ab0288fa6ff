"""The real irreducible representations of any finite group, from its product table alone.

The regular representation contains every irreducible one. What commutes with it are the right
multiplications; a random symmetric combination of these has one eigenspace per irreducible copy
(Dixon 1970 uses the same idea over the complex numbers). Nothing here knows the family of the
group, so cyclic, dihedral and product groups take one path, and tests hold it against the textbook
tables.
"""

from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.reps.base import Representation
from orbitlens.reps.regular import regular

RealType = Literal["real", "complex", "quaternionic"]

_TOLERANCE = 1e-8


@lru_cache(maxsize=64)
def irreps(group: Group) -> tuple[Representation, ...]:
    """Return all real irreducible representations, orthogonal, up to equivalence.

    Args:
        group: Any finite group.

    Returns:
        The trivial one first, then by dimension and by the angle through which the generators
        turn, so that C_n comes in the order of its frequencies. Names are "trivial", then
        "1d#1", "2d#1", ...

    Raises:
        OrbitLensError: If the decomposition cannot be told apart numerically.

    Example:
        >>> from orbitlens.groups import dihedral
        >>> [(irrep.name, irrep.dim) for irrep in irreps(dihedral(3))]
        [('trivial', 1), ('1d#1', 1), ('2d#1', 2)]
    """
    whole = regular(group)
    found: list[Float[Tensor, "order dim dim"]] = []
    for basis in _irreducible_subspaces(group):
        matrices = basis.mT @ whole.matrices @ basis
        if all(not _equivalent(matrices, other) for other in found):
            found.append(matrices)
    found.sort(key=lambda matrices: _sort_key(group, matrices))
    counts: dict[int, int] = {}
    named = []
    for index, matrices in enumerate(found):
        dim = matrices.shape[-1]
        counts[dim] = counts.get(dim, 0) + 1
        rank = counts[dim] - (1 if dim == 1 else 0)
        named.append(Representation(group, matrices, "trivial" if index == 0 else f"{dim}d#{rank}"))
    _check_complete(group, named)
    return tuple(named)


def character_norm(irrep: Representation) -> int:
    """Return <chi, chi>: 1 for a real, 2 for a complex, 4 for a quaternionic type irrep.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> [character_norm(irrep) for irrep in irreps(cyclic(4))]
        [1, 1, 2]
    """
    return round(irrep.character.square().mean().item())


def real_type(irrep: Representation) -> RealType:
    """Say which numbers commute with an irrep: real, complex or quaternionic.

    Args:
        irrep: A real irreducible representation.

    Returns:
        "real", "complex" or "quaternionic", as <chi, chi> is 1, 2 or 4.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> [real_type(irrep) for irrep in irreps(cyclic(3))]
        ['real', 'complex']
    """
    types: dict[int, RealType] = {1: "real", 2: "complex", 4: "quaternionic"}
    return types[character_norm(irrep)]


def _irreducible_subspaces(group: Group) -> list[Float[Tensor, "order dim"]]:
    """Split the group algebra into irreducible subspaces, each with an orthonormal basis."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(group.order, generator=generator, dtype=torch.float64)
    weights = weights + weights[torch.from_numpy(group.inverses.copy())]
    # right[h, k] holds the weight of h^-1 k: it commutes with every left multiplication.
    table = torch.from_numpy(group.table[group.inverses])
    values, vectors = torch.linalg.eigh(weights[table])
    gaps = (values.diff() > _TOLERANCE * values.abs().max()).nonzero().flatten() + 1
    return list(vectors.tensor_split(gaps.tolist(), dim=1))


def _equivalent(
    left: Float[Tensor, "order left left"], right: Float[Tensor, "order right right"]
) -> bool:
    """Two real representations are equivalent if and only if their characters agree."""
    difference = torch.einsum("gii->g", left) - torch.einsum("gii->g", right)
    return bool(difference.abs().max() < 1e-6)


def _sort_key(group: Group, matrices: Float[Tensor, "order dim dim"]) -> tuple[float, ...]:
    dim = matrices.shape[-1]
    character = torch.einsum("gii->g", matrices).round(decimals=6)
    generators = torch.tensor(group.generators, dtype=torch.long)
    return (float(dim), *(-character[generators]).tolist(), *(-character).tolist())


def _check_complete(group: Group, found: list[Representation]) -> None:
    """The dimensions must satisfy sum dim^2 / <chi, chi> = |G|."""
    total = sum(irrep.dim**2 / character_norm(irrep) for irrep in found)
    if total != group.order:
        raise OrbitLensError(
            f"irreps of {group.name}",
            expected=f"dimensions that add up to |G| = {group.order}",
            received=f"{[irrep.dim for irrep in found]}",
            remedy="the eigenvalues of this group are too close to be told apart; report it",
        )
