"""How a page becomes a file, and the list of settings that every page ends with."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orbitlens.errors import missing_extra
from orbitlens.files import new_file
from orbitlens.report._names import PALETTE
from orbitlens.report._numbers import duration, figure, finite
from orbitlens.report._readings import part
from orbitlens.report._table import Record


def write_html(path: str | Path, template: str, view: Mapping[str, Any]) -> Path:
    """Fill in a template and write it under a temporary name, then rename it.

    Args:
        path: The HTML file; replaced if it exists.
        template: Name of the template.
        view: What it shows. The palette and the way to write a number are added.

    Returns:
        The path.

    Raises:
        MissingExtraError: If jinja2 is not installed.
    """
    path = Path(path)
    page = _template(template).render(view, palette=PALETTE, figure=figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as file:
        # A lone surrogate, as in a file name that is not UTF-8, must not lose the page.
        file.write_text(page, encoding="utf-8", errors="replace", newline="\n")
    return path


def _template(name: str) -> Any:
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
    return environment.get_template(name)


def settings(
    metrics: Record, heading: str, parts: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    """Collect the plain entries that rebuild a page: settings, what was measured, and times.

    Args:
        metrics: The record of the page; its parts may be missing or None.
        heading: What stands over the entries of `parts`.
        parts: The parts of the record that say what was measured.

    Returns:
        Names and values by heading; headings without an entry are left out.

    Example:
        >>> settings({"config": {"k": 8}, "data": {"n": 9}}, "Data", ["data"])
        {'Settings': [('k', '8')], 'Data': [('data: n', '9')]}
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
