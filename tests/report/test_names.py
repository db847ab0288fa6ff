"""Names are shortened where they say least, and every irrep has a look of its own."""

import pytest

from orbitlens.report._names import PALETTE, irrep_styles, short_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("head", "head"),
        ("encoder.layers.3.mlp.fc1", "encoder.layers.3.mlp.fc1"),
        ("vision_model.encoder.layers.11.mlp.fc1", "vision_model…11.mlp.fc1"),
        ("vision_model.encoder.layers.11.self_attn.out_proj", "…11.self_attn.out_proj"),
        ("a_single_word_that_is_far_too_long", "a_single_word…far_too_long"),
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
