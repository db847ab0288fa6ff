"""Sequence logos: heights worked by hand, and letters where the page draws them."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orbitlens.report import FeatureCard, write_page
from orbitlens.report._logos import draw_logo, letter_heights

MANY = 1e9


@pytest.mark.parametrize(
    ("column", "heights"),
    [
        ([MANY, 0, 0, 0], [2, 0, 0, 0]),
        ([MANY, MANY, 0, 0], [0.5, 0.5, 0, 0]),
        ([MANY, MANY, MANY, MANY], [0, 0, 0, 0]),
        ([2 * MANY, MANY, MANY, 0], [0.25, 0.125, 0.125, 0]),
        # e(10) = 3 / (20 ln 2) = 0.2164
        ([0, 0, 10, 0], [0, 0, 1.7836, 0]),
        ([0, 5, 0, 5], [0, 0.3918, 0, 0.3918]),
        # One letter says nothing: the correction is above 2 bits.
        ([1, 0, 0, 0], [0, 0, 0, 0]),
        ([0, 0, 0, 0], [0, 0, 0, 0]),
    ],
)
def test_heights_worked_by_hand(column: list[float], heights: list[float]) -> None:
    found = letter_heights(torch.tensor(column).float()[:, None])
    assert found[:, 0].tolist() == pytest.approx(heights, abs=1e-4)


@given(st.lists(st.lists(st.integers(0, 200), min_size=4, max_size=4), min_size=1, max_size=9))
def test_the_other_strand_has_the_mirrored_logo(columns: list[list[int]]) -> None:
    counts = torch.tensor(columns).float().T
    heights = letter_heights(counts)
    torch.testing.assert_close(letter_heights(counts.flip(0, 1)), heights.flip(0, 1))
    assert heights.min() >= 0
    assert heights.sum(0).max() <= 2


def test_high_letters_stand_on_low_ones_and_words_say_the_clear_columns() -> None:
    counts = torch.tensor([[5.0, 0, 5, 0, 5], [5, 0, 5, 0, 5], [5, 0, 5, 60, 5], [5, 80, 5, 20, 5]])
    logo = draw_logo(counts, "atom 3 in orientation e")
    assert logo is not None
    assert [placed.letter for placed in logo.letters] == ["T", "T", "G"]
    places = [[float(x) for x in re.findall(r"[\d.]+", each.matrix)] for each in logo.letters]
    tops, heights = [place[5] for place in places], [100 * place[3] for place in places]
    high = (letter_heights(counts) * logo.height / 2).tolist()
    assert heights == pytest.approx([high[3][1], high[3][3], high[2][3]], abs=0.01)
    assert tops[0] + heights[0] == pytest.approx(logo.height, abs=0.02)
    assert tops[2] + heights[2] == pytest.approx(tops[1], abs=0.02)
    assert [int(place[4] // 10) for place in places] == [1, 3, 3]
    assert logo.inputs == "80 inputs"
    assert logo.description == "Logo for atom 3 in orientation e, 80 inputs: TNG"


def test_no_letters_are_no_logo() -> None:
    assert draw_logo(torch.zeros(4, 9), "latent 1") is None
    logo = draw_logo(torch.ones(4, 9), "latent 1")
    assert logo is not None
    assert logo.description.endswith("no clear letter")


def test_rows_with_letters_begin_with_their_logo(
    tmp_path: Path, metrics: dict[str, Any], cards: list[FeatureCard], parse: Callable[[str], Any]
) -> None:
    letters = torch.zeros(4, 4, 15)
    letters[:2, 3, 7] = 40
    with_letters = [replace(cards[0], letters=letters), cards[1]]
    page = parse(write_page(tmp_path / "page.html", metrics, {}, with_letters).read_text())
    drawn = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("class") == "logo"]
    assert [attrs["aria-label"] for attrs in drawn] == [
        "Logo for latent 7 under e, as it is, 40 inputs: T",
        "Logo for latent 7 under r, quarter turn left, 40 inputs: T",
    ]
    used = [attrs["href"] for tag, attrs in page.tags if tag == "use" and "href" in attrs]
    assert used == ["#letter-T"] * 2
    assert "letter-T" in page.attributes("id")
    assert page.sections["features"].count("Each row begins with a logo") == 1
    plain = parse(write_page(tmp_path / "plain.html", metrics, {}, cards).read_text())
    assert "letter-T" not in plain.attributes("id")
    assert "logo" not in plain.sections["features"]
