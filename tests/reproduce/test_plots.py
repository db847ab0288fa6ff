"""Plots of the recipes: files that are pictures, also where figures are missing."""

from pathlib import Path

import pytest

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


def test_bars_leave_out_what_was_not_measured(tmp_path: Path) -> None:
    missing = {"spliced_mean": None, "spliced_stderr": None}
    rows = [row("a", 4, 0.5, None) | missing, row("b", 4, None, None) | missing]
    path = tmp_path / "bars.png"
    bar_panels(
        rows, path, panel=("model",), series="sae", group="t",
        metrics=("mse", "spliced"), title="title",
    )  # fmt: skip
    assert path.read_bytes().startswith(PNG)
