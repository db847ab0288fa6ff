"""Plots of the recipes: one panel per metric, one line or bar per SAE."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orbitlens.errors import missing_extra
from orbitlens.files import new_file

_STYLES = {
    "vanilla": ("#555555", "-"),
    "vanilla_wide": ("#555555", "--"),
    "archetypal": ("#b07aa1", "-"),
    "archetypal_wide": ("#b07aa1", "--"),
    "crosscoder": ("#e8a33d", "-"),
    "equivariant_canonical": ("#1f77b4", "-"),
    "equivariant_latent": ("#2a9d4a", "-"),
    "equivariant_output": ("#d1495b", "-"),
    "orbit": ("#00a5b5", "-"),
    "orbit_invariant": ("#00a5b5", "--"),
    "orbit_oriented": ("#00a5b5", ":"),
}
_COLUMNS = 4


def line_panels(
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    *,
    x: tuple[str, str],
    series: str,
    metrics: Mapping[str, str],
    title: str,
    log: bool = False,
    dodge: float = 0.0,
    joined: bool = True,
) -> None:
    """Draw one panel for each metric, with a line and its spread for each series, into a PNG file.

    Rows are those of results.csv: each metric has NAME_mean and NAME_std or NAME_stderr, and
    `metrics` says which. `x` is the field along the axis and its label. `log` makes the axes of the
    metrics logarithmic. `dodge` is the share of the way between two ticks over which the series lie
    side by side, for curves that would hide each other. `joined` is False where the ticks are
    categories, which no line joins.
    """
    columns = min(_COLUMNS, len(metrics))
    lines = -(-len(metrics) // columns)
    figure = _figure(columns, lines)
    axes = figure.subplots(lines, columns, squeeze=False).flat
    field, label = x
    ticks = sorted({row[field] for row in rows})
    # A series without a style of its own has one colour in all panels.
    styles = {name: (f"C{i}", "-") for i, name in enumerate(dict.fromkeys(r[series] for r in rows))}
    styles |= {name: style for name, style in _STYLES.items() if name in styles}
    for axis, (metric, spread) in zip(axes, metrics.items(), strict=False):
        drawn = [n for n in styles if any(r[series] == n and _has(r, metric) for r in rows)]
        for place, name in enumerate(drawn):
            points = sorted(
                (ticks.index(row[field]), row[f"{metric}_mean"], row[f"{metric}_{spread}"] or 0.0)
                for row in rows
                if row[series] == name and _has(row, metric)
            )
            colour, style = styles[name]
            at, mean, error = zip(*points, strict=True)
            aside = dodge * ((place + 0.5) / len(drawn) - 0.5)
            axis.errorbar(
                [tick + aside for tick in at], mean, error, label=name, color=colour,
                linestyle=style if joined else "none", marker="o", ms=3, lw=1.3, elinewidth=0.8,
            )  # fmt: skip
        axis.set_xticks(range(len(ticks)), [str(tick) for tick in ticks])
        if log:
            axis.set_yscale("log")
            _label_more(axis)
        axis.set_xlabel(label)
        axis.set_title(metric.replace("_", " "), fontsize=10)
        axis.grid(alpha=0.25)
    for axis in figure.axes[len(metrics) :]:
        axis.remove()
    _save(figure, path, title)


def by_panel(
    rows: Sequence[Mapping[str, Any]], metric: str, panel: str, spread: str = "stderr"
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Give the metric NAME one name for each panel, so that `line_panels` draws the panels apart.

    `panel` is a template such as "{group}, TopK {topk}". Returns the rows with NAME_mean and
    NAME_stderr (or what `spread` says) under the panel's name as well, and the metrics for
    `line_panels`.

    Example:
        >>> row = {"group": "C4", "f1_mean": 0.5, "f1_stderr": 0.1}
        >>> rows, metrics = by_panel([row], "f1", "{group}")
        >>> rows[0]["C4_mean"], metrics
        (0.5, {'C4': 'stderr'})
    """
    named = [(row, panel.format(**row)) for row in rows]
    laid_out = [
        {**row, **{f"{name}_{end}": row[f"{metric}_{end}"] for end in ("mean", spread)}}
        for row, name in named
    ]
    return laid_out, dict.fromkeys((name for _, name in named), spread)


def bar_panels(
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    *,
    panel: tuple[str, ...],
    series: str,
    group: str,
    metrics: Sequence[str],
    title: str,
) -> None:
    """Draw one row of panels for each metric, with bars on a logarithmic axis.

    Fields tell apart the panels (`panel`), the groups of bars (`group`) and the bars of a group
    (`series`). Rows have NAME_mean and NAME_stderr of each metric.
    """
    metrics = [m for m in metrics if any(row[f"{m}_mean"] is not None for row in rows)]
    panels = list(dict.fromkeys(tuple(row[name] for name in panel) for row in rows))
    names = list(dict.fromkeys(row[series] for row in rows))
    groups = sorted({row[group] for row in rows})
    figure = _figure(len(panels), len(metrics))
    axes = figure.subplots(len(metrics), len(panels), squeeze=False, sharey="row")
    for metric, line in zip(metrics, axes, strict=True):
        for key, axis in zip(panels, line, strict=True):
            for place, name in enumerate(names):
                own = [
                    row
                    for row in rows
                    if row[series] == name
                    and tuple(row[n] for n in panel) == key
                    and row[f"{metric}_mean"] is not None
                ]
                colour, style = _STYLES.get(name, (None, "-"))
                axis.bar(
                    [groups.index(row[group]) + (place - len(names) / 2) / (len(names) + 1)
                     for row in own],
                    [row[f"{metric}_mean"] for row in own],
                    yerr=[row[f"{metric}_stderr"] or 0.0 for row in own],
                    width=0.9 / (len(names) + 1),
                    label=name,
                    color=colour,
                    alpha=1.0 if style == "-" else 0.5,
                )  # fmt: skip
            axis.set_yscale("log")
            axis.set_xticks(range(len(groups)), [f"{group} {value}" for value in groups])
            axis.set_title(" ".join(map(str, key)), fontsize=10)
        line[0].set_ylabel(metric.replace("_", " "))
    _save(figure, path, title)


def _has(row: Mapping[str, Any], metric: str) -> bool:
    return row.get(f"{metric}_mean") is not None


def _label_more(axis: Any) -> None:
    """Label 2 and 5 too on a logarithmic axis of few decades, where powers of ten are too few."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_ylim()
    if low > 0 and high < 1000 * low:
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())


def _figure(columns: int, lines: int) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_extra("matplotlib", extra="report") from None
    return Figure(figsize=(3.4 * columns, 2.9 * lines + 0.8), layout="constrained")


def _save(figure: Any, path: Path, title: str) -> None:
    """Add the title and one legend for the series of all panels, and write the file."""
    found: dict[str, Any] = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    figure.legend(
        list(found.values()), list(found), loc="outside lower center", ncols=4, fontsize=8
    )
    figure.suptitle(title, fontsize=11)
    with new_file(path) as file:
        figure.savefig(file, dpi=150, format="png", bbox_inches="tight")
