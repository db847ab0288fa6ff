"""Plots of the recipes: files that are pictures, also where figures are missing."""

from pathlib import Path
from typing import Any

import pytest

from orbitlens.reproduce import _plots
from orbitlens.reproduce._plots import bar_panels, by_panel, line_panels

PNG = b"\x89PNG"


def row(sae: str, t: int, mean: float | None, spread: float | None) -> dict[str, object]:
    return {"sae": sae, "t": t, "model": "m", "mse_mean": mean, "mse_stderr": spread}


@pytest.mark.parametrize("spread", [0.1, None])
def test_lines_are_drawn_with_and_without_a_spread(tmp_path: Path, spread: float | None) -> None:
    rows = [row("a", 1, 0.5, spread), row("a", 2, 0.7, spread), row("b", 1, None, None)]
    path = tmp_path / "lines.png"
    line_panels(rows, path, x=("t", "t"), series="sae", metrics={"mse": "stderr"}, title="title")
    assert path.read_bytes().startswith(PNG)


def test_panels_are_told_apart_and_may_have_logarithmic_axes(tmp_path: Path) -> None:
    rows = [{"t": t, "sae": s, "mse_mean": 1 / t, "mse_std": 2.0} for t in (1, 2) for s in "ab"]
    shown, metrics = by_panel(rows, "mse", "SAE {sae}", spread="std")
    assert metrics == {"SAE a": "std", "SAE b": "std"}
    path = tmp_path / "lines.png"
    line_panels(shown, path, x=("t", "t"), series="sae", metrics=metrics, title="title", log=True)
    assert path.read_bytes().startswith(PNG)


def test_curves_lie_side_by_side_and_categories_are_not_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = kept_figures(monkeypatch)
    rows = [{"t": t, "sae": s, "mse_mean": t, "mse_std": 0.1} for t in (1, 2) for s in "ab"]
    settings = {"x": ("t", "t"), "series": "sae", "metrics": {"mse": "std"}, "title": "title"}
    for joined, style in ((True, "-"), (False, "None")):
        line_panels(rows, tmp_path / "l.png", **settings, dodge=0.4, joined=joined)
        lines = [bars.lines[0] for bars in figures.pop().axes[0].containers]
        assert [line.get_xdata().tolist() for line in lines] == [
            pytest.approx([-0.1, 0.9]),
            pytest.approx([0.1, 1.1]),
        ]
        assert {line.get_linestyle() for line in lines} == {style}


@pytest.mark.parametrize(
    ("values", "labels"), [((0.002, 0.15), {"0.002", "0.01", "0.05", "0.1"}), ((1e-6, 1.0), set())]
)
def test_a_logarithmic_axis_of_few_decades_has_labels_between_the_powers_of_ten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: tuple[float, float], labels: set[str]
) -> None:
    figures = kept_figures(monkeypatch)
    rows = [row("a", t, value, None) for t, value in enumerate(values)]
    settings = {"x": ("t", "t"), "series": "sae", "metrics": {"mse": "stderr"}, "title": "title"}
    line_panels(rows, tmp_path / "l.png", **settings, log=True)
    shown = {label.get_text() for label in figures[0].axes[0].get_yticklabels()}
    assert labels <= shown if labels else not shown & {"0.002", "0.05"}


def kept_figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that gets every figure that is written."""
    figures: list[Any] = []
    save = _plots._save

    def keep(figure: Any, *options: Any) -> None:
        figures.append(figure)
        save(figure, *options)

    monkeypatch.setattr(_plots, "_save", keep)
    return figures


def test_bars_leave_out_what_was_not_measured(tmp_path: Path) -> None:
    missing = {"spliced_mean": None, "spliced_stderr": None}
    rows = [row("a", 4, 0.5, None) | missing, row("b", 4, None, None) | missing]
    path = tmp_path / "bars.png"
    bar_panels(
        rows, path, panel=("model",), series="sae", group="t",
        metrics=("mse", "spliced"), title="title",
    )  # fmt: skip
    assert path.read_bytes().startswith(PNG)
