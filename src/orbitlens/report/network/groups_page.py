"""The page of a choice between groups: which of them acts up to which layer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orbitlens.report._doubts import network_doubts
from orbitlens.report._forms import check_form
from orbitlens.report._notation import figure, percent
from orbitlens.report._readings import network_input, part, passed_over, warnings
from orbitlens.report._render import list_settings, write_html
from orbitlens.report._table import Record
from orbitlens.report.network._branches import layer_name
from orbitlens.report.network._groups_grid import make_grid
from orbitlens.report.network._groups_readings import (
    groups_of,
    layers_under,
    lead,
    shown_layers,
    title,
)
from orbitlens.report.network._readings import order_notices
from orbitlens.report.network._table import band_meanings

_FORM: dict[Any, Any] = {
    "model": {},
    "inputs": {"skipped": [], "passed_over": []},
    "groups": [{}],
    "failed": {},
    "sequence": [{"after": []}],
    "chosen": {},
    "ranking": [{}],
    "skipped": {},
    "config": {},
    "seconds": {},
    "warnings": [],
}


def write_groups_page(path: str | Path, record: Mapping[str, Any]) -> Path:
    """Write the page that compares groups on every layer to an HTML file, and return its path.

    The file is self-contained and needs no script. It is written under a temporary name and
    renamed. The same record gives the same bytes. "ranking" of the record has the figures of each
    layer under each group, "chosen" the group that is chosen for each layer, "sequence" the layers
    in the order of the calls with those that feed them, "groups" the groups, and "failed" the
    reason for each group that could not be measured. The page links to groups/NAME/report for each
    group with "page", in the folder above its own. Entries that are missing or None are left out or
    shown as a dash.

    Raises:
        OrbitLensError: If a part of the record is of another type than the choice writes.
    """
    check_form(record, _FORM)
    return write_html(path, "network_groups.html.j2", _view(record), styles=["_network.css.j2"])


def _view(record: Record) -> dict[str, Any]:
    layers = shown_layers(record)
    return {
        "title": title(record),
        "summary": lead(record),
        "headlines": [],
        "warnings": warnings(record, network_doubts(record)),
        "notices": [
            *network_input(part(record, "inputs")),
            *passed_over(part(record, "inputs")),
            *order_notices(layers),
        ],
        "chart": None,
        "longest_name": max((len(layer_name(layer)) for layer in layers), default=0),
        "grid": make_grid(record),
        "band_meanings": band_meanings(),
        "groups": [_group(record, group) for group in groups_of(record)],
        "failed": [(str(name), str(why)) for name, why in part(record, "failed").items()],
        "skipped": [(str(name), str(why)) for name, why in part(record, "skipped").items()],
        "settings": list_settings(record, "Model and inputs", ("model", "inputs")),
    }


def _group(record: Record, group: Record) -> dict[str, Any]:
    name = str(group.get("name"))
    chosen = list(part(record, "chosen").values())
    rows = layers_under(record, name)
    linked = group.get("page") and name.isalnum()  # as all names of groups are
    return {
        "name": name,
        "order": figure(group.get("order")),
        "acts": f"{sum(each.acts for each in rows)} of {len(rows)}",
        "chosen": str(chosen.count(name)),
        "error": "exact" if group.get("exact") is not False else percent(group.get("error")),
        "page": f"../groups/{quote(name)}/report/index.html" if linked else "",
    }
