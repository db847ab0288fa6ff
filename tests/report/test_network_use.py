"""The page of a network says and shows what its layers use: symmetric here, dropped there."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from orbitlens.errors import OrbitLensError
from orbitlens.report import write_network_page
from orbitlens.report._notation import irrep_styles
from orbitlens.report.network._chart import network_chart
from orbitlens.report.network._parts import Panel, share_axis, spread_axis
from orbitlens.report.network._readings import lead, notices
from orbitlens.report.network._table import network_table
from orbitlens.report.network._use import standing_sentence, use_sentences, uses_of

SECTIONS = ["network", "layers", "skipped", "settings"]
NAN = float("nan")
Written = Callable[[Any], Any]


@pytest.fixture
def written(tmp_path: Path, parse: Callable[[str], Any]) -> Written:
    def write(record: Any) -> Any:
        return parse(write_network_page(tmp_path / "page.html", record).read_text(encoding="utf-8"))

    return write


BESIDE = (
    "R² allows another representation than the layer's own; `orbitlens check ... --output regular` "
    "measures the regular one."
)


def spread(*values: float | None) -> dict[str, Any]:
    parts = {f"bank {number}": value for number, value in enumerate(values, start=1)}
    return {"kind": "spread", "parts": parts}


def effective(**parts: float | None) -> dict[str, Any]:
    return {"kind": "effective", "parts": {name.replace("_", "-"): v for name, v in parts.items()}}


def paths(dropped: Sequence[str] = (), **parts: tuple[float, int]) -> dict[str, Any]:
    """Return a use by the parameters that the data determine, and all parameters."""
    names = {name.replace("_", "-"): each for name, each in parts.items()}
    return {
        "kind": "effective",
        "parts": {name: gamma / size for name, (gamma, size) in names.items()},
        "determined": {name: gamma for name, (gamma, _) in names.items()},
        "sizes": {name: size for name, (_, size) in names.items()},
        "dropped": list(dropped),
    }


def unknown(reason: str) -> dict[str, Any]:
    return {"kind": "effective", "parts": {}, "unknown": reason}


def words(**uses: Any) -> str:
    return " ".join(use_sentences(uses_of({"use": uses})))


def panels(names: list[str], uses: dict[str, Any], **figures: float) -> dict[str, Panel]:
    layers = [{"layer": name, **figures} for name in names]
    chart = network_chart(layers, [], uses_of({"use": uses}))
    assert chart is not None
    return {panel.heading: panel for panel in chart.panels}


def test_use_stands_beside_the_spectrum(network: dict[str, Any]) -> None:
    uses = uses_of({"use": {"pool": spread(0.1), "head": effective(conv=0.5)}})
    chart = network_chart(network["layers"], irrep_styles(network["group"]["irreps"]), uses)
    assert chart is not None
    headings = [panel.heading for panel in chart.panels]
    assert headings[:4] == ["R²", "Symmetry spectrum", "Bank spread", "Path use"]
    plain = network_chart(network["layers"], irrep_styles(network["group"]["irreps"]))
    assert plain is not None
    assert sum(p.width for p in chart.panels) > sum(p.width for p in plain.panels)


def test_each_part_has_its_mark_in_the_row_of_its_layer() -> None:
    uses = {"a": spread(0.0, 0.0), "c": spread(0.0, 0.4)}
    panel = panels(["a", "b", "c"], uses)["Bank spread"]
    first, second = panel.series
    assert [mark.label for mark in panel.legend] == ["bank 1", "bank 2"]
    assert [x for x, _ in first.points] == [panel.ticks[0][0]] * 2
    assert second.points[1][0] > second.points[0][0] == panel.ticks[0][0]
    # Equal parts stand one above the other, within their row.
    assert 0 < second.points[0][1] - first.points[0][1] < 24 / 2
    assert panel.readings == (
        "a\nBank spread: bank 1 0; bank 2 0",
        "b\nBank spread: –",
        "c\nBank spread: bank 1 0; bank 2 0.400",
    )


def test_only_what_has_a_figure_has_a_panel() -> None:
    for uses in ({}, {"a": spread()}, {"a": spread(None)}, {"elsewhere": spread(0.5)}):
        assert set(panels(["a"], uses, r2=0.5)) == {"R²"}


def test_of_many_parts_the_ends_are_shown() -> None:
    uses = {"a": spread(*(number / 100 for number in range(40))), "b": spread(0.2)}
    panel = panels(["a", "b"], uses)["Bank spread"]
    assert [mark.label for mark in panel.legend] == ["smallest part", "largest part"]
    low, high = ([x for x, _ in series.points] for series in panel.series)
    assert low[0] == panel.ticks[0][0] < high[0]
    assert low[1] == high[1]
    columns = network_table([{"layer": "a"}], [], uses_of({"use": uses}))
    assert [each.heading for each in columns.columns] == ["Parts", "Smallest", "Largest"]
    assert [cell.text for cell in columns.rows[0].cells] == ["40", "0", "0.390"]


def test_a_block_without_a_row_stands_by_its_last_measured_layer() -> None:
    layers = [{"layer": name} for name in ("stem", "block.fc", "block.conv", "head")]
    uses = uses_of({"use": {"block": effective(f_fc=0.2, conv=0.001), "other": spread(0.5)}})
    chart = network_chart(layers, [], uses)
    assert chart is not None
    (panel,) = chart.panels
    assert {y for series in panel.series for _, y in series.points} == {
        chart.names[2].y - 3,
        chart.names[2].y + 3,
    }
    assert panel.readings[2] == "block.conv\nPath use of block: f-fc 20.0%; conv 0.1%"
    assert standing_sentence(layers, uses) == (
        "The use of a block that was not measured itself stands by its last measured layer: that "
        "of block by block.conv. In the table alone, as nothing inside was measured: the use of "
        "other."
    )
    rows = network_table(layers, [], uses).rows
    names = ["stem", "block.fc", "block.conv", "block", "head", "other"]
    assert [row.heading for row in rows] == names
    assert [cell.text for cell in rows[3].cells] == ["–", "20.0%", "0.1%"]


def test_a_row_shows_its_own_use_and_an_inner_block_before_an_outer_one() -> None:
    layers = [{"layer": name} for name in ("a.b.0", "a.b.1")]
    uses = uses_of({"use": {n: spread(0.5) for n in ("", "a", "a.b", "a.b.1")}})
    chart = network_chart(layers, [], uses)
    assert chart is not None
    assert chart.panels[0].readings == (
        "a.b.0\nBank spread of a.b: bank 1 0.500",
        "a.b.1\nBank spread: bank 1 0.500",
    )
    assert "nothing inside" not in standing_sentence(layers[:0], uses[:0])
    headings = [row.heading for row in network_table(layers, [], uses).rows]
    assert headings == ["a.b.0", "a.b.1", "the network", "a", "a.b"]


def test_the_table_has_a_column_for_each_part() -> None:
    uses = uses_of({"use": {"a": spread(0.0, 0.3), "b": effective(conv=0.0002)}})
    table = network_table([{"layer": "a"}, {"layer": "b"}], [], uses)
    spans = [(span.heading, span.columns) for span in table.spans]
    assert spans == [("Bank spread", 2), ("Path use", 1)]
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        ["0", "0.300", "–"],
        ["–", "–", "<0.1%"],
    ]
    assert all(column.meaning for column in table.columns)


@pytest.mark.parametrize(
    ("uses", "says"),
    [
        ({}, ""),
        (
            {"lift": spread(0.0, 0.002)},
            "The relaxed layer lift is symmetric: its weights spread by less than 0.01 over its "
            f"own group. At lift, {BESIDE}",
        ),
        (
            {"lift": spread(0.0, 0.7)},
            "The relaxed layer lift has left its symmetry: its weights spread by 0.700 over its "
            f"own group. At lift, {BESIDE}",
        ),
        (
            {"a": spread(0.0), "b": spread(0.0)},
            "All 2 relaxed layers are symmetric: their weights spread by less than 0.01 over "
            "their own group.",
        ),
        (
            {"a": spread(0.1), "b": spread(0.2)},
            "All 2 relaxed layers have left their symmetry; the largest spread of their weights "
            f"over their own group: b (0.200), a (0.100). At a, b, {BESIDE}",
        ),
        (
            {"a": spread(0.0), "b": spread(0.2)},
            "Of 2 relaxed layers 1 is symmetric, with weights that spread by less than 0.01 over "
            f"their own group: a; 1 has left its symmetry: b (0.200). At b, {BESIDE}",
        ),
        (
            {"block3": effective(f_fc=0.036, conv=0.0018)},
            "The conv path is little used in block3: the data determine 0.2% of it.",
        ),
        (
            {"block3": paths(f_fc=(377.0, 8737), conv=(8.6, 4640))},
            "The conv path is little used in block3: the data determine 8.6 of 4,640 parameters "
            "(0.2%).",
        ),
        (
            {"block1": paths(["f-fc"], f_fc=(0.4, 2632), conv=(46.0, 80))},
            "The f-fc path is dropped in block1: the data determine 0.4 of 2,632 parameters "
            "(<0.1%). Without dropped paths, block1 is symmetric under shifts by the stride.",
        ),
        (
            {"block1": paths(f_fc=(7.5, 1048), conv=(2.0, 40))},
            "The f-fc path is little used in block1: the data determine 7.5 of 1,048 parameters "
            "(0.7%).",
        ),
        (
            {"block1": paths(["conv"], f_fc=(70.0, 2632), conv=(0.5, 80))},
            "The conv path is dropped in block1: the data determine 0.5 of 80 parameters (0.6%).",
        ),
        (
            {"block1": effective(f_fc=0.004, conv=0.5), "block3": effective(f_fc=0.03, conv=0.002)},
            "2 paths are little used; the data determine of each: f-fc in block1 (0.4%), conv in "
            "block3 (0.2%).",
        ),
        (
            {"a": paths(["fc"], fc=(0.0, 99), conv=(9.0, 80)), "b": paths(["fc"], fc=(0.9, 99))},
            "2 paths are dropped; the data determine of each: fc in a (0.0 of 99 (0%)), fc in b "
            "(0.9 of 99 (0.9%)). Without dropped paths, a is symmetric under shifts by the stride.",
        ),
        (
            {"a": unknown("no precision was learned"), "b": unknown("no precision was learned")},
            "The use of a, b is not known: no precision was learned.",
        ),
        (
            {"block1": effective(f_fc=0.04, conv=0.5)},
            "No path is dropped: the data determine at least 4.0% of each.",
        ),
    ],
)
def test_words_say_what_is_symmetric_dropped_little_used_or_unknown(
    uses: dict[str, Any], says: str
) -> None:
    assert words(**uses) == says
    assert says in lead({"use": uses})


def test_a_part_that_is_not_finite_is_said_and_makes_no_layer_symmetric() -> None:
    for hole in (None, NAN, float("inf")):
        uses = {"a": spread(0.0, hole), "b": effective(conv=hole, fc=0.5)}
        assert words(**uses) == ""
        line = "At 2 layers the use of some parts is not a finite number: a (bank 2), b (conv)"
        assert notices({"use": uses}) == [line]
    assert "has left its symmetry" in words(a=spread(0.5, NAN))
    assert BESIDE not in words(a=spread(1e-7, NAN))
    assert words(b=effective(conv=0.5, fc=None, f_fc=0.001)).endswith("determine 0.1% of it.")


def test_axes_hold_their_values() -> None:
    assert list(spread_axis([0.0]).ticks.values()) == ["0", "0.05", "0.1"]
    assert list(spread_axis([0.7, 0.1]).ticks.values()) == ["0", "0.5", "1"]
    assert list(spread_axis([1e300]).ticks.values()) == ["0", "500", "≥ 1000"]
    assert list(share_axis([0.5]).ticks.values()) == ["0.1%", "1%", "10%", "100%"]
    assert list(share_axis([0.0, 2.0]).ticks.values()) == ["≤ 0.1%", "1%", "10%", "≥ 100%"]
    for value in (-1.0, 0.0, 1e-300, 1.0, 1e300):
        assert 0 <= spread_axis([value]).share(value) <= 1
        assert 0 <= share_axis([value]).share(value) <= 1


def test_the_parameters_that_the_data_determine_stand_beside_the_share() -> None:
    uses = {"a": paths(conv=(8.6, 4640)), "b": unknown("no precision was learned")}
    table = network_table([{"layer": "a"}, {"layer": "b"}], [], uses_of({"use": uses}))
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        ["8.6 of 4,640 (0.2%)"],
        ["–"],
    ]
    assert panels(["a", "b"], uses)["Path use"].readings == (
        "a\nPath use: conv 8.6 of 4,640 (0.2%)",
        "b\nPath use: –",
    )


@pytest.mark.parametrize("wrong", [3, [], {"conv": "many"}, None])
def test_numbers_of_parameters_that_are_none_leave_the_share(wrong: Any) -> None:
    use = {**effective(conv=0.002, fc=0.5), "determined": wrong, "sizes": wrong, "dropped": wrong}
    assert words(a=use) == "The conv path is little used in a: the data determine 0.2% of it."


def test_hostile_names_stay_text(hostile: str, written: Written, network: dict[str, Any]) -> None:
    network["layers"][0]["layer"] = hostile
    network["use"] = {
        hostile: {"kind": "spread", "parts": {hostile: 0.5}},
        f"{hostile}.x": {"kind": "effective", "parts": {hostile: 0.001, "{0}": 0.5}},
        "pool": {"kind": "effective", "parts": {hostile: NAN}},
    }
    page = written(network)
    page.assert_well_formed(SECTIONS)
    page.assert_runs_only_its_own()
    assert Counter(tag for tag, _ in page.tags)["img"] == 0
    assert page.text.count("<script>alert(1)</script>") > 3


def test_hundreds_of_layers_and_many_banks_fit_on_a_page(
    tmp_path: Path, written: Written, network: dict[str, Any]
) -> None:
    layer = network["layers"][0]
    network["layers"] = [{**layer, "layer": f"layers.{number}"} for number in range(300)]
    uses = {f"layers.{n}": spread(*(k * n / 1000 for k in range(64))) for n in range(300)}
    written({**network, "use": uses}).assert_well_formed(SECTIONS)
    assert (tmp_path / "page.html").stat().st_size < 2e6


@pytest.mark.parametrize("use", [None, {}, {"a": None}, {"a": {}}, {"a": {"kind": "spread"}}])
def test_a_record_may_lack_the_use_or_parts_of_it(use: Any, written: Written) -> None:
    page = written({"layers": [{"layer": "a", "r2": 0.5}], "use": use})
    page.assert_well_formed(SECTIONS)
    assert "Bank spread" not in page.text


@pytest.mark.parametrize(
    ("use", "says"),
    [
        ([], "`use`: expected a record"),
        ({"a": 3}, "`use.a`: expected a record"),
        ({"a": {"kind": 3}}, "`use.a.kind`: expected text"),
        ({"a": {"kind": "new"}}, "`use.a.kind`: expected spread or effective, received 'new'"),
        ({"a": {"kind": "spread", "parts": [0.5]}}, "`use.a.parts`: expected a record"),
    ],
)
def test_a_broken_use_is_refused_by_its_name(use: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError) as caught:
        write_network_page(tmp_path / "page.html", {"use": use})
    assert says in str(caught.value)
