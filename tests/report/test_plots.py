"""Charts are inline SVG that takes colours and fonts from the page."""

import re
from xml.etree import ElementTree

import pytest

from orbitlens.report._notation import PALETTE, sae_styles
from orbitlens.report._plots import training_chart, transport_chart

STYLES = sae_styles(["vanilla", "equivariant_canonical"])


def texts(svg: str) -> list[str]:
    # HTML needs no namespace for xlink, XML does.
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))  # noqa: S314 - our own
    return ["".join(entry.itertext()) for entry in root.iter("text")]


def test_both_values_of_every_element_are_written() -> None:
    written = texts(transport_chart(["e", "r^2"], [1, 0.991], [1.0, 0.35]))
    assert {"e", "r²", "0.991", "0.350"} <= set(written)
    assert written.count("1.000") == 2


def test_gaps_and_very_negative_values_are_written_without_stretching_the_axis() -> None:
    written = texts(transport_chart(["e", "r"], [None, float("nan")], [-1e9, -0.2]))
    assert "\N{MINUS SIGN}1.0e9" in written
    assert "\N{EN DASH}" in written
    assert "not finite" in written
    assert "\N{MINUS SIGN}0.50" in written


def test_a_large_group_is_drawn() -> None:
    names = [f"r^{p}" for p in range(32)]
    assert len(texts(transport_chart(names, [0.5] * 32, [0.1] * 32))) >= 96


def test_a_long_name_leaves_room_for_the_bars() -> None:
    written = texts(transport_chart(["e", "a turn by ninety degrees"], [1.0, 0.9], [1.0, 0.1]))
    assert "a turn by ninet…" in written


@pytest.mark.parametrize("name", ["$x$", "$\\frac{", "<b>", "a & b", "-->"])
def test_any_name_of_an_element_is_drawn_as_it_is(name: str) -> None:
    assert name in texts(transport_chart(["e", name], [1.0, 0.9], [1.0, 0.1]))


def test_colours_and_fonts_are_left_to_the_page() -> None:
    svg = training_chart("loss", "Loss", {"vanilla": [3.0, 1.0]}, STYLES)
    assert svg is not None
    assert "var(--series-0)" in svg
    assert not [colour for pair in PALETTE for colour in pair if colour in svg]
    assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) <= {"#000000", "#ffffff"}
    assert "DejaVu" not in svg


def test_looks_are_attributes_because_the_page_allows_no_inline_style() -> None:
    charts = [transport_chart(["e", ' style="fill: red"'], [1.0, 0.9], [1.0, 0.1])]
    charts += [str(training_chart("loss", "Loss", {"vanilla": [3.0, 1.0]}, STYLES))]
    for svg in charts:
        # An XML parser refuses a tag that has an attribute twice.
        root = ElementTree.fromstring(svg.replace("xlink:href", "href"))  # noqa: S314 - our own
        names = {name for element in root.iter() for name in element.attrib}
        assert "style" not in names
        assert {"fill", "stroke", "stroke-width", "font-size", "text-anchor"} <= names
    assert ' style="fill: red"'[:15] in "".join(texts(charts[0]))


def test_losses_over_decades_are_labelled_in_plain_digits() -> None:
    svg = training_chart("loss", "Loss", {"vanilla": [10.0, 0.01]}, STYLES)
    assert svg is not None
    assert {"0.1", "1"} <= set(texts(svg))
    assert "$" not in svg


@pytest.mark.parametrize(
    "values",
    [[1.0], [0.0, 0.0], [1.0, 1.01], [-2.0, 3.0], [1e-30, 1e30], [float("nan"), 1.0, None], [5]],
)
@pytest.mark.parametrize("quantity", ["loss", "explained_variance", "dead_latents"])
def test_any_history_is_drawn(quantity: str, values: list[float | int | None]) -> None:
    svg = training_chart(quantity, "Title", {"vanilla": values}, STYLES)
    assert svg is not None
    assert "Title" in texts(svg)


@pytest.mark.parametrize("values", [[], [None], [float("nan"), float("inf")]])
def test_nothing_finite_is_no_chart(values: list[float | None]) -> None:
    assert training_chart("loss", "Loss", {"vanilla": values}, STYLES) is None
