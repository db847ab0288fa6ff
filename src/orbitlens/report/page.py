"""The page itself: one HTML file with everything in it, to open from disk or send by mail."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orbitlens.errors import missing_extra
from orbitlens.files import new_file
from orbitlens.report import readings
from orbitlens.report.features import FeatureCard
from orbitlens.report.gallery import galleries
from orbitlens.report.names import PALETTE, SaeStyle, element_label, sae_styles
from orbitlens.report.numbers import duration, figure, finite, score
from orbitlens.report.plots import training_chart, transport_chart
from orbitlens.report.probe_tables import probe_tables
from orbitlens.report.readings import part
from orbitlens.report.sae_table import sae_table
from orbitlens.report.table import Record

Histories = Mapping[str, Mapping[str, Sequence[float | int | None]]]
_CURVES = {
    "loss": "Loss",
    "explained_variance": "Explained variance",
    "dead_latents": "Dead latents",
}


def write_page(
    path: str | Path, metrics: Mapping[str, Any], histories: Histories, cards: Sequence[FeatureCard]
) -> Path:
    """Write the page of a run.

    The file is self-contained: pictures, charts, style and script are inside, nothing is loaded
    from a network, and it reads well without the script. It is written under a temporary name and
    renamed; the same input gives the same bytes. What is missing or None in `metrics` is left out
    or shown as a dash; figures that are not finite are shown as such.

    Args:
        path: The HTML file; replaced if it exists.
        metrics: The record that is written as metrics.json.
        histories: For each SAE "loss", "explained_variance" and "dead_latents", one value per
            epoch; empty without.
        cards: Features to show, see `feature_cards`; empty without.

    Returns:
        The path.

    Raises:
        MissingExtraError: If jinja2, matplotlib or pillow is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_page(Path(folder) / "page.html", {"saes": {"vanilla": {}}}, {}, [])
        ...     page.read_text(encoding="utf-8").startswith("<!doctype html>")
        True
    """
    path = Path(path)
    page = _template().render(_view(metrics, histories, cards))
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as file:
        # A lone surrogate, as in a file name that is not UTF-8, must not lose the page.
        file.write_text(page, encoding="utf-8", errors="replace", newline="\n")
    return path


def _template() -> Any:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise missing_extra("jinja2", extra="report") from None
    environment = Environment(
        loader=PackageLoader("orbitlens", "report/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _view(metrics: Record, histories: Histories, cards: Sequence[FeatureCard]) -> dict[str, Any]:
    saes = part(metrics, "saes")
    styles = sae_styles([*saes, *histories, *(card.sae for card in cards)])
    elements = [str(name) for name in part(metrics, "group").get("elements") or ()]
    return {
        "title": readings.title(metrics),
        "summary": readings.summary(metrics),
        "headlines": readings.headlines(metrics, styles),
        "notices": readings.notices(metrics, styles),
        "palette": PALETTE,
        "styles": styles,
        "transport": _transport(part(metrics, "transport"), elements),
        "table": sae_table(saes, styles),
        "base_mse": finite(part(metrics, "model").get("mse")),
        "probes": probe_tables(saes, styles),
        "curves": _curves(histories, styles),
        "trained": [style for name, style in styles.items() if histories.get(name)],
        "galleries": galleries(cards, elements, styles),
        "settings": _settings(metrics),
        "figure": figure,
    }


def _transport(transport: Record, elements: Sequence[str]) -> dict[str, Any]:
    """Prepare chart, figures and readings of the transport; empty without one."""
    if not transport:
        return {}
    learned, identity = (
        [*(transport.get(key) or ()), *[None] * len(elements)][: len(elements)]
        for key in ("r2_per_element", "identity_r2_per_element")
    )
    orders = transport.get("order_errors") or {}
    return {
        "chart": transport_chart(elements, learned, identity) if elements else None,
        "rows": [
            (element_label(name), score(ours), score(theirs))
            for name, ours, theirs in zip(elements, learned, identity, strict=True)
        ],
        "figures": [
            ("Method", str(transport.get("method") or "not recorded").replace("_", " ")),
            ("R²", score(transport.get("r2"))),
            ("R² of the identity", score(transport.get("identity_r2"))),
            ("Relation error", figure(transport.get("relation_error"))),
            *((f"Order error of {element_label(g)}", figure(e)) for g, e in orders.items()),
        ],
        "readings": readings.transport_readings(transport),
    }


def _curves(histories: Histories, styles: Mapping[str, SaeStyle]) -> list[str]:
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


def _settings(metrics: Record) -> dict[str, list[tuple[str, str]]]:
    """Collect the plain entries that rebuild the run: settings, data, model, and times."""
    seconds = part(metrics, "seconds")
    known = [time for value in seconds.values() if (time := finite(value)) is not None]
    sections = {
        "Settings": [(name, _plain(value)) for name, value in part(metrics, "config").items()],
        "Data, model and action": [
            (f"{name}: {key}", _plain(value))
            for name in ("data", "model", "action")
            for key, value in part(metrics, name).items()
            if value not in (None, [], ())
        ],
        "Time": [
            *((str(stage), duration(value)) for stage, value in seconds.items()),
            *([("total", duration(sum(known)))] if known else []),
        ],
    }
    return {heading: entries for heading, entries in sections.items() if entries}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
