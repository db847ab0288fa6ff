"""The tables mark what is best among those who may compete, and show every protocol."""

from typing import Any

from orbitlens.report._notation import sae_styles
from orbitlens.report._sae_tables import features_table, probe_tables, sae_table
from orbitlens.report._table import Column, Table, mark_best, recorded_columns


def best(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells if cell.best] for row in table.rows]


def column(table: Table, heading: str) -> list[str]:
    place = [entry.heading for entry in table.columns].index(heading)
    return [row.cells[place].text for row in table.rows]


def test_low_errors_and_high_accuracies_are_best() -> None:
    saes = {
        "a": {"mse": 0.1, "explained_variance": 0.5, "orientation_accuracy": 0.9, "l0": 8.0},
        "b": {"mse": 0.2, "explained_variance": 0.7, "orientation_accuracy": 0.8, "l0": 4.0},
    }
    assert best(sae_table(saes, sae_styles(saes))) == [["0.100", "90.0%"], ["0.700"]]


def test_equal_values_are_not_marked_and_a_tie_for_best_is() -> None:
    saes: dict[str, Any] = {
        "a": {"mse": 0.1, "dead_latents": 2},
        "b": {"mse": 0.1, "dead_latents": 2},
        "c": {"mse": 0.3, "dead_latents": 2},
    }
    assert best(sae_table(saes, sae_styles(saes))) == [["0.100"], ["0.100"], []]


def test_figures_that_no_sae_has_are_left_out_and_single_gaps_are_dashes() -> None:
    saes = {"a": {"mse": 0.1, "spliced_mse": None}, "b": {"mse": None}, "c": None}
    table = sae_table(saes, sae_styles(saes))
    assert [entry.heading for entry in table.columns] == ["MSE"]
    assert [span.heading for span in table.spans] == ["Reconstruction, as it comes"]
    assert column(table, "MSE") == ["0.100", "\N{EN DASH}", "\N{EN DASH}"]


def test_only_competing_values_are_marked() -> None:
    cells = mark_best([3, 1, 2], str, "low", [True, False, True])
    assert [(cell.text, cell.best) for cell in cells] == [("3", False), ("1", False), ("2", True)]


def test_a_group_without_a_figure_has_no_heading() -> None:
    x, y = Column("x", "X", "the first"), Column("y", "Y", "the second")
    assert recorded_columns({"both": [x, y], "one": [y]}, [{"x": 1}]) == {"both": [x]}


def test_an_sae_that_diverged_is_never_best() -> None:
    saes = {
        "a": {"mse": 0.01, "status": "diverged"},
        "b": {"mse": 0.2, "status": "completed"},
        "c": {"mse": 0.3},
    }
    table = sae_table(saes, sae_styles(saes))
    assert best(table) == [[], ["0.200"], []]
    assert "diverged" in table.rows[0].details


def test_every_column_is_explained_in_the_legend(metrics: dict[str, Any]) -> None:
    table = sae_table(metrics["saes"], sae_styles(metrics["saes"]))
    assert {entry.heading for entry in table.columns} <= set(table.legend)
    assert sum(span.columns for span in table.spans) == len(table.columns)
    assert sum(entry.first for entry in table.columns) == len(table.spans)


def shapes_row(latents: int, task: str, orientation: str, f1: float) -> dict[str, Any]:
    return {"latents": latents, "task": task, "orientation": orientation, "f1": f1, "tasks": 8}


def test_an_oracle_does_not_compete() -> None:
    rows = {
        "vanilla": [shapes_row(4, "S", "none", 0.6)],
        "equivariant_canonical": [
            shapes_row(4, "S", "oracle", 0.9),
            shapes_row(4, "S", "inferred", 0.7),
        ],
    }
    saes = {name: {"probe": {"kind": "shapes", "rows": found}} for name, found in rows.items()}
    (table,) = probe_tables(saes, sae_styles(saes))
    assert [cell.text for cell in table.rows[0].cells] == ["0.600", "0.900", "0.700"]
    assert best(table) == [["0.700"]]
    assert [(span.heading, span.columns) for span in table.spans] == [
        ("Vanilla", 1),
        ("Equivariant (canonical)", 2),
    ]


