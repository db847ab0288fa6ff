"""A finite group as data: its product table, and each element as a word in the generators.

Element 0 is always the identity. Each family documents the order of its elements in its own file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int

from orbitlens.checks import as_count, as_text, as_texts
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.groups._laws import Table, as_table, check_laws


@dataclass(frozen=True, eq=False)
class Group:
    """A finite group given by its product table.

    Args:
        name: Name of the group, such as "C4" or "C2xD3".
        table: `table[g, h]` is the index of the product gh, shape [order, order].
        generators: Indices of the elements that generate the group.
        words: One word per element: positions in `generators` whose product, read from left to
            right, is that element. The identity's word is empty. A transport that learns one
            matrix per generator builds every other matrix from these words.
        element_names: Name of each element.

    Raises:
        OrbitLensError: If the table is not a group (the message names the law that fails and the
            place), if there is not one word and one name for each element, or if a word does not
            spell its element.

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
        table = as_table(as_text("name", self.name), self.table)
        generators = tuple(
            as_count("generators", g, least=0, most=len(table) - 1)
            for g in _sequence("generators", self.generators)
        )
        names, words = as_texts("element_names", self.element_names), self.words
        check_laws(self.name, table, generators)
        for part, found in (("words", _sequence("words", words)), ("element_names", names)):
            if len(found) != len(table):
                raise OrbitLensError(
                    f"group {self.name}: `{part}`",
                    expected=f"{len(table)}, one for each element",
                    received=len(found),
                    remedy="see groups.from_table, which finds the words",
                )
        spelled: dict[Sequence[int], int] = {}
        for element, word in enumerate(words):
            try:
                # Long words begin as others that were spelled before.
                start = spelled.get(word[:-1])
                product, rest = (0, word) if start is None else (start, word[-1:])
                for position in rest:
                    product = int(table[product, generators[position]])
                spelled[word] = product
            except (TypeError, IndexError):
                raise out_of_range(
                    "words", f"positions in the {len(generators)} generators", word
                ) from None
            if product != element:
                raise OrbitLensError(
                    f"group {self.name}: `words`",
                    expected=f"the word of element {element} to spell it",
                    received=f"{word}, which spells element {product}",
                    remedy="write each element as a product of the generators, left to right",
                )
        table.setflags(write=False)
        for part, value in (("table", table), ("generators", generators), ("element_names", names)):
            object.__setattr__(self, part, value)

    @property
    def order(self) -> int:
        """The number of elements, |G|."""
        return len(self.table)

    def multiply(self, g: int, h: int) -> int:
        """Return the index of the product gh (first h acts, then g)."""
        return int(self.table[self.index(g), self.index(h)])

    def index(self, element: int) -> int:
        """Return the index of an element, from 0 to |G| - 1; other numbers are errors."""
        return as_count("element", element, least=0, most=self.order - 1)

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
        power, n = self.index(g), 1
        while power != 0:
            power, n = self.multiply(power, g), n + 1
        return n

    def check_same_elements(self, other: "Group", subject: str) -> None:
        """Raise if `other`, held by `subject`, has the same name but another product table."""
        if self.name == other.name and self != other:
            raise OrbitLensError(
                subject,
                expected=f"the elements of {self.name} in the order "
                f"{', '.join(self.element_names)}, with their product table",
                received=f"{', '.join(other.element_names)} with another product table",
                remedy="build both with the same group, such as groups.from_name",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready record of the group, for `Group.from_dict`."""
        return {
            "name": self.name,
            "table": self.table.tolist(),
            "generators": list(self.generators),
            "words": [list(word) for word in self.words],
            "element_names": list(self.element_names),
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Group":
        """Rebuild a group from the record that `to_dict` returned."""
        return cls(
            name=record["name"],
            table=np.array(record["table"], dtype=np.int64),
            generators=tuple(record["generators"]),
            words=tuple(tuple(word) for word in record["words"]),
            element_names=tuple(record["element_names"]),
        )

    def __eq__(self, other: object) -> bool:
        """Compare name and table: the half turn C2 is not the flip D1, but the tables agree."""
        if not isinstance(other, Group) or self.name != other.name:
            return False
        return np.array_equal(self.table, other.table)

    def __hash__(self) -> int:
        return hash((self.name, self.table.tobytes()))

    def __repr__(self) -> str:
        return f"Group({self.name}, order={self.order})"


def _sequence(name: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise out_of_range(name, "a tuple", type(value).__name__, "see groups.from_table")
    return value
