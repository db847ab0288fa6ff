"""The elements of the group of a run: their symbols, and what each does in plain words."""

from typing import Any, NamedTuple

from orbitlens.actions import describe_elements
from orbitlens.errors import OrbitLensError
from orbitlens.groups import from_name
from orbitlens.report._notation import element_label
from orbitlens.report._readings import part
from orbitlens.report._table import Record


class Element(NamedTuple):
    """An element's symbol, such as r³, and its words, such as "quarter turn right", or ""."""

    symbol: str
    words: str

    def __str__(self) -> str:
        return f"{self.symbol}, {self.words}" if self.words else self.symbol


def element_names(metrics: Record) -> list[str]:
    """Return the names of the elements as they are recorded; none without a group."""
    return [str(name) for name in part(metrics, "group").get("elements") or ()]


def elements_of(metrics: Record) -> list[Element]:
    """Return the elements of the recorded group under the recorded action.

    There are words where both are known, and the elements come in the order that the name of the
    group stands for.
    """
    names = element_names(metrics)
    words = _words(part(metrics, "group").get("name"), names, part(metrics, "action"))
    return [Element(element_label(name), words[g] if words else "") for g, name in enumerate(names)]


def _words(group: Any, names: list[str], action: Record) -> tuple[str, ...]:
    try:
        known = from_name(group)
        if known.element_names != tuple(names):
            return ()
        return describe_elements(known, str(action.get("name")), action)
    except (OrbitLensError, TypeError, ValueError):  # a group or settings of one's own
        return ()
