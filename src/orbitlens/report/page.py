"""The page of a run: one HTML file with everything in it, to open from disk or send by mail."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orbitlens.metrics._turning_words import moving_word
from orbitlens.report import _readings as readings
from orbitlens.report._doubts import run_doubts
from orbitlens.report._elements import Element, element_names, elements_of
from orbitlens.report._forms import RUN, check_form
from orbitlens.report._gallery import galleries
from orbitlens.report._notation import SaeStyle, element_label, figure, finite, sae_styles, score
from orbitlens.report._plots import training_chart, transport_chart
from orbitlens.report._readings import part
from orbitlens.report._render import list_settings, write_html
from orbitlens.report._sae_tables import features_table, probe_tables, sae_table
from orbitlens.report._table import Record
from orbitlens.report.features import FeatureCard

_Histories = Mapping[str, Mapping[str, Sequence[float | int | None]]]
_MOST_WORDS = 48
_CURVES = {
    "loss": "Loss",
    "explained_variance": "Explained variance",
    "dead_latents": "Dead latents",
}


def write_page(
    path: str | Path,
    metrics: Mapping[str, Any],
    histories: _Histories,
    cards: Sequence[FeatureCard],
) -> Path:
    """Write the page of a run to an HTML file, and return its path.

    The file is self-contained: it holds its pictures, charts, style and script, loads nothing from
    a network, and is complete without the script. It is written under a temporary name and renamed.
    The same input gives the same bytes. `metrics` is the record in metrics.json; parts that are
    missing or None are left out or shown as a dash, and figures that are not finite are called so.
    `histories` has for each SAE "loss", "explained_variance" and "dead_latents", one value per
    epoch.

    Raises:
        OrbitLensError: If a part of the record is of another type than a run writes.
    """
    check_form(metrics, RUN)
    view = _view(metrics, histories, cards)
    return write_html(path, "page.html.j2", view, script="_script.js.j2")


def _view(metrics: Record, histories: _Histories, cards: Sequence[FeatureCard]) -> dict[str, Any]:
    saes = part(metrics, "saes")
    styles = sae_styles([*saes, *histories, *(card.sae for card in cards)])
    names, elements = element_names(metrics), elements_of(metrics)
    moving = moving_word(part(metrics, "action").get("name"))
    return {
        "title": readings.title(metrics),
        "summary": readings.summary(metrics),
        "headlines": readings.headlines(metrics, styles),
        "warnings": readings.warnings(metrics, run_doubts(metrics)),
        "notices": readings.notices(metrics),
        "styles": styles,
        "transport": _transport(part(metrics, "transport"), names, elements),
        "table": sae_table(saes, styles),
        "base_mse": finite(part(metrics, "model").get("mse")),
        "probes": probe_tables(saes, styles),
        "curves": _curves(histories, styles),
        "trained": [style for name, style in styles.items() if histories.get(name)],
        "moving": moving,
        "features": features_table(saes, styles, moving),
        "galleries": galleries(cards, elements, styles),
        "settings": list_settings(metrics, "Data, model and action", ("data", "model", "action")),
    }


def _transport(
    transport: Record, names: Sequence[str], elements: Sequence[Element]
) -> dict[str, Any]:
    """Return the chart, figures and readings of the transport; empty without a transport."""
    if not transport:
        return {}
    learned, identity = (
        [*(transport.get(key) or ()), *[None] * len(elements)][: len(elements)]
        for key in ("r2_per_element", "identity_r2_per_element")
    )
    orders = transport.get("order_errors") or {}
    return {
        "chart": transport_chart(names, learned, identity) if names else None,
        "words": [element for element in elements if element.words][:_MOST_WORDS],
        "rows": [
            (element, score(ours), score(theirs))
            for element, ours, theirs in zip(elements, learned, identity, strict=True)
        ],
        "figures": [
            ("Method", str(transport.get("method") or "not recorded").replace("_", " ")),
            ("R²", score(transport.get("r2"))),
            *_interval(transport),
            ("R² of the identity", score(transport.get("identity_r2"))),
            ("Relation error", figure(transport.get("relation_error"))),
            *((f"Order error of {element_label(g)}", figure(e)) for g, e in orders.items()),
            *_conditioning(transport),
        ],
        "readings": readings.transport_readings(transport),
    }


def _interval(transport: Record) -> list[tuple[str, str]]:
    bounds = transport.get("r2_interval")
    if not bounds or len(bounds) != 2:
        return []
    return [("95% interval of R²", f"{score(bounds[0])} to {score(bounds[1])}")]


def _conditioning(transport: Record) -> list[tuple[str, str]]:
    """Return the figures that decide whether the inverse is safe to use."""
    lines = []
    if "condition_number" in transport:
        lines.append(("Condition number", figure(transport["condition_number"])))
    dim, variable = transport.get("dim"), transport.get("variable")
    if dim is not None and variable is not None and variable < dim:
        lines.append(("Directions without variance, not moved", f"{dim - variable} of {dim}"))
    return lines


def _curves(histories: _Histories, styles: Mapping[str, SaeStyle]) -> list[str]:
    charts = [
        training_chart(
            quantity,
            title,
            {name: history.get(quantity) or () for name, history in histories.items() if history},
            styles,
        )
        for quantity, title in _CURVES.items()
    ]
    return [chart for chart in charts if chart is not None]
