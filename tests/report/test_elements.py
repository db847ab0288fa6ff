"""The names of elements on a page: words where they are known to be true, the symbol always."""

import re
from typing import Any

import pytest

from orbitlens.report import write_page
from orbitlens.report._elements import elements_of

from .conftest import ELEMENTS


def words_of(metrics: dict[str, Any]) -> list[str]:
    return [element.words for element in elements_of(metrics)]


def test_elements_of_images_have_words(metrics: dict[str, Any]) -> None:
    assert words_of(metrics) == ["as it is", "quarter turn left", "half turn", "quarter turn right"]
    assert [element.symbol for element in elements_of(metrics)] == ["e", "r", "r²", "r³"]


@pytest.mark.parametrize(
    "change",
    [
        {"action": {"name": "given"}},
        {"action": None},
        {"group": {"name": "mine", "elements": list(ELEMENTS)}},
        {"group": {"name": "C4", "elements": ["e", "r^3", "r^2", "r"]}},
        {"group": {"name": None, "elements": list(ELEMENTS)}},
        {"action": {"name": "set_permutation", "permutations": [[0, 1], "x"]}},
        {"action": {"name": "points", "axis": {"x": 1}}},
    ],
)
def test_words_that_may_not_be_true_are_left_out(
    metrics: dict[str, Any], change: dict[str, Any]
) -> None:
    assert words_of({**metrics, **change}) == [""] * 4


def test_other_actions_have_other_words(metrics: dict[str, Any]) -> None:
    metrics["action"] = {"name": "cyclic_shift", "exact": True, "error": 0.0}
    assert words_of(metrics)[3] == "shifted by 3 of 4"


def test_a_record_without_a_group_has_no_elements() -> None:
    assert elements_of({}) == []


def test_the_page_shows_words_with_the_symbol_beside_them(
    metrics: dict[str, Any], cards: list[Any], tmp_path: Any, parse: Any
) -> None:
    page = parse(write_page(tmp_path / "page.html", metrics, {}, cards).read_text())
    assert page.text.count("r quarter turn left") == 1  # below the chart
    # In its table, and on both cards.
    assert len(re.findall(r"quarter turn left r(?!²)", page.text)) == 1 + 2
    metrics["action"] = None
    page = parse(write_page(tmp_path / "page.html", metrics, {}, cards).read_text())
    assert "quarter turn" not in page.text
