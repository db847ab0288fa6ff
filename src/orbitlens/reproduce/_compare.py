"""Our figures beside the published ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orbitlens.errors import OrbitLensError
from orbitlens.reproduce._tables import Row

_FIGURES = 4  # of a row, on the screen
_SPREADS = ("std", "stderr")
_LOWER_IS_BETTER = ("mse",)
_NEITHER = ("r2_identity",)  # describes the network, not us


@dataclass(frozen=True)
class Comparison:
    """One figure of ours beside the published one.

    Args:
        key: The measured case, such as {"sae": "vanilla"}.
        metric: The name of the figure.
        ours: Our mean.
        our_spread: Its spread.
        paper: The published mean.
        paper_spread: Its spread.
        verdict: "within the spread" if the means differ by at most the sum of the spreads, else
            "better" or "worse", or "different" for a figure that is neither; "not measured" if ours
            is missing.
    """

    key: Mapping[str, Any]
    metric: str
    ours: float | None
    our_spread: float | None
    paper: float
    paper_spread: float
    verdict: str

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        return None if self.ours is None else self.ours - self.paper

    def to_dict(self) -> dict[str, Any]:
        """Return a row of comparison.csv."""
        names = ("metric", "ours", "our_spread", "paper", "paper_spread", "difference", "verdict")
        return {**self.key, **{name: getattr(self, name) for name in names}}


def compare(
    results: Sequence[Mapping[str, Any]],
    expected: Sequence[Mapping[str, Any]],
    *,
    where: Mapping[str, Any],
) -> list[Comparison]:
    """Join our results with a published table; return one comparison per published figure.

    A published figure is a pair of columns NAME_mean and NAME_std or NAME_stderr. The other columns
    name the measured case and are the keys of the join. `where` gives the values of our further
    columns in the published setting.
    """
    if not expected:
        return []
    metrics = {
        name.removesuffix("_mean"): next(s for s in _SPREADS if f"{name[:-5]}_{s}" in expected[0])
        for name in expected[0]
        if name.endswith("_mean")
    }
    figures = {f"{m}_{end}" for m, spread in metrics.items() for end in ("mean", spread)}
    keys = [name for name in expected[0] if name not in figures]
    found: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in results:
        if all(row.get(name) == value for name, value in where.items()):
            key = tuple(row[name] for name in keys)
            if key in found:
                raise OrbitLensError(
                    "`where`",
                    expected="one row of ours for each published row",
                    received=f"several for {dict(zip(keys, key, strict=True))}",
                    remedy="give the value of every further column of the results",
                )
            found[key] = row
    return [
        _judge({name: row[name] for name in keys}, metric, spread, row, found.get(key, {}))
        for row in expected
        for key in [tuple(row[name] for name in keys)]
        for metric, spread in metrics.items()
    ]


def _judge(
    key: Mapping[str, Any],
    metric: str,
    spread: str,
    row: Mapping[str, Any],
    found: Mapping[str, Any],
) -> Comparison:
    mean, own = found.get(f"{metric}_mean"), found.get(f"{metric}_{spread}")
    # A figure of 1.0 or 0.0 is read as a whole number.
    paper, paper_spread = float(row[f"{metric}_mean"]), float(row[f"{metric}_{spread}"])
    if mean is None:
        verdict = "not measured"
    elif abs(mean - paper) <= (own or 0.0) + paper_spread:
        verdict = "within the spread"
    elif metric in _NEITHER:
        verdict = "different"
    else:
        verdict = "better" if (mean > paper) != (metric in _LOWER_IS_BETTER) else "worse"
    return Comparison(key, metric, mean, own, paper, paper_spread, verdict)


def comparison_lines(compared: Sequence[Comparison]) -> list[str]:
    """Format a comparison as lines of text: ours, the paper's, the difference, a verdict.

    The last line counts the verdicts. If nothing was published, there is one line.
    """
    if not compared:
        return ["nothing published to compare with"]
    labels = [" ".join([*map(str, each.key.values()), each.metric]) for each in compared]
    width = max(map(len, labels))
    lines = [f"{'':<{width}} {'ours':>17} {'paper':>17} {'difference':>10}  verdict"]
    for label, each in zip(labels, compared, strict=True):
        ours = "-" if each.ours is None else f"{each.ours:.3f} +- {_spread(each.our_spread)}"
        difference = "-" if each.difference is None else f"{each.difference:+.3f}"
        paper = f"{each.paper:.3f} +- {each.paper_spread:.3f}"
        lines.append(f"{label:<{width}} {ours:>17} {paper:>17} {difference:>9}  {each.verdict}")
    verdicts = [each.verdict for each in compared]
    counts = (f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
    return [*lines, ", ".join(counts)]


def result_lines(rows: Sequence[Row]) -> list[str]:
    """Format rows of results.csv as lines of text: what was run, then its first figures.

    A figure is `mean +- spread` if it has both. The other columns are in the file.
    """
    figures = [name for name in (rows[0] if rows else {}) if name.endswith("_mean")]
    spreads = [name.removesuffix("_mean") for name in figures]
    keys = list(rows[0])[: list(rows[0]).index(figures[0])] if figures else []
    shown = list(zip(figures, spreads, strict=True))[:_FIGURES]
    if not shown:
        return []
    labels = [" ".join(str(row[key]) for key in keys) for row in rows]
    width = max(len(" ".join(keys)), *map(len, labels))
    lines = [f"{' '.join(keys):<{width}}" + "".join(f" {name:>22}" for _, name in shown)]
    for label, row in zip(labels, rows, strict=True):
        cells = [_figure(row, figure, name) for figure, name in shown]
        lines.append(f"{label:<{width}}" + "".join(f" {cell:>22}" for cell in cells))
    return lines


def _figure(row: Row, figure: str, name: str) -> str:
    if row[figure] is None:
        return "-"
    spread = row.get(f"{name}_std", row.get(f"{name}_stderr"))
    return f"{row[figure]:.4g}" + ("" if spread is None else f" +- {spread:.2g}")


def _spread(value: float | None) -> str:
    return "?    " if value is None else f"{value:.3f}"
