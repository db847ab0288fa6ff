"""A finite group as data: its product table and how its elements are spelled by generators.

No tensors of any model live here. Element 0 is always the identity, and the order of the elements
of each family is documented in that family's file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int

from orbitlens.errors import OrbitLensError

Table = Int[np.ndarray, "order order"]


@dataclass(frozen=True, eq=False)
class Group:
    """A finite group given by its product table.

    Args:
        name: What users call it, such as "C4" or "C2xD3".
        table: `table[g, h]` is the index of the product gh, shape [order, order].
        generators: Indices of the elements that generate the group.
        words: One word per element: positions in `generators` whose product, read from left to
            right, is that element. The identity's word is empty. A transport that learns one
            matrix per generator builds every other matrix from these words.
        element_names: What users call each element.

    Raises:
        OrbitLensError: If the table is no group (which law fails, and where), or if a word does
            not spell its element.

    Example:
        >>> from orbitlens.groups import dihedral
        >>> group = dihedral(4)
        >>> group.order, group.element_names[group.multiply(1, 4)]
        (8, 'r s')
    """

    name: str
    table: Table
    generators: tuple[int, ...]
    words: tuple[tuple[int, ...], ...]
    element_names: tuple[str, ...]

    def __post_init__(self) -> None:
        check_laws(self.name, self.table, self.generators)
        for element, word in enumerate(self.words):
            product = 0
            for position in word:
                product = int(self.table[product, self.generators[position]])
            if product != element:
                raise OrbitLensError(
                    f"group {self.name}: `words`",
                    expected=f"the word of element {element} to spell it",
                    received=f"{word}, which spells element {product}",
                    remedy="write each element as a product of the generators, left to right",
                )
        self.table.setflags(write=False)

    @property
    def order(self) -> int:
        """|G|, the number of elements."""
        return len(self.table)

    def multiply(self, g: int, h: int) -> int:
        """Return the index of the product gh (first h acts, then g)."""
        return int(self.table[g, h])

    @cached_property
    def inverses(self) -> Int[np.ndarray, " order"]:
        """`inverses[g]` is the index of g^-1."""
        return np.argmax(self.table == 0, axis=1)

    @cached_property
    def conjugacy_classes(self) -> tuple[tuple[int, ...], ...]:
        """The classes {k g k^-1 : k in G}, each sorted, in the order of their first elements."""
        elements = np.arange(self.order)
        classes = {
            tuple(np.unique(self.table[self.table[elements, g], self.inverses]).tolist())
            for g in range(self.order)
        }
        return tuple(sorted(classes))

    def element_order(self, g: int) -> int:
        """Return the smallest n >= 1 with g^n = e."""
        power, n = g, 1
        while power != 0:
            power, n = self.multiply(power, g), n + 1
        return n

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready record from which `Group.from_dict` rebuilds the group."""
        return {
            "name": self.name,
            "table": self.table.tolist(),
            "generators": list(self.generators),
            "words": [list(word) for word in self.words],
            "element_names": list(self.element_names),
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Group":
        """Rebuild a group from `to_dict`."""
        return cls(
            name=record["name"],
            table=np.array(record["table"], dtype=np.int64),
            generators=tuple(record["generators"]),
            words=tuple(tuple(word) for word in record["words"]),
            element_names=tuple(record["element_names"]),
        )

    def __eq__(self, other: object) -> bool:
        """Same name and table: a half turn (C2) is no flip (D1), though both square to e."""
        if not isinstance(other, Group) or self.name != other.name:
            return False
        return np.array_equal(self.table, other.table)

    def __hash__(self) -> int:
        return hash((self.name, self.table.tobytes()))

    def __repr__(self) -> str:
        return f"Group({self.name}, order={self.order})"


def other_order(subject: str, expected: Group, received: Group) -> OrbitLensError:
    """Return the error for two groups of one name whose elements come in different orders.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> group = cyclic(3)
        >>> print(other_order("`store`", group, group))
        `store`: expected the elements of C3 in the order e, r, r^2, with their product table, ...
    """
    return OrbitLensError(
        subject,
        expected=f"the elements of {expected.name} in the order "
        f"{', '.join(expected.element_names)}, with their product table",
        received=f"{', '.join(received.element_names)} with another product table",
        remedy="build both with the same group, such as groups.from_name",
    )


def check_laws(name: str, table: Table, generators: Sequence[int]) -> None:
    """Check closure, identity, inverses and associativity, in this order.

    Args:
        name: What the group is called.
        table: Its product table, shape [order, order].
        generators: Elements that generate the rest; associativity is checked with these alone, and
            with none not at all.

    Raises:
        OrbitLensError: Naming the law that fails, and where.

    Example:
        >>> check_laws("broken", np.array([[0, 1], [1, 1]]), [1])
        Traceback (most recent call last):
        orbitlens.errors.OrbitLensError: group broken: `table`: expected inverses: every element ...
    """
    order = len(table)
    everyone = np.arange(order)

    def broken(law: str, where: str) -> OrbitLensError:
        return OrbitLensError(
            f"group {name}: `table`",
            expected=law,
            received=where,
            remedy="correct the product table",
        )

    if order == 0 or table.min() < 0 or table.max() >= order:
        raise broken(f"closure: entries in 0..{order - 1}", "an entry outside")
    if not (np.array_equal(table[0], everyone) and np.array_equal(table[:, 0], everyone)):
        raise broken("element 0 to be the identity", "another first row or column")
    for g in range(order):
        if not (
            np.array_equal(np.sort(table[g]), everyone)
            and np.array_equal(np.sort(table[:, g]), everyone)
        ):
            raise broken(
                "inverses: every element once in each row and column",
                f"row or column {g} repeats one",
            )
    # Light's test: (g a) h = g (a h) for the generators a implies it for all of their products.
    for a in generators:
        wrong = np.argwhere(table[table[:, a]] != table[:, table[a]])
        if len(wrong):
            g, h = wrong[0]
            raise broken("associativity", f"(g a) h != g (a h) for g = {g}, a = {a}, h = {h}")
