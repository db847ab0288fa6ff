"""Any finite group, from its product table."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from orbitlens.errors import OrbitLensError
from orbitlens.groups.base import Group, Table, check_laws

Word = tuple[int, ...]


def from_table(
    table: Table | Sequence[Sequence[Any]],
    name: str = "G",
    element_names: Sequence[str] | None = None,
) -> Group:
    """Return the group with a given product table.

    Args:
        table: `table[g][h]` is the index of the product gh, shape [order, order]. Element 0 must be
            the identity.
        name: What users call the group, default "G".
        element_names: What users call each element; default "e", "g1", "g2", ...

    Returns:
        The group. Its generators are found one by one: each is the first element that those before
        it do not generate.

    Raises:
        OrbitLensError: If the table is no group: which law fails, and where.

    Example:
        >>> klein = from_table([[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]], "V4")
        >>> klein.generators, klein.words[3]
        ((1, 2), (0, 1))
    """
    table = _square(name, table)
    check_laws(name, table, generators=())
    default = ["e", *(f"g{g}" for g in range(1, len(table)))]
    names = default if element_names is None else element_names
    if len(names) != len(table):
        raise OrbitLensError(
            f"group {name}: `element_names`",
            expected=f"{len(table)}, one for each element",
            received=len(names),
            remedy="name every element",
        )
    generators: list[int] = []
    words = spell(table, generators)
    while len(words) < len(table):
        generators.append(next(g for g in range(len(table)) if g not in words))
        words = spell(table, generators)
    spelled = tuple(words[g] for g in range(len(table)))
    return Group(name, table, tuple(generators), spelled, tuple(names))


def spell(table: Table, generators: Sequence[int]) -> dict[int, Word]:
    """Find the shortest word of every element that some elements generate.

    Args:
        table: A product table, shape [order, order].
        generators: Indices of elements.

    Returns:
        The positions in `generators` whose product an element is, for each that is one.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> spell(cyclic(4).table, [2])
        {0: (), 2: (0,)}
    """
    words: dict[int, Word] = {0: ()}
    reached = deque([0])
    while reached:
        element = reached.popleft()
        for position, generator in enumerate(generators):
            product = int(table[element, generator])
            if product not in words:
                words[product] = (*words[element], position)
                reached.append(product)
    return words


def _square(name: str, table: Table | Sequence[Sequence[Any]]) -> Table:
    try:
        array = np.array(table)
        received = f"{array.dtype} of shape {list(array.shape)}"
    except ValueError:
        array, received = np.zeros(0), "rows of different lengths"
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.dtype.kind not in "iu":
        raise OrbitLensError(
            f"group {name}: `table`",
            expected="a square table of element numbers",
            received=received,
            remedy="write one row for each element: its products with every element",
        )
    return array.astype(np.int64)
