"""Charts as inline SVG, in the fonts and colours of the page.

Text stays text, and every colour becomes a variable of the page's style sheet, so a chart follows
the light or dark scheme. The same input gives the same bytes.
"""

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from orbitlens.errors import missing_extra
from orbitlens.report._notation import PALETTE, SaeStyle, element_label, finite, score

# Colours in matplotlib, and the variable of the style sheet that replaces each.
_INK, _MUTED, _RULE, _LEARNED, _IDENTITY = "#101112", "#505152", "#d0d1d2", "#005fa3", "#909192"
_VARIABLES = {
    _INK: "--ink",
    _MUTED: "--muted",
    _RULE: "--rule",
    _LEARNED: "--accent",
    _IDENTITY: "--baseline",
    **{light: f"--series-{slot}" for slot, (light, _) in enumerate(PALETTE)},
}
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "orbitlens",
    "font.size": 9.0,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _MUTED,
    "axes.titlecolor": _INK,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _RULE,
    "xtick.labelcolor": _MUTED,
    "ytick.color": _RULE,
    "ytick.labelcolor": _MUTED,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}
_LOWEST_R2 = -0.5
_LONGEST_LABEL = 16


def transport_chart(
    elements: Sequence[str],
    learned: Sequence[float | int | None],
    identity: Sequence[float | int | None],
) -> str:
    """Draw R^2 of the learned transport and of the identity as a pair of bars per group element.

    None or NaN leaves a gap. Bars below -0.5 are cut there; their numbers are written in full.
    Returns an inline SVG.
    """
    with _page_style():
        height = 0.55 + 0.42 * len(elements)
        figure, axes = _axes(width=4.7, height=height)
        lowest = 0.0
        for offset, values, colour in ((-0.19, learned, _LEARNED), (0.19, identity, _IDENTITY)):
            for place, value in enumerate(values):
                number = finite(value)
                drawn = max(number or 0.0, _LOWEST_R2)
                lowest = min(lowest, drawn)
                axes.barh(place + offset, drawn, height=0.34, color=colour)
                axes.text(
                    max(drawn, 0.0) + 0.015, place + offset, score(value), va="center", fontsize=8.5
                )
        axes.set_yticks(range(len(elements)), [_short(element_label(name)) for name in elements])
        axes.tick_params(axis="y", length=0, labelcolor=_INK, labelsize=10)
        axes.invert_yaxis()
        axes.set_xlim(lowest, 1.14)
        axes.set_xticks([tick for tick in (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0) if tick >= lowest])
        axes.grid(visible=True, axis="x")
        axes.spines["left"].set_visible(False)
        axes.axvline(0.0, color=_MUTED, linewidth=0.8)
        return _inline(figure, "transport", "R² of the transport and of the identity, per element")


def training_chart(
    quantity: str,
    title: str,
    curves: Mapping[str, Sequence[float | int | None]],
    styles: Mapping[str, SaeStyle],
) -> str | None:
    """Draw one quantity over the epochs, one curve per SAE, as an inline SVG.

    None and values that are not finite leave gaps; without a finite value there is no chart. The
    axis of "loss" is logarithmic where all values are positive and the largest is more than five
    times the smallest; that of "explained_variance" starts at -0.5 or above.
    """
    gaps = {
        name: [math.nan if (number := finite(value)) is None else number for value in values]
        for name, values in curves.items()
    }
    known = [value for values in gaps.values() for value in values if not math.isnan(value)]
    if not known:
        return None
    with _page_style():
        figure, axes = _axes(width=3.9, height=2.7)
        for name, values in gaps.items():
            style = styles[name]
            axes.plot(
                range(1, len(values) + 1),
                values,
                color=PALETTE[style.slot][0],
                linestyle=(0, style.dashes) if style.dashes else "-",
                marker="o" if len(values) == 1 else None,
            )
        if quantity == "loss" and min(known) > 0 and max(known) / min(known) > 5:
            axes.set_yscale("log")
            _label_decades(axes.yaxis, math.log10(max(known) / min(known)))
        if quantity == "explained_variance":
            axes.set_ylim(max(_LOWEST_R2, min(0.0, *known)), 1.02)
        if quantity == "dead_latents":
            axes.set_ylim(0, 1.05 * max(1, *known))
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.grid(visible=True, axis="y")
        return _inline(figure, quantity, f"{title} over the epochs, one curve per SAE")


def _label_decades(axis: Any, decades: float) -> None:
    """Write 0.1, 0.2, 0.5, ... in plain digits: powers of ten need TeX, and SVG text has none."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 3 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _short(label: str) -> str:
    """Cut a long label to leave room for the bars; the page's table has it in full."""
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def _page_style() -> Any:
    """Return a context that replaces the user's matplotlib settings by those of the page."""
    try:
        from matplotlib import style
    except ImportError:
        raise missing_extra("matplotlib", extra="report") from None
    return style.context(["default", _SETTINGS])


def _axes(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.subplots()
    axes.patch.set_visible(False)
    return figure, axes


def _inline(figure: Any, name: str, label: str) -> str:
    """Turn a figure into an SVG element of a page."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    drawn = buffer.getvalue()
    box = re.search(r'viewBox="([^"]+)"', drawn)
    body = drawn[drawn.index(">", drawn.index("<svg")) + 1 :]
    # This rule would apply to the whole page; the page's style sheet has it for charts.
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    # Several charts share one page, and an id must be unique there.
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    # Depending on its version, matplotlib names its fonts in "font" or in "font-family".
    body = re.sub(r"font: ([\d.]+)px '[^;\"]*", r"font-size: \1px", body)
    body = re.sub(r"font-family: [^;\"]*; ?", "", body)
    body = re.sub(r"<[^>]*>", _with_attributes, body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    size = box[1] if box else ""
    return (
        f'<svg class="chart" viewBox="{size}" role="img" aria-label="{html.escape(label)}">{body}'
    )


def _with_attributes(tag: re.Match[str]) -> str:
    """Write the inline style of a tag as attributes: the page allows its style sheet alone."""
    return re.sub(r' style="([^"]*)"', _attributes, tag[0])


def _attributes(style: re.Match[str]) -> str:
    rules = (rule.partition(":") for rule in style[1].split(";") if rule.strip())
    return "".join(f' {name.strip()}="{value.strip()}"' for name, _, value in rules)
