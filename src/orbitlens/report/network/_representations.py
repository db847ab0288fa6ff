"""Layers that carry copies of the regular representation, in a sentence."""

from collections.abc import Sequence
from typing import Any

from orbitlens.report._notation import finite, short_name
from orbitlens.report._readings import part
from orbitlens.report._table import Record
from orbitlens.report.network._branches import layer_name

_CLEAR = ("exactly equivariant", "nearly equivariant")
_LISTED, _LONGEST_NAME = 5, 40


def regular_sentence(record: Record, layers: Sequence[Record]) -> str:
    """Say which layers carry copies of the regular representation; empty if none does.

    Layers that are not nearly equivariant are passed over: what their transport is says little.
    """
    irreps = part(record, "group").get("irreps") or ()
    found = [
        (short_name(layer_name(layer), _LONGEST_NAME), m)
        for layer in layers
        if layer.get("verdict") in _CLEAR and (m := _regular_copies(layer, irreps))
    ]
    if not found:
        return ""
    (first, m), *others = found
    told = [f"{m} {'copy' if m == 1 else 'copies'} of the regular representation at {first}"]
    told += [f"{m} at {name}" for name, m in others[: _LISTED - 1]]
    more = f" and at {len(found) - _LISTED} more layers" if len(found) > _LISTED else ""
    return f"The report finds {', '.join(told)}{more}."


def _regular_copies(layer: Record, irreps: Sequence[Any]) -> int:
    """Return m if a layer carries m copies of the regular representation, and nothing else."""
    copies = [finite(each) for each in layer.get("multiplicities") or ()]
    regular = [finite((irrep or {}).get("in_regular")) for irrep in irreps]
    if not copies or None in (*copies, *regular) or len(copies) != len(regular):
        return 0
    m = round(copies[0] or 0)
    return m if copies == [m * (each or 0) for each in regular] else 0
