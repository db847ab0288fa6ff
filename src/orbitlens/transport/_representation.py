"""Which representation a layer carries: copies of each irrep, counted and in words."""

from collections.abc import Sequence

from orbitlens.checks import as_count
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.reps import character_norm, irreps, multiplicities, regular
from orbitlens.typing import Float, Tensor


def span_multiplicities(
    group: Group, matrices: Float[Tensor, "group dim dim"], rank: int
) -> tuple[int, ...]:
    """Count the copies of each irrep in an exact transport, on the directions that it moves.

        m_i = <chi, chi_i> / <chi_i, chi_i>,   chi(g) = tr rho(g) - (dim - rank)

    These are the directions along which some activation is not 0, so a unit that is constant counts
    as one copy of the trivial irrep. The transport leaves the other directions where they are, so
    they add copies that the activations do not show, and these are taken off.

    Args:
        group: The group.
        matrices: The exact transport, shape [|G|, dim, dim].
        rank: Number of directions that it moves.

    Returns:
        One number for each of `reps.irreps(group)`.
    """
    character = matrices.diagonal(dim1=-2, dim2=-1).sum(-1).double()
    character = character - (matrices.shape[-1] - rank)
    return tuple(
        round((character * irrep.character).mean().item() / character_norm(irrep))
        for irrep in irreps(group)
    )


def representation_line(group: Group | str, copies: Sequence[int]) -> str:
    """Say in a few words which representation has these copies of the irreps.

    Args:
        group: The group, or its name.
        copies: One number for each of `reps.irreps(group)`.

    Returns:
        Such as "2 copies of the regular representation", or "3 x trivial + 1 x 2d#1"; "nothing"
        if there are none.

    Raises:
        OrbitLensError: If there is not one whole number, 0 or more, for each irrep.

    Example:
        >>> representation_line("C4", [2, 2, 2]), representation_line("C4", [3, 0, 1])
        ('2 copies of the regular representation', '3 x trivial + 1 x 2d#1')
    """
    group = as_group(group)
    names = [irrep.name for irrep in irreps(group)]
    if len(copies) != len(names):
        raise OrbitLensError(
            f"copies of the irreps of {group.name}",
            expected=f"{len(names)} numbers, for {', '.join(names)}",
            received=list(copies),
            remedy="see reps.multiplicities",
        )
    copies = tuple(as_count("copies", each, least=0) for each in copies)
    if not any(copies):
        return "nothing"
    m = copies[0]
    if copies == tuple(m * each for each in multiplicities(regular(group))):
        return f"{m} {'copy' if m == 1 else 'copies'} of the regular representation"
    return " + ".join(f"{n} x {name}" for n, name in zip(copies, names, strict=True) if n)
