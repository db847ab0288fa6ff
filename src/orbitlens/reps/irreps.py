"""The real irreducible representations of any finite group, from its product table alone.

The regular representation contains every irrep, and it commutes with the right multiplications. A
random symmetric combination of right multiplications has one eigenspace per copy of an irrep (Dixon
1970 uses the same idea over the complex numbers). The same code serves every family of groups.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.reps._door import as_representation
from orbitlens.reps.base import Representation, regular

_RealType = Literal["real", "complex", "quaternionic"]

_TOLERANCE = 1e-8
_CLOSE = 1e-6
_ADDS = 1e-3
_SAME = 1e-4


def irreps(group: Group | str) -> tuple[Representation, ...]:
    """Return all real irreducible representations, orthogonal, up to equivalence.

    Args:
        group: Any finite group, or its name.

    Returns:
        The trivial irrep first, then by dimension and by the angle of the generators, so that the
        irreps of C_n come in the order of their frequencies. Names are "trivial", then "1d#1",
        "2d#1", ...

    Raises:
        OrbitLensError: If rounding errors keep the irreps from being separated.

    Example:
        >>> from orbitlens.groups import dihedral
        >>> [(irrep.name, irrep.dim) for irrep in irreps(dihedral(3))]
        [('trivial', 1), ('1d#1', 1), ('2d#1', 2)]
    """
    return _irreps(as_group(group))


@lru_cache(maxsize=64)
def _irreps(group: Group) -> tuple[Representation, ...]:
    whole = regular(group)
    found: list[Float[Tensor, "order dim dim"]] = []
    for basis in _irreducible_subspaces(group):
        matrices = basis.mT @ whole.matrices @ basis
        if all(not _equivalent(matrices, other) for other in found):
            found.append(matrices)
    found.sort(key=lambda matrices: _sort_key(group, matrices))
    counts: Counter[int] = Counter({1: -1})  # the trivial irrep has no number
    named: list[Representation] = []
    for matrices in found:
        dim = matrices.shape[-1]
        counts[dim] += 1
        name = f"{dim}d#{counts[dim]}" if named else "trivial"
        named.append(Representation(group, matrices, name))
    _check_complete(group, named)
    return tuple(named)


def irreps_in_basis(
    group: Group, generators: Sequence[Float[Tensor, "generator _ _"]]
) -> tuple[Representation, ...]:
    """Return the irreps in the bases in which the generators have these matrices, up to rounding.

    irrep'(g) = Q^T irrep(g) Q, with the orthogonal Q that makes them so

    Args:
        group: The group.
        generators: For each of `irreps(group)`, the matrices of `group.generators`.

    Raises:
        OrbitLensError: If the matrices are those of no such basis.
    """
    return tuple(
        _in_basis(irrep, given.double())
        for irrep, given in zip(irreps(group), generators, strict=True)
    )


def _in_basis(irrep: Representation, given: Float[Tensor, "generator dim dim"]) -> Representation:
    group = irrep.group
    own = irrep.matrices[list(group.generators)]
    if torch.allclose(own, given, rtol=0, atol=_SAME):
        return irrep
    whole = torch.eye(irrep.dim, dtype=torch.float64).repeat(group.order, 1, 1)
    for g, word in enumerate(group.words):
        for position in word:
            whole[g] = whole[g] @ given[position]
    # By Schur's lemma the mean over the group is a multiple of an orthogonal Q, or zero.
    start = torch.randn(
        irrep.dim, irrep.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    mean = torch.einsum("gab,bc,gdc->ad", irrep.matrices, start, whole)
    U, _, Vh = torch.linalg.svd(mean)
    Q = U @ Vh
    matrices = Q.mT @ irrep.matrices @ Q
    if not torch.allclose(matrices[list(group.generators)], given, rtol=0, atol=_SAME):
        raise OrbitLensError(
            f"the irrep {irrep.name} of {group.name}",
            expected="matrices of the generators in some orthonormal basis",
            received="others",
            remedy="restore the file that holds them",
        )
    return Representation(group, matrices, irrep.name)


def character_norm(irrep: Representation) -> int:
    """Return <chi, chi> = mean_g chi(g)^2: 1 for real, 2 for complex, 4 for quaternionic type."""
    return round(as_representation(irrep, "irrep").character.square().mean().item())


def real_type(irrep: Representation) -> _RealType:
    """Return the kind of numbers that commute with an irrep: real, complex or quaternionic.

    Args:
        irrep: A real irreducible representation.

    Returns:
        "real", "complex" or "quaternionic", where <chi, chi> is 1, 2 or 4.

    Raises:
        OrbitLensError: If the representation is not irreducible.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> [real_type(irrep) for irrep in irreps(cyclic(3))]
        ['real', 'complex']
    """
    types: dict[int, _RealType] = {1: "real", 2: "complex", 4: "quaternionic"}
    norm = character_norm(irrep)
    if norm not in types:
        raise OrbitLensError(
            "`irrep`",
            expected="a real irreducible representation, <chi, chi> of 1, 2 or 4",
            received=f"<chi, chi> = {norm}",
            remedy="take one of `irreps(group)`",
        )
    return types[norm]


def irrep_label(irrep: Representation) -> str:
    """Describe in words what the generators do to a feature of one irrep.

    Args:
        irrep: A real irreducible representation.

    Returns:
        "unchanged"; "changes sign under r and s"; "turns with r" or "turns 2 times with r", if a
        full turn of the generator turns a plane once or twice; otherwise the dimension alone.

    Example:
        >>> from orbitlens.groups import dihedral
        >>> [irrep_label(irrep) for irrep in irreps(dihedral(4))][1:4:2]
        ['changes sign under s', 'changes sign under r and s']
    """
    group = as_representation(irrep, "irrep").group
    names = {group.element_names[g]: g for g in group.generators}
    if irrep.dim == 1:
        flipped = [name for name, g in names.items() if irrep.character[g] < 0]
        return f"changes sign under {' and '.join(flipped)}" if flipped else "unchanged"
    if irrep.dim == 2:
        for name, g in names.items():
            order = group.element_order(g)
            turns = math.acos(max(-1.0, min(1.0, float(irrep.character[g]) / 2))) * order
            k = round(turns / (2 * math.pi))
            if 0 < 2 * k < order and abs(turns - 2 * math.pi * k) < _CLOSE * order:
                return f"turns with {name}" if k == 1 else f"turns {k} times with {name}"
    return f"{irrep.dim} dimensions that move together"


def _irreducible_subspaces(group: Group) -> list[Float[Tensor, "order dim"]]:
    """Split the group algebra into irreducible subspaces; return an orthonormal basis of each."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(group.order, generator=generator, dtype=torch.float64)
    weights = weights + weights[torch.from_numpy(group.inverses.copy())]
    # weights[table][h, k] is the weight of h^-1 k: it commutes with every left multiplication.
    table = torch.from_numpy(group.table[group.inverses])
    values, vectors = torch.linalg.eigh(weights[table])
    gaps = (values.diff() > _TOLERANCE * values.abs().max()).nonzero().flatten() + 1
    return [_settled(basis) for basis in vectors.tensor_split(gaps.tolist(), dim=1)]


