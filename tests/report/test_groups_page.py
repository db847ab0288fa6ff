"""The page of a choice between groups: one sentence, one grid, whatever is missing."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbitlens.errors import OrbitLensError
from orbitlens.report import write_groups_page
from orbitlens.report.network._groups_readings import lead

SECTIONS = ["layers", "groups", "skipped", "settings"]
ORDERS = {"C2": 2, "C4": 4, "D4": 8}
Written = Callable[[Any], Any]


def row(layer: str, group: str, verdict: str, r2: float) -> dict[str, Any]:
    return {
        "layer": layer,
        "place": None if r2 < 0 else 1,
        "verdict": verdict,
        "group": group,
        "order": ORDERS[group],
        "r2": r2,
        "r2_low": r2 - 0.01,
        "r2_high": r2,
        "free_r2": r2,
        "identity_r2": -0.5,
        "control_r2": -0.9,
    }


def choice(
    chosen: dict[str, str | None], after: dict[str, list[str]] | None = None
) -> dict[str, Any]:
    """A record in which a group acts exactly where it or a larger one is chosen."""
    ranking = [
        row(layer, group, "exactly equivariant", 1.0)
        if best is not None and ORDERS[group] <= ORDERS[best]
        else row(layer, group, "none, worse than the mean", -0.3)
        for layer, best in chosen.items()
        for group in ORDERS
    ]
    names = list(chosen)
    before = after or {name: names[max(0, i - 1) : i] for i, name in enumerate(names)}
    return {
        "config": {"image_size": 8},
        "model": {"name": "digits-cnn", "trained_here": True},
        "inputs": {"name": "digits", "n": 1797, "held_out": 359},
        "groups": [{"name": n, "order": o, "exact": True, "page": True} for n, o in ORDERS.items()],
        "failed": {},
        "sequence": [{"layer": name, "after": before[name]} for name in names],
        "skipped": {"flatten": "it only reshapes"},
        "chosen": chosen,
        "ranking": ranking,
        "seconds": {"C2: measure": 3.0},
        "warnings": [],
    }


@pytest.fixture
def record() -> dict[str, Any]:
    return choice({"block1": "D4", "block2": "D4", "block3": "C4", "head": None})


@pytest.fixture
def written(tmp_path: Path, parse: Callable[[str], Any]) -> Written:
    def write(record: Any) -> Any:
        return parse(write_groups_page(tmp_path / "page.html", record).read_text(encoding="utf-8"))

    return write


def test_one_sentence_says_which_group_acts_up_to_which_layer(record: dict[str, Any]) -> None:
    assert lead(record) == (
        "D4 acts up to block2 (exactly equivariant); from block3 on only C4 (exactly equivariant); "
        "from head on none of them."
    )


def test_a_larger_group_that_acts_less_well_is_not_denied(record: dict[str, Any]) -> None:
    under_d4 = next(
        each for each in record["ranking"] if (each["layer"], each["group"]) == ("block3", "D4")
    )
    under_d4.update(verdict="partly to mostly equivariant", r2=0.5)
    assert "from block3 on C4 acts best (exactly equivariant)" in lead(record)


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"a": "D4", "b": "D4"}, "D4 acts on all 2 layers (exactly equivariant)."),
        ({"a": "C4"}, "C4 acts on a (exactly equivariant)."),
        ({"a": None, "b": None}, "None of them acts on any layer."),
        ({"a": "D4", "b": None}, "D4 acts on a (exactly equivariant); from b on none of them."),
        (
            {"a": None, "b": None, "c": "D4"},
            "None of them acts up to b; from c on D4 (exactly equivariant).",
        ),
        (
            {"a": "D4", "b": None, "c": "D4", "d": None, "e": "C2", "f": None},
            "D4 acts up to a (exactly equivariant); then the group changes 5 times: of the other 5 "
            "layers, C2 on 1, D4 on 1, none of them on 3.",
        ),
        ({}, "No layer was measured."),
    ],
)
def test_the_sentence_fits_what_was_found(chosen: dict[str, str | None], says: str) -> None:
    assert lead(choice(chosen)) == says


def test_heads_are_told_apart_and_not_followed_from_one_to_the_other() -> None:
    after = {"trunk": [], "a.0": ["trunk"], "a.1": ["a.0"], "b": ["trunk"]}
    record = choice({"trunk": "D4", "a.0": "C4", "a.1": "C4", "b": "D4"}, after)
    assert lead(record) == (
        "D4 acts from trunk on (exactly equivariant); from a.0 on only C4 (exactly equivariant). "
        "The network ends in 2 parallel branches: a.1 and b."
    )


def test_verdicts_of_a_stretch_are_spanned(record: dict[str, Any]) -> None:
    words = iter(("nearly equivariant", "partly to mostly equivariant"))
    for each in record["ranking"]:
        if each["group"] == "D4" and each["r2"] == 1.0:
            each["verdict"] = next(words)
    assert "D4 acts up to block2 (partly to nearly equivariant)" in lead(record)


def test_the_grid_has_a_row_per_layer_and_a_cell_per_group(
    record: dict[str, Any], written: Written
) -> None:
    page = written(record)
    page.assert_well_formed(SECTIONS)
    assert "Which group acts on digits-cnn" in page.text
    cells = [attrs for tag, attrs in page.tags if tag == "td" and "cell" in attrs.get("class", "")]
    assert len(cells) == 4 * 3
    assert all("95% interval" in attrs["title"] for attrs in cells)
    assert [attrs["class"] for attrs in cells[:3]] == ["cell equivariant exactly"] * 3
    assert cells[-1]["class"] == "cell none"
    assert "worse than the mean" in page.sections["layers"]
    links = {target for target in page.attributes("href") if target.startswith("..")}
    assert links == {f"../groups/{name}/report/index.html" for name in ORDERS}
    assert "it only reshapes" in page.sections["skipped"]


def test_a_layer_that_was_not_measured_under_a_group_and_a_group_that_failed_are_named(
    record: dict[str, Any], written: Written
) -> None:
    record["ranking"] = [
        each for each in record["ranking"] if (each["layer"], each["group"]) != ("block1", "D4")
    ]
    record["failed"] = {"C8": "it: expected this"}
    page = written(record)
    assert page.sections["layers"].count("not measured") == 1
    assert "not measured: it: expected this" in page.sections["groups"]


def test_a_record_from_before_the_page_is_drawn(record: dict[str, Any], written: Written) -> None:
    older = {key: record[key] for key in ("config", "inputs", "chosen", "ranking", "seconds")}
    page = written(older)
    page.assert_well_formed(SECTIONS)
    assert "D4 acts up to block2" in page.text
    assert not [target for target in page.attributes("href") if target.startswith("..")]


def test_hostile_strings_stay_text(hostile: str, record: dict[str, Any], written: Written) -> None:
    record["model"]["name"] = record["inputs"]["name"] = hostile
    record["groups"] = [{"name": hostile, "order": 2, "page": True}]
    record["sequence"][0]["layer"] = record["sequence"][1]["after"] = [hostile]
    record["ranking"][0].update(layer=hostile, group=hostile, verdict=hostile)
    for part in ("failed", "skipped", "config", "chosen"):
        record[part] = {**record[part], hostile: hostile}
    record["seconds"], record["warnings"] = {hostile: 1.0}, [hostile]
    page = written(record)
    page.assert_well_formed(SECTIONS)
    page.assert_runs_only_its_own()


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -1e300])
def test_any_figure_may_be_missing_or_anything(
    value: float | None, record: dict[str, Any], written: Written
) -> None:
    for key in ("r2", "r2_low", "r2_high", "free_r2", "identity_r2", "control_r2", "order"):
        record["ranking"][0][key] = value
    record["groups"][0].update(order=value, error=value, exact=False)
    page = written(record)
    page.assert_well_formed(SECTIONS)
    assert "None" not in page.sections["layers"] + page.sections["groups"]


@pytest.mark.parametrize(
    "remove", ["model", "inputs", "groups", "failed", "sequence", "chosen", "ranking", "skipped"]
)
def test_any_part_may_be_missing_or_none(
    remove: str, record: dict[str, Any], written: Written
) -> None:
    without = {key: value for key, value in record.items() if key != remove}
    for each in (without, {**record, remove: None}, {}):
        written(each).assert_well_formed(SECTIONS)


def test_a_part_of_another_type_is_refused_by_its_name(
    record: dict[str, Any], tmp_path: Path
) -> None:
    record["sequence"][0]["after"] = "block1"
    with pytest.raises(OrbitLensError, match="`sequence.after`: expected a list, received one of"):
        write_groups_page(tmp_path / "page.html", record)
    assert not list(tmp_path.iterdir())


def test_the_same_record_gives_the_same_bytes(record: dict[str, Any], tmp_path: Path) -> None:
    first = write_groups_page(tmp_path / "a.html", record).read_bytes()
    second = write_groups_page(tmp_path / "b.html", copy.deepcopy(record)).read_bytes()
    assert first == second
