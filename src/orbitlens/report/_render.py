"""Writing a page to a file, and the list of settings at the end of every page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orbitlens.errors import missing_extra
from orbitlens.files import new_file
from orbitlens.report._notation import PALETTE, duration, figure, finite
from orbitlens.report._readings import part
from orbitlens.report._table import Record


def write_html(path: str | Path, template: str, view: Mapping[str, Any]) -> Path:
    """Fill in a template and write it under a temporary name, then rename it. Returns the path."""
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
    path = Path(path)
    page = environment.get_template(template).render(view, palette=PALETTE, figure=figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as file:
        # File names that are not UTF-8 bring lone surrogates, which UTF-8 cannot encode.
        file.write_text(page, encoding="utf-8", errors="replace", newline="\n")
    return path


def list_settings(
    metrics: Record, heading: str, parts: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    """List names and values by heading: the settings, some parts of the record, and the times.

    `heading` is that of `parts`. Missing parts and headings without an entry are left out.
    """
    seconds = part(metrics, "seconds")
    known = [time for value in seconds.values() if (time := finite(value)) is not None]
    sections = {
        "Settings": [(name, _plain(value)) for name, value in part(metrics, "config").items()],
        heading: [
            (f"{name}: {key}", _plain(value))
            for name in parts
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
