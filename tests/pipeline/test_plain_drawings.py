"""Drawings of inputs that are no images: what a picture shows, and that it moves with its input."""

import numpy as np
import pytest
import torch
from torch import Tensor

from orbitlens import actions
from orbitlens.actions import Action
from orbitlens.pipeline._drawings import DRAWINGS, HOW_DRAWN


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def letters(text: str) -> Tensor:
    return torch.eye(5)[["ACGT-".index(letter) for letter in text], :4].T[None]


def drawn(action: Action, inputs: Tensor, element: int = 0) -> Tensor:
    return DRAWINGS[action.name](action(inputs, element), action)


CASES = {
    "letters": (actions.reverse_complement(), letters("ACGTTGACA" * 9)),
    "long letters": (actions.reverse_complement(), letters("ACGTTGACAT" * 50)),
    "points": (actions.points("O"), noise(1, 30, 4)),
    "many points": (actions.points("C4", centred=True), noise(1, 300, 2)),
    "points about an axis": (actions.points("C8", axis="y"), noise(1, 30, 3)),
    "volumes": (actions.volumes("O"), noise(1, 2, 6, 6, 6)),
    "odd volumes": (actions.volumes("O"), noise(1, 3, 5, 5, 5)),
    "sets": (actions.set_permutation("S4"), noise(1, 4)),
    "sets of vectors": (actions.set_permutation("S4"), noise(1, 4, 2, 2)),
    "graphs": (actions.graphs("S4"), noise(1, 4, 6)),
    "graphs without features": (actions.graphs("C5"), noise(1, 5, 5)),
    "curves": (actions.cyclic_shift("C6"), noise(1, 2, 24)),
    "many curves": (actions.cyclic_shift("C6"), noise(1, 9, 24)),
    "a curve": (actions.cyclic_shift("C6"), noise(1, 24)),
}


@pytest.mark.parametrize("name", CASES)
def test_pictures_are_small_and_on_white(name: str) -> None:
    action, inputs = CASES[name]
    pictures = drawn(action, inputs.expand(3, *inputs.shape[1:]))
    k, channels, height, width = pictures.shape
    assert (k, channels) == (3, 3)
    assert height <= 96
    assert width <= 256
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert torch.equal(pictures[0], pictures[2])
    assert action.name in HOW_DRAWN


@pytest.mark.parametrize("name", CASES)
def test_constant_inputs_are_drawn(name: str) -> None:
    action, inputs = CASES[name]
    assert bool(drawn(action, torch.zeros_like(inputs)).isfinite().all())


def cells(picture: Tensor, height: int, width: int) -> Tensor:
    """Cut a picture into its cells, [rows, columns, 3, height, width]."""
    return picture.unfold(1, height, height).unfold(2, width, width).permute(1, 2, 0, 3, 4)


def test_each_letter_is_one_glyph_in_one_colour_and_padding_is_white() -> None:
    text = "ACGTAC--"
    picture = cells(drawn(actions.reverse_complement(), letters(text))[0], 9, 6)[0]
    assert torch.equal(picture[0], picture[4])
    assert torch.equal(picture[1], picture[5])
    assert len({tuple(each.flatten().tolist()) for each in picture[:4]}) == 4
    assert bool((picture[6:] == 1).all())
    inks = [set(map(tuple, each.flatten(1).T.tolist())) for each in picture[:4]]
    assert [len(ink) for ink in inks] == [2] * 4  # the letter and its paper
    assert len(set.union(*inks)) == 8


def test_the_other_strand_is_drawn_as_its_letters() -> None:
    action = actions.reverse_complement()
    found = drawn(action, letters("AACGTTTG"), 1)
    assert torch.equal(found, drawn(action, letters("CAAACGTT")))


def test_sequences_go_on_in_the_next_row() -> None:
    action = actions.reverse_complement()
    picture = drawn(action, letters("A" * 40 + "C" * 40))[0]
    assert picture.shape == (3, 18, 240)
    one_row = drawn(action, letters("A" * 40))[0]
    assert torch.equal(picture[:, :9], one_row)
    assert drawn(action, letters("ACGT" * 100)).shape == (1, 3, 28, 240)


