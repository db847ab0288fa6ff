"""Numbers are short and honest, names are shortened where they say least, looks differ."""

import pytest

from orbitlens.report._notation import (
    PALETTE,
    duration,
    figure,
    finite,
    irrep_styles,
    percent,
    score,
    short_name,
)

NAN, DASH = float("nan"), "\N{EN DASH}"


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), (0.5, 0.5), (NAN, None), (None, None), (True, None), ("1", None)],
)
def test_only_finite_numbers_are_numbers(value: object, number: float | None) -> None:
    assert finite(value) == number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (98304, "98,304"),
        (0.02234, "0.0223"),
        (2.0e-07, "2.0e−7"),
        (-1234.5, "−1234"),
        (0.0, "0"),
        (None, DASH),
        (True, DASH),
        (NAN, "not finite"),
    ],
)
def test_numbers_have_three_digits_and_counts_all(value: object, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.99647, "0.996"), (-0.2, "−0.200"), (-1e9, "−1.0e9"), (None, DASH)]
)
def test_scores_have_three_decimals(value: object, text: str) -> None:
    assert score(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.998, "99.8%"),
        (1.0, "100%"),
        (0.0004, "<0.1%"),
        (0, "0%"),
        (-0.031, "−3.1%"),
        (None, DASH),
    ],
)
def test_shares_are_percentages(value: object, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.31, "0.3 s"),
        (80.0, "80.0 s"),
        (200.0, "3 min 20 s"),
        (7260.0, "2 h 1 min"),
        (None, DASH),
    ],
)
def test_times_are_in_seconds_minutes_or_hours(seconds: object, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("head", "head"),
        ("encoder.layers.3.mlp.fc1", "encoder.layers.3.mlp.fc1"),
        ("vision_model.encoder.layers.11.mlp.fc1", "vision_model…11.mlp.fc1"),
        ("vision_model.encoder.layers.11.self_attn.out_proj", "…11.self_attn.out_proj"),
        ("a_single_word_that_is_far_too_long", "a_single_word…far_too_long"),
        ("vit.encoder.layer.11.attention.output.dense", "vit…layer.11…output.dense"),
    ],
)
def test_a_long_name_keeps_its_number_and_its_end(name: str, shown: str) -> None:
    assert short_name(name, 26) == shown


@pytest.mark.parametrize("name", ["a.b.c", "12.0.1", "...", "", "x" * 300, ".".join("ab" * 99)])
def test_a_name_never_gets_more_room_than_there_is(name: str) -> None:
    assert all(len(short_name(name, longest)) <= longest for longest in range(1, 60))


def test_layers_of_a_block_stay_apart() -> None:
    names = [f"model.encoder.layers.{i}.self_attn.{x}_proj" for i in range(12) for x in "qkv"]
    assert len({short_name(name, 25) for name in names}) == len(names)


def test_the_trivial_irrep_has_the_grey_and_no_two_look_the_same() -> None:
    names = ["1d#1", "trivial", *(f"2d#{k}" for k in range(1, 17))]
    styles = irrep_styles([{"name": name} for name in names])
    looks = [(style.slot, style.strength) for style in styles]
    assert len(set(looks)) == len(names)
    assert [style.name for style in styles if style.slot == 0] == ["trivial"]
    assert max(slot for slot, _ in looks) < len(PALETTE)


def test_an_irrep_without_a_label_goes_by_its_name() -> None:
    named, bare = irrep_styles([{"name": "1d#1", "label": None}, {}])
    assert (named.label, bare.label) == ("1d#1", "irrep 2")
