"""The page of an equivariance report: a network in one picture, and the figures of its layers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orbitlens.report._doubts import network_doubts
from orbitlens.report._forms import NETWORK, check_form
from orbitlens.report._notation import irrep_styles
from orbitlens.report._readings import part, warnings
from orbitlens.report._render import list_settings, write_html
from orbitlens.report._table import Record
from orbitlens.report.network import _readings as readings
from orbitlens.report.network._branches import layer_name
from orbitlens.report.network._chart import network_chart
from orbitlens.report.network._table import network_table
from orbitlens.report.network._use import standing_sentence, uses_of


def write_network_page(path: str | Path, record: Mapping[str, Any]) -> Path:
    """Write the page of the equivariance report of a network to an HTML file, and return its path.

    The file is self-contained and needs no script. It is written under a temporary name and
    renamed. The same record gives the same bytes. "layers" of the record has the figures of each
    layer, in the order in which the network calls them, and "skipped" the reason for each layer
    that was not measured; "use" has "kind" and "parts" of each layer that knows how much it uses of
    its parts; "model", "inputs", "group", "action", "config" and "seconds" describe the
    measurement. Entries that are missing or None are left out or shown as a dash; figures that are
    not finite are called so.

    Raises:
        OrbitLensError: If a part of the record is of another type than the measurement writes.
    """
    check_form(record, NETWORK)
    return write_html(path, "network.html.j2", _view(record), styles=["_network.css.j2"])


def _view(record: Record) -> dict[str, Any]:
    layers, group, uses = readings.layers_of(record), part(record, "group"), uses_of(record)
    irreps = irrep_styles(irrep or {} for irrep in group.get("irreps") or ())
    # The picture and the table show the irreps; as a setting they are unreadable.
    plain = {**record, "group": {k: v for k, v in group.items() if k != "irreps"}}
    return {
        "title": readings.title(record),
        "summary": readings.lead(record),
        "headlines": readings.headlines(record),
        "warnings": warnings(record, network_doubts(record)),
        "notices": readings.notices(record),
        "chart": network_chart(layers, irreps, uses),
        "standing": standing_sentence(layers, uses),
        "table": network_table(layers, irreps, uses),
        "longest_name": max(
            map(len, (*map(layer_name, layers), *(u.layer for u in uses))), default=0
        ),
        "skipped": [(str(name), str(why)) for name, why in part(record, "skipped").items()],
        "settings": list_settings(
            plain, "Model, inputs, group and action", ("model", "inputs", "group", "action")
        ),
    }
