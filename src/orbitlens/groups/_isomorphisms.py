"""The ways in which a product table is that of a group with its elements in another order."""

from collections.abc import Iterator
from itertools import product

import numpy as np
from jaxtyping import Int

from orbitlens.groups._laws import Table, Word
from orbitlens.groups.base import Group


def isomorphisms(group: Group, table: Table) -> Iterator[Int[np.ndarray, " order"]]:
    """Yield every f with table[f(g), f(h)] = f(gh) and f(e) = 0, by the images of the generators.

    There are as many as the group has automorphisms, or none; one that keeps every generator comes
    first. The table may be any square one.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> [f.tolist() for f in isomorphisms(cyclic(4), cyclic(4).table)]
        [[0, 1, 2, 3], [0, 3, 2, 1]]
    """
    own, theirs = _orders(group.table), _orders(table)
    if sorted(own) != sorted(theirs):
        return
    choices = [
        sorted(np.flatnonzero(theirs == own[generator]).tolist(), key=generator.__ne__)
        for generator in group.generators
    ]
    for images in product(*choices):
        spelled: dict[Word, int] = {(): 0}
        for word in sorted(group.words, key=len):
            start = spelled.get(word[:-1])
            image, rest = (0, word) if start is None else (start, word[-1:])
            for position in rest:
                image = int(table[image, images[position]])
            spelled[word] = image
        found = np.array([spelled[word] for word in group.words])
        distinct = len(np.unique(found)) == group.order
        if distinct and np.array_equal(table[np.ix_(found, found)], found[group.table]):
            yield found


def _orders(table: Table) -> Int[np.ndarray, " order"]:
    """Return the smallest n >= 1 with g^n = e for each g; 0 if there is none."""
    elements = np.arange(len(table))
    powers, orders = elements, np.zeros_like(elements)
    for n in range(1, len(table) + 1):
        orders[(powers == 0) & (orders == 0)] = n
        powers = table[powers, elements]
    return orders