def _settled(basis: Float[Tensor, "order dim"]) -> Float[Tensor, "order dim"]:
    """Return the orthonormal basis of a subspace that depends on nothing but the subspace.

    Eigenvectors of equal eigenvalues are in no basis that two machines would agree on, and weights
    in files count on the matrices of irreps. The projections of the elements e, 1, 2, ... in turn
    are made orthonormal; those that add nothing are passed over.
    """
    chosen: list[Float[Tensor, " dim"]] = []
    for projected in basis:  # its coordinates in the given basis
        rest = projected - sum((axis @ projected) * axis for axis in chosen)
        if rest.norm() > _ADDS * basis[0].norm():
            chosen.append(rest / rest.norm())
        if len(chosen) == basis.shape[1]:
            break
    return basis @ torch.stack(chosen).T


def _equivalent(
    left: Float[Tensor, "order left left"], right: Float[Tensor, "order right right"]
) -> bool:
    """Compare characters: two real representations are equivalent if and only if these agree."""
    difference = torch.einsum("gii->g", left) - torch.einsum("gii->g", right)
    return bool(difference.abs().max() < _CLOSE)


def _sort_key(group: Group, matrices: Float[Tensor, "order dim dim"]) -> tuple[float, ...]:
    dim = matrices.shape[-1]
    character = torch.einsum("gii->g", matrices).round(decimals=6)
    generators = torch.tensor(group.generators, dtype=torch.long)
    return (float(dim), *(-character[generators]).tolist(), *(-character).tolist())


def _check_complete(group: Group, found: list[Representation]) -> None:
    """Check that sum dim^2 / <chi, chi> = |G|."""
    total = sum(irrep.dim**2 / character_norm(irrep) for irrep in found)
    if total != group.order:
        raise OrbitLensError(
            f"irreps of {group.name}",
            expected=f"dimensions that add up to |G| = {group.order}",
            received=f"{[irrep.dim for irrep in found]}",
            remedy="please report it: the eigenvalues of this group are too close to separate",
        )
