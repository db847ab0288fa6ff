"""Tables: what is written is what is read, and means worked by hand."""

import math
from pathlib import Path

import pytest

from orbitlens.errors import OrbitLensError
from orbitlens.files import write_table
from orbitlens.reproduce import read_table, summarise


def test_a_table_survives_writing_and_reading(tmp_path: Path) -> None:
    rows = [
        {"sae": "vanilla", "k": 4, "f1": 0.5, "note": 'a, "b"\nand c'},
        {"sae": "r^2 s", "k": -1, "f1": 1e-9, "note": "ρ"},
    ]
    write_table(rows, tmp_path / "a.csv")
    assert read_table(tmp_path / "a.csv") == rows


def test_floats_have_six_significant_digits_and_integers_all(tmp_path: Path) -> None:
    write_table([{"a": math.pi, "b": 1234567.89, "c": 123456789, "d": 2.0}], tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "a,b,c,d\n3.14159,1.23457e+06,123456789,2\n"


def test_a_field_that_a_record_lacks_is_an_empty_cell(tmp_path: Path) -> None:
    write_table([{"a": 1}, {"b": 2.5, "a": None}], tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "a,b\n1,\n,2.5\n"
    assert read_table(tmp_path / "a.csv") == [{"a": 1, "b": None}, {"a": None, "b": 2.5}]


def test_writing_the_same_rows_gives_the_same_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "a.csv"):
        write_table([{"x": 0.1, "y": "z"}], tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


@pytest.mark.parametrize(
    ("text", "line"), [("a,b\n1,2\n3\n", 3), ("a,b\n1,2,3\n", 2), ("a,b\n1,2\n4,5\n6,7,8", 4)]
)
def test_a_line_with_too_few_or_too_many_cells_is_named(
    tmp_path: Path, text: str, line: int
) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(OrbitLensError, match=f"a.csv, line {line}: expected as many cells"):
        read_table(tmp_path / "a.csv")


@pytest.mark.parametrize("content", [b"", b"\n", b"a,b\n\xff\xfe,1\n"])
def test_a_file_that_is_no_table_is_rejected_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(OrbitLensError, match="a.csv: expected a CSV file") as error:
        read_table(tmp_path / "a.csv")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match=r"none.csv: expected a CSV file.*No such file"):
        read_table(tmp_path / "none.csv")


RECORDS = [
    {"sae": "b", "k": 4, "f1": 1.0, "mse": 5.0},
    {"sae": "a", "k": 4, "f1": 2.0, "mse": 7.0},
    {"sae": "b", "k": 4, "f1": 4.0, "mse": 5.0},
    {"sae": "b", "k": 4, "f1": 7.0, "mse": 5.0},
    {"sae": "b", "k": 8, "f1": 3.0, "mse": 1.0},
    {"sae": "b", "k": 8, "f1": 3.5, "mse": 2.0},
]


def test_means_and_spreads_by_hand() -> None:
    # b, 4: f1 1, 4, 7 has mean 4 and deviations -3, 0, 3, so std sqrt(18 / 2) = 3.
    # b, 8: mse 1, 2 has std sqrt(0.5) and standard error sqrt(0.5 / 2) = 0.5.
    rows = summarise(RECORDS, ["sae", "k"], {"f1": "std", "mse": "stderr"})
    assert [list(row.values())[:2] for row in rows] == [["b", 4], ["a", 4], ["b", 8]]
    first, single, last = rows
    assert first == {
        "sae": "b", "k": 4, "f1_mean": 4.0, "f1_std": pytest.approx(3.0), "mse_mean": 5.0,
        "mse_stderr": 0.0, "n": 3,
    }  # fmt: skip
    assert (single["f1_mean"], single["f1_std"], single["n"]) == (2.0, None, 1)
    assert (last["mse_mean"], last["mse_stderr"]) == (1.5, pytest.approx(0.5))
    assert (last["f1_mean"], last["f1_std"]) == (3.25, pytest.approx(math.sqrt(0.125)))


def test_a_figure_that_some_repetition_lacks_is_empty() -> None:
    records = [{"sae": "a", "f1": 1.0, "mse": 2.0}, {"sae": "a", "f1": None, "mse": 4.0}]
    (row,) = summarise(records, ["sae"], {"f1": "std", "mse": "std"})
    assert (row["f1_mean"], row["f1_std"]) == (None, None)
    assert row["mse_mean"] == 3.0


def test_no_records_give_no_rows() -> None:
    assert summarise([], ["sae"], {"f1": "std"}) == []
