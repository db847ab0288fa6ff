"""Writing a page to a file, and the list of settings at the end of every page."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from orbitlens.errors import missing_extra, without_credentials
from orbitlens.files import new_file
from orbitlens.report._notation import PALETTE, duration, figure, finite
from orbitlens.report._readings import part
from orbitlens.report._table import Record

_STYLE = "_style.css.j2"


def write_html(
    path: str | Path,
    template: str,
    view: Mapping[str, Any],
    *,
    styles: Sequence[str] = (),
    script: str | None = None,
) -> Path:
    """Fill in a template and write it under a temporary name, then rename it. Returns the path.

    `styles` are the templates of the style sheet after the common one. The page allows its own
    style sheet and script by their hashes, pictures that it holds, and nothing else.
    """
    try:
        import jinja2
    except ImportError:
        raise missing_extra("jinja2", extra="report") from None
    templates = _templates(jinja2)

    def filled(name: str, **more: Any) -> str:
        text = templates.get_template(name).render(view, palette=PALETTE, figure=figure, **more)
        # File names that are not UTF-8 bring lone surrogates, which UTF-8 cannot encode.
        return text.encode("utf-8", "replace").decode()

    style = "".join(filled(name) for name in (_STYLE, *styles))
    code = "" if script is None else filled(script)
    page = filled(template, style=style, script=code, policy=_policy(style, code))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as file:
        file.write_text(page, encoding="utf-8", newline="\n")
    return path


@cache
def _templates(jinja2: Any) -> Any:
    """Return the templates, which are compiled for the first page alone."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("orbitlens", "report/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _policy(style: str, script: str) -> str:
    """Return the Content-Security-Policy of a page with one style sheet and at most one script."""
    parts = ["default-src 'none'", "img-src data:", "base-uri 'none'", "form-action 'none'"]
    for kind, text in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        parts += [f"{kind}-src 'sha256-{digest}'"] if text else []
    return "; ".join(parts)


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
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return without_credentials(text)
