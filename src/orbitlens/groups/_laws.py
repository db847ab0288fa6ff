"""The laws that a product table must obey, and the words that spell its elements."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from orbitlens.errors import OrbitLensError

Table = Int[np.ndarray, "order order"]
Word = tuple[int, ...]

LARGEST_ORDER = 4096
LARGEST_N = 6  # of S_n


def as_table(name: str, table: Any) -> Table:
    """Return a square table of whole numbers as int64."""
    received = type(table).__name__
    array: np.ndarray[Any, Any] = np.zeros(0)
    try:
        if not np.ma.is_masked(table):
            array = np.asarray(table)
            received = f"{array.dtype} of shape {list(array.shape)}"
    except ValueError:
        received = "rows of different lengths"
    except (TypeError, RuntimeError):  # a tensor without numbers, or sparse
        pass
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.dtype.kind not in "iu":
        raise OrbitLensError(
            f"group {name}: `table`",
            expected="a square table of element numbers",
            received=received,
            remedy="give one row for each element, with its products with every element",
        )
    return array.astype(np.int64)


def check_laws(name: str, table: Table, generators: Sequence[int]) -> None:
    """Check closure, identity and inverses, then associativity with the generators alone."""
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
    rows, columns = np.zeros((2, order, order), dtype=bool)
    np.put_along_axis(rows, table, True, axis=1)
    np.put_along_axis(columns, table, True, axis=0)
    lacking = ~(rows.all(1) & columns.all(0))
    if lacking.any():
        raise broken(
            "inverses: every element once in each row and column",
            f"row or column {int(lacking.argmax())} repeats one",
        )
    # Light's test: (g a) h = g (a h) for the generators a implies it for all of their products.
    for a in generators:
        wrong = np.argwhere(table[table[:, a]] != table[:, table[a]])
        if len(wrong):
            g, h = wrong[0]
            raise broken("associativity", f"(g a) h != g (a h) for g = {g}, a = {a}, h = {h}")


def find_words(table: Table, generators: Sequence[int]) -> dict[int, Word]:
    """Return the shortest word, as positions in `generators`, of each element they generate."""
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


def all_words(table: Table, generators: Sequence[int]) -> tuple[Word, ...]:
    """Return one word for each element; the generators must generate the whole group."""
    words = find_words(table, generators)
    return tuple(words[g] for g in range(len(table)))
