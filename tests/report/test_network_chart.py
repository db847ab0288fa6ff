"""Marks stand where the figures say, and rows grow with the layers."""

from itertools import pairwise
from typing import Any

import pytest

from orbitlens.report._notation import irrep_styles
from orbitlens.report.network._chart import network_chart
from orbitlens.report.network._parts import NetworkChart, Panel, log_axis, r2_axis, unit_axis

NAN = float("nan")


def drawn(layers: list[dict[str, Any]], irreps: Any = ()) -> NetworkChart:
    chart = network_chart(layers, irrep_styles(irreps))
    assert chart is not None
    return chart


def panel(chart: NetworkChart, heading: str) -> Panel:
    return next(each for each in chart.panels if each.heading == heading)


def test_a_network_has_five_panels_over_the_same_rows(network: dict[str, Any]) -> None:
    chart = drawn(network["layers"], network["group"]["irreps"])
    assert [each.heading for each in chart.panels] == [
        "R²",
        "Symmetry spectrum",
        "Relation error",
        "Scores",
        "Lie derivative",
    ]
    rows = [name.y for name in chart.names]
    assert all([y for _, y in s.points] == rows for p in chart.panels for s in p.series)
    assert all(len(each.readings) == 4 for each in chart.panels)


def test_higher_r2_stands_further_right_and_very_negative_ones_at_the_edge() -> None:
    chart = drawn([{"r2": r2} for r2 in (-1e9, -0.5, 0.0, 0.5, 1.0)])
    (series,) = panel(chart, "R²").series
    left, *places = [x for x, _ in series.points]
    assert left == places[0]
    steps = [after - before for before, after in pairwise(places)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.2)
    assert panel(chart, "R²").ticks[0][1] == "≤ −0.5"


def test_an_interval_lies_around_its_point(network: dict[str, Any]) -> None:
    *_, exact = panel(drawn(network["layers"]), "R²").series
    for (x, y), (left, right, height) in zip(exact.points, exact.intervals, strict=True):
        assert left < x < right
        assert y == height


def test_gaps_are_left_and_break_the_line() -> None:
    chart = drawn([{"r2": 0.5}, {"r2": None}, {"r2": NAN}, {"r2": 0.7}, {"r2": 0.8}, {}])
    (series,) = panel(chart, "R²").series
    assert len(series.points) == 3
    assert (series.trend.count("M"), series.trend.count("L")) == (2, 1)


def test_a_panel_without_a_finite_figure_is_left_out_and_the_rest_take_its_room() -> None:
    chart = drawn([{"r2": 0.5, "lie_rotation": None, "relation_error": NAN}])
    assert [each.heading for each in chart.panels] == ["R²"]
    assert chart.panels[0].width > 1000
    assert drawn([{"layer": "a"}]).panels == ()


def test_bars_of_a_row_add_up_and_a_spectrum_with_a_hole_is_not_drawn() -> None:
    irreps = [{"name": "trivial"}, {"name": "1d#1"}]
    layers = [{"spectrum": s} for s in ([0.25, 0.75], [0.5, None], [0.5], None, [1.0, 1e-9])]
    chart = drawn(layers, irreps)
    spectrum = panel(chart, "Symmetry spectrum")
    whole = spectrum.ticks[-1][0] - spectrum.ticks[0][0]
    rows = {bar.y for bar in spectrum.bars}
    assert rows == {chart.names[0].y, chart.names[4].y}
    for row in rows:
        widths = [bar.width for bar in spectrum.bars if bar.y == row]
        assert sum(widths) == pytest.approx(whole, abs=0.2)
    assert spectrum.bars[0].width == pytest.approx(whole / 4, abs=0.2)
    assert spectrum.readings[0].endswith("trivial 25.0%; 1d#1 75.0%")
    assert spectrum.readings[1].endswith("\N{EN DASH}")


def test_more_layers_make_a_higher_picture_with_lower_rows() -> None:
    charts = [drawn([{"r2": 0.5}] * count) for count in (1, 8, 60, 120, 300)]
    heights = [chart.height for chart in charts]
    assert heights == sorted(heights)
    assert charts[0].row > charts[3].row >= 16
    assert all(chart.names[-1].y < chart.height for chart in charts)


def test_the_verdict_stands_beside_the_name() -> None:
    verdicts = ("none", "nearly equivariant", "mostly to nearly equivariant", None, "new")
    chart = drawn([{"verdict": v} for v in (*verdicts, "exactly invariant", "equivariant")])
    labels = [name.verdict.label if name.verdict else None for name in chart.names]
    words = ["none", "nearly equivariant", "mostly equivariant", None, None]
    assert labels == [*words, "exactly invariant", "equivariant"]
    assert [mark.label for mark in chart.legend] == [
        "equivariant",
        "nearly equivariant",
        "mostly equivariant",
        "exactly invariant",
        "none",
    ]


def test_lines_join_a_layer_to_those_that_feed_it() -> None:
    after = {"trunk": [], "a.0": ["trunk"], "a.1": ["a.0"], "b": ["trunk"], "sum": ["a.1", "b"]}
    chart = drawn([{"layer": n, "after": a, "r2": 0.5} for n, a in after.items()])
    (series,) = panel(chart, "R²").series
    trunk, first, second, other, join = (f"{x} {y}" for x, y in series.points)
    assert series.trend == (
        f"M{trunk}L{first}L{second}M{trunk}L{other}M{second}L{join}M{other}L{join}"
    )


def test_no_layer_is_no_picture() -> None:
    assert network_chart([], []) is None


def test_axes_span_their_values() -> None:
    assert list(r2_axis([0.1, 0.9]).ticks.values()) == ["0", "0.5", "1"]
    assert list(unit_axis([-0.1, 0.9]).ticks.values()) == ["≤ 0", "0.5", "1"]
    assert list(log_axis([0.02]).ticks.values()) == ["0.01", "0.1"]
    assert list(log_axis([0.0, 5e-5, 2e5]).ticks.values()) == ["≤ 10⁻⁵", "0.01", "10", "≥ 10⁴"]
    assert list(log_axis([0.0]).ticks.values()) == ["≤ 10⁻⁶", "10⁻⁵"]
    assert log_axis([0.01, 1.0]).share(0.1) == pytest.approx(0.5)


@pytest.mark.parametrize("values", [[1e-300], [1e300], [1e-300, 1e300], [1e3], [1e-6], [-1.0]])
def test_any_error_has_its_place(values: list[float]) -> None:
    axis = log_axis(values)
    assert all(0 <= axis.share(value) <= 1 for value in values)
    assert 2 <= len(axis.ticks) <= 4