def test_points_lie_where_their_coordinates_say() -> None:
    (picture,) = drawn(actions.points("C4"), torch.tensor([[[1.0, 0.0], [0.0, 0.5]]]))
    assert picture.shape == (3, 72, 72)
    dark = (picture.amin(0) < 1).nonzero()
    right, top = dark[dark[:, 1] > 60].double().mean(0), dark[dark[:, 1] < 60].double().mean(0)
    assert right.tolist() == pytest.approx([35.5, 69], abs=1)
    assert top.tolist() == pytest.approx([35.5 - 16.75, 35.5], abs=1)


def test_views_of_points_in_space_and_who_is_near() -> None:
    clouds = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]])
    (picture,) = drawn(actions.points("O"), clouds)
    above, front = picture[:, :, :72], picture[:, :, 76:]
    # From above two points are in one place, and the upper one hides the lower.
    assert int((above.amin(0) < 1).sum()) == 2 * 9
    assert int((front.amin(0) < 1).sum()) == 3 * 9
    assert above[:, 36, 36].tolist() == pytest.approx([0.1, 0.2, 0.45], abs=0.01)
    assert bool((above[0, 35:38, 68:71] > 0.2).all())  # farther from the eye, and paler


def test_pictures_of_points_turn_with_them() -> None:
    action, clouds = actions.points("C4"), noise(1, 12, 2)
    first = drawn(action, clouds)[0].amin(0) < 1
    turned = drawn(action, clouds, 1)[0].amin(0) < 1
    expected = torch.rot90(first)
    grown = torch.nn.functional.max_pool2d(expected[None].float(), 3, 1, 1)[0] > 0
    assert bool(grown[turned].all())


def test_a_slice_is_the_middle_and_turns_with_the_volume() -> None:
    action, inputs = actions.volumes("O"), noise(1, 1, 6, 6, 6)
    about_z = action.group.generators[0]
    still, turned = drawn(action, inputs)[0], drawn(action, inputs, about_z)[0]
    panel = np.s_[:, :, :48]
    torch.testing.assert_close(turned[panel], torch.rot90(still[panel], 1, (1, 2)))
    values = inputs[0, 0]
    grey = (values - values.min()) / (values.max() - values.min())
    torch.testing.assert_close(still[0, ::8, :48:8], grey[2:4].mean(0))
    torch.testing.assert_close(still[0, ::8, 52:100:8], grey[:, 2:4].mean(1).flip(0))
    torch.testing.assert_close(still[0, ::8, 104::8], grey[:, :, 2:4].mean(2).flip(0, 1))


def test_rows_of_sets_and_graphs_change_places() -> None:
    action, inputs = actions.set_permutation("S4"), noise(1, 4, 3)
    rows = cells(drawn(action, inputs)[0], 18, 54)[:, 0]
    moved = cells(drawn(action, inputs, 1)[0], 18, 54)[:, 0]
    where = action.config["permutations"][1]
    assert torch.equal(moved[where], rows)
    bars = cells(drawn(action, inputs[:, :, 0])[0], 18, 72)[:, 0]
    assert torch.equal(cells(drawn(action, inputs[:, :, 0], 1)[0], 18, 72)[where, 0], bars)


def test_bars_begin_at_zero() -> None:
    picture = drawn(actions.set_permutation("C2"), torch.tensor([[1.0, -1.0]]))[0]
    dark = picture.amin(0) < 1
    assert dark[0].nonzero().flatten().tolist() == list(range(35, 72))
    assert dark[40].nonzero().flatten().tolist() == list(range(37))


def test_a_curve_is_as_high_as_its_numbers() -> None:
    picture = drawn(actions.cyclic_shift("C2"), torch.tensor([[[0.0, 1.0]]]))[0]
    dark = picture.amin(0) < 1
    assert bool(dark[70, 0])
    assert bool(dark[1, -1])
    assert not bool(dark[1, 0])
