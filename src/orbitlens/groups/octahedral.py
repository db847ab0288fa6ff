"""The octahedral group: the 24 turns of a cube, or with mirror images its 48 symmetries."""

from itertools import permutations, product

import numpy as np
from jaxtyping import Int

from orbitlens.checks import as_switch
from orbitlens.groups._laws import all_words
from orbitlens.groups.base import Group

_AXES = "xyz"


def octahedral(*, inversion: bool = False) -> Group:
    """Return the group of the cube: O with 24 turns, or O_h with 48 symmetries.

    An element maps each axis to an axis, with a sign. Elements come in the order of `signed_axes`:
    the identity first, then the other turns, then the mirror images.

    Args:
        inversion: Whether to include mirror images, default False.

    Returns:
        The group, with elements named by the images of x, y and z, such as "x -z y". Its
        generators are quarter turns about z and x and, with mirror images, the inversion.

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
    return Group(
        name="Oh" if inversion else "O",
        table=table,
        generators=tuple(generators),
        words=all_words(table, generators),
        element_names=tuple(_name(matrix) for matrix in matrices),
    )


def signed_axes(*, inversion: bool = False) -> Int[np.ndarray, "order 3 3"]:
    """Return the matrices of the cube's symmetries, in the order of the group's elements.

    Signed permutation matrices of the axes x, y, z, shape [24 or 48, 3, 3]; column i is the image
    of axis i. `inversion` adds those of determinant -1.
    """
    inversion, found = as_switch("inversion", inversion), []
    for axes, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        matrix = np.zeros((3, 3), dtype=np.int64)
        matrix[list(axes), range(3)] = signs
        found.append(matrix)
    found.sort(key=lambda matrix: np.linalg.det(matrix) < 0)
    return np.stack(found if inversion else found[:24])


def _name(matrix: Int[np.ndarray, "3 3"]) -> str:
    if np.array_equal(matrix, np.eye(3)):
        return "e"
    images = [(int(np.flatnonzero(column)[0]), int(column.sum())) for column in matrix.T]
    return " ".join(("-" if sign < 0 else "") + _AXES[axis] for axis, sign in images)
