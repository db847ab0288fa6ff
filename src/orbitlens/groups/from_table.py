"""Any finite group, from its product table."""

from collections.abc import Sequence
from typing import Any

from orbitlens.checks import as_text, as_texts
from orbitlens.errors import OrbitLensError
from orbitlens.groups._laws import Table, as_table, check_laws, find_words
from orbitlens.groups.base import Group


def from_table(
    table: Table | Sequence[Sequence[Any]],
    name: str = "G",
    element_names: Sequence[str] | None = None,
) -> Group:
    """Return the group with a given product table.

    Args:
        table: `table[g][h]` is the index of the product gh, shape [order, order]. Element 0 must be
            the identity.
        name: Name of the group, default "G".
        element_names: Name of each element; default "e", "g1", "g2", ...

    Returns:
        The group. Each of its generators is the first element that the generators before it do not
        generate.

    Raises:
        OrbitLensError: If the table is not a group; the message names the law and the place.

    Example:
        >>> klein = from_table([[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]], "V4")
        >>> klein.generators, klein.words[3]
        ((1, 2), (0, 1))
    """
    table = as_table(as_text("name", name), table)
    check_laws(name, table, generators=())
    default = ["e", *(f"g{g}" for g in range(1, len(table)))]
    names = default if element_names is None else as_texts("element_names", element_names)
    if len(names) != len(table):
        raise OrbitLensError(
            f"group {name}: `element_names`",
            expected=f"{len(table)}, one for each element",
            received=len(names),
            remedy="name every element",
        )
    generators: list[int] = []
    words = find_words(table, generators)
    while len(words) < len(table):
        generators.append(next(g for g in range(len(table)) if g not in words))
        words = find_words(table, generators)
    spelled = tuple(words[g] for g in range(len(table)))
    return Group(name, table, tuple(generators), spelled, tuple(names))
