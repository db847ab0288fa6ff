"""The page of a check: is a group a symmetry of a network, or of an environment?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orbitlens.errors import printable
from orbitlens.report import _check_readings as of_network
from orbitlens.report import _environment_readings as of_environment
from orbitlens.report._check_chart import check_chart
from orbitlens.report._forms import check_form
from orbitlens.report._notation import element_label
from orbitlens.report._readings import action_notices, part, passed_over
from orbitlens.report._render import list_settings, write_html
from orbitlens.report._table import Record

_RUN: dict[Any, Any] = {
    "model": {},
    "inputs": {"passed_over": []},
    "group": {"elements": []},
    "action": {},
    "config": {},
    "seconds": {},
    "warnings": [],
}
_NETWORK: dict[Any, Any] = {
    "sentence": str,
    "wrong_groups": {"shuffled": {}, "other": {}, "inverse": {}},
    "elements": [{"shuffled": {}, "other": {}, "inverse": {}}],
}
_ENVIRONMENT: dict[Any, Any] = {
    "sentence": str,
    "reward": {},
    "transition": {},
    "wrong_maps": {},
    "q_bound": {},
    "notes": [],
}
_STYLES = ("_network.css.j2", "_check.css.j2")


def write_check_page(path: str | Path, record: Mapping[str, Any]) -> Path:
    """Write the page of a check to an HTML file, and return its path.

    The file is self-contained and needs no script. It is written under a temporary name and
    renamed. The same record gives the same bytes. "check" of the record is that of `check_symmetry`
    or, with an "environment", that of `check_environment`; "model", "inputs", "group", "action",
    "config" and "seconds" describe it. Entries that are missing or None are left out or shown as a
    dash; figures that are not finite are called so. Characters that could steer a browser or a
    terminal are written as escapes.

    Raises:
        OrbitLensError: If a part of the record is of another type than a check writes.
    """
    record = _printable(record)
    check_form(record, {**_RUN, "check": {}})
    environment = bool(part(record, "check").get("environment"))
    check_form(record, {"check": _ENVIRONMENT if environment else _NETWORK})
    kind = "environment" if environment else "network"
    view = _environment_view(record) if environment else _network_view(record)
    return write_html(path, f"check_{kind}.html.j2", view, styles=_STYLES)


def _printable(entry: Any) -> Any:
    """Return a part of a record whose keys and texts have no control characters."""
    match entry:
        case str():
            return printable(entry)
        case Mapping():
            return {_printable(key): _printable(value) for key, value in entry.items()}
        case list() | tuple():
            return [_printable(each) for each in entry]
        case _:
            return entry


def _network_view(record: Record) -> dict[str, Any]:
    check = part(record, "check")
    rows = of_network.rows_of(check)
    return {
        **_shared(record),
        "title": of_network.title(record),
        "summary": element_label(_summary(record)),
        "headlines": of_network.headlines(check),
        "notices": [
            *action_notices(part(record, "action")),
            *passed_over(part(record, "inputs")),
        ],
        "definition": of_network.definition(check),
        "controls": of_network.controls(check),
        "chart": check_chart(
            rows,
            of_network.marks(check),
            "log scale, 1 = spread of the outputs",
            of_network.words_of(check),
        ),
        "table": of_network.table(check),
        "settings": list_settings(
            record, "Model, inputs, group and action", ("model", "inputs", "group", "action")
        ),
    }


def _environment_view(record: Record) -> dict[str, Any]:
    check = part(record, "check")
    return {
        **_shared(record),
        "title": of_environment.title(check),
        "summary": _summary(record),
        "headlines": of_environment.headlines(check),
        "notices": [],
        "notes": [str(note) for note in check.get("notes") or ()],
        "definition": of_environment.definition(check),
        "controls": of_environment.controls(check),
        "chart": check_chart(
            of_environment.rows_of(check),
            of_environment.MARKS,
            "log scale, 1 = a step, or the unit of rewards",
        ),
        "figures": of_environment.figures(check),
        "bound": of_environment.bound(check),
        "holds": of_environment.holds(check),
        "laws": of_environment.laws(check),
        "settings": list_settings(record, "Environment", ()),
    }


def _summary(record: Record) -> str:
    sentences = (part(record, "check").get("sentence"), of_network.given(record))
    return " ".join(filter(None, sentences))


def _shared(record: Record) -> dict[str, Any]:
    return {
        "warnings": [str(each) for each in record.get("warnings") or ()],
        "longest_name": 0,
    }
