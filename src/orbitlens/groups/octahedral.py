"""The octahedral group: the turns of a cube, and with inversion all of its symmetries."""

from itertools import permutations, product

import numpy as np
from jaxtyping import Int

from orbitlens.groups.base import Group
from orbitlens.groups.table import spell

_AXES = "xyz"


def octahedral(*, inversion: bool = False) -> Group:
    """Return the group of the cube: O with 24 turns, or O_h with 48 symmetries.

    An element takes each axis to an axis, with a sign. Elements come in the order of
    `signed_axes`: the identity first; turns before those that turn inside out.

    Args:
        inversion: Whether mirror images count, default False.

    Returns:
        The group, elements named by where x, y and z go, such as "x -z y". Its generators are
        quarter turns about z and x, and the inversion.

    Example:
        >>> octahedral().order, octahedral(inversion=True).order
        (24, 48)
    """
    matrices = signed_axes(inversion=inversion)
    index = {matrix.tobytes(): g for g, matrix in enumerate(matrices)}
    table = np.array([[index[(g @ h).tobytes()] for h in matrices] for g in matrices])
    about_z = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    chosen = [about_z, about_x, *([-np.eye(3, dtype=np.int64)] if inversion else [])]
    generators = [index[matrix.tobytes()] for matrix in chosen]
    words = spell(table, generators)
    return Group(
        name="Oh" if inversion else "O",
        table=table,
        generators=tuple(generators),
        words=tuple(words[g] for g in range(len(table))),
        element_names=tuple(_name(matrix) for matrix in matrices),
    )


def signed_axes(*, inversion: bool = False) -> Int[np.ndarray, "order 3 3"]:
    """Return the matrices of the cube's symmetries, in the order of the group's elements.

    Args:
        inversion: Whether those of determinant -1 count, default False.

    Returns:
        Signed permutation matrices of the axes x, y, z, shape [24 or 48, 3, 3]; column i is where
        axis i goes.

    Example:
        >>> signed_axes()[0].tolist()
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    """
    found = []
    for axes, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        matrix = np.zeros((3, 3), dtype=np.int64)
        matrix[list(axes), range(3)] = signs
        found.append(matrix)
    found.sort(key=lambda matrix: np.linalg.det(matrix) < 0)
    return np.stack(found if inversion else found[:24])


def _name(matrix: Int[np.ndarray, "3 3"]) -> str:
    if np.array_equal(matrix, np.eye(3)):
        return "e"
    goes = [(int(np.flatnonzero(column)[0]), int(column.sum())) for column in matrix.T]
    return " ".join(("-" if sign < 0 else "") + _AXES[axis] for axis, sign in goes)