def test_task_families_come_in_the_order_of_the_paper_with_a_table_per_number_of_latents() -> None:
    rows = [shapes_row(t, task, "none", 0.5) for t in (16, 2) for task in ("odd", "SPO", "S")]
    saes = {"vanilla": {"probe": {"kind": "shapes", "rows": rows}}}
    tables = probe_tables(saes, sae_styles(saes))
    assert [[row.heading for row in table.rows] for table in tables] == [["S", "SPO", "odd"]] * 2
    assert "2 latents" in tables[0].caption
    assert "16 latents" in tables[1].caption


def test_accuracy_and_macro_f1_are_separate_contests() -> None:
    figures = {"vanilla": (0.9, 0.5), "equivariant_output": (0.8, 0.6)}
    saes = {
        name: {
            "probe": {
                "kind": "logistic",
                "classes": 10,
                "rows": [{"latents": 2, "accuracy": accuracy, "macro_f1": f1}],
            }
        }
        for name, (accuracy, f1) in figures.items()
    }
    (table,) = probe_tables(saes, sae_styles(saes))
    assert best(table) == [["0.900", "0.600"]]
    assert "10 classes" in table.caption


def test_an_sae_without_a_probe_has_no_column() -> None:
    saes = {
        "vanilla": {"probe": {"kind": "shapes", "rows": [shapes_row(4, "S", "none", 0.6)]}},
        "equivariant_canonical": {"probe": None},
        "equivariant_latent": {"probe": {"kind": "shapes", "rows": []}},
    }
    (table,) = probe_tables(saes, sae_styles(saes))
    assert [span.heading for span in table.spans] == ["Vanilla"]


def test_both_readouts_of_an_orbit_sae_are_shown_and_compete() -> None:
    rows = [
        {**shapes_row(4, task, "none", f1), "readout": readout}
        for readout, scores in (("invariant", (0.9, 0.3)), ("oriented", (0.5, 0.8)))
        for task, f1 in zip(("S", "SO"), scores, strict=True)
    ]
    saes = {
        "vanilla": {"probe": {"kind": "shapes", "rows": [shapes_row(4, "S", "none", 0.7)]}},
        "orbit": {"probe": {"kind": "shapes", "rows": rows}},
    }
    (table,) = probe_tables(saes, sae_styles(saes))
    assert [entry.heading for entry in table.columns] == ["F1", "invariant", "oriented"]
    assert column(table, "oriented") == ["0.500", "0.800"]
    assert best(table) == [["0.900"], ["0.800"]]
    assert all(entry.meaning for entry in table.columns)


def test_an_orbit_sae_is_described_by_its_atoms() -> None:
    saes = {"orbit": {"mse": 0.1, "atoms": 16, "d_sae": 64, "moved_codes": 0.97}}
    table = sae_table(saes, sae_styles(saes))
    assert table.rows[0].details == ("16 atoms", "64 latents")
    assert column(table, "Codes moved") == ["97.0%"]


def test_features_are_counted_by_what_their_codes_do() -> None:
    counts = {"turning_features": 9, "invariant_features": 2, "other_features": 4}
    saes: dict[str, Any] = {"a": {**counts, "rare_features": 1}, "of before": {"l0": 3.0}}
    table = features_table(saes, sae_styles(saes), "turns with the image")
    assert table is not None
    headings = ("Turn", "Are invariant", "Do neither", "Are too rare")
    found = [column(table, heading) for heading in headings]
    assert found == [[text, "\N{EN DASH}"] for text in ("9", "2", "4", "1")]
    assert best(table) == [[], []]
    assert set(table.legend) == set(headings)
    assert table.legend["Turn"].endswith("the feature turns with the image")
    before = {"of before": saes["of before"]}
    assert features_table(before, sae_styles(saes), "turns with the image") is None
    others = features_table(saes, sae_styles(saes), "moves with the input")
    assert others is not None
    assert others.legend["Move"].endswith("the feature moves with the input")
