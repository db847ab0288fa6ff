"""The words for an element are true: a picture moves as they say."""

import math
import re

import numpy as np
import pytest
import torch
from jaxtyping import Float

from orbitlens.actions import (
    Action,
    cyclic_shift,
    describe_elements,
    graphs,
    images,
    points,
    reverse_complement,
    set_permutation,
    volumes,
)
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic, from_name, from_table, signed_axes

Matrix = Float[np.ndarray, "d d"]
PLACES = np.array([[20.0, 0.0], [0.0, 20.0]])  # from the centre: to the right, upwards


def turned(degrees: float) -> Matrix:
    """Turn counter-clockwise; x points to the right and y upwards."""
    a = math.radians(degrees)
    return np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])


def mirrored(degrees: float) -> Matrix:
    """Mirror in the line at an angle from the horizontal."""
    a = math.radians(2 * degrees)
    return np.array([[math.cos(a), math.sin(a)], [math.sin(a), -math.cos(a)]])


PLAIN = {
    "as it is": turned(0),
    "quarter turn left": turned(90),
    "half turn": turned(180),
    "quarter turn right": turned(-90),
    "flipped left to right": np.diag([-1, 1]),
    "flipped top to bottom": np.diag([1, -1]),
    "flipped across the rising diagonal": np.array([[0, 1], [1, 0]]),
    "flipped across the falling diagonal": np.array([[0, -1], [-1, 0]]),
}


def read(words: str) -> Matrix:
    if words in PLAIN:
        return PLAIN[words]
    found = re.fullmatch(
        r"(turned left by|turned right by|flipped across the line at) (.+)°", words
    )
    assert found, words
    angle = float(found[2])
    if found[1].startswith("flipped"):
        return mirrored(angle)
    return turned(angle if "left" in words else -angle)


def seen(action: Action, g: int) -> Matrix:
    """Find where two spots of a picture go: the columns of the matrix."""
    y, x = torch.meshgrid(torch.arange(32.0, -33, -1), torch.arange(-32.0, 33), indexing="ij")
    spots = [torch.exp(-((x - p[0]) ** 2 + (y - p[1]) ** 2) / 8) for p in PLACES.tolist()]
    pictures = action(torch.stack(spots)[:, None], g)[:, 0]
    centres = [[(spot * axis).sum() / spot.sum() for axis in (x, y)] for spot in pictures]
    return np.array(centres).T / 20


@pytest.mark.parametrize("name", ["C1", "C2", "C3", "C4", "C7", "C8", "D1", "D2", "D4", "D5", "D8"])
def test_a_picture_moves_as_the_words_say(name: str) -> None:
    group, exact = from_name(name), name[1:] in ("1", "2", "4")
    action = images(group, None if exact else "bilinear")
    words = describe_elements(group, action.name, action.config)
    assert len(set(words)) == group.order
    for g, phrase in enumerate(words):
        assert np.abs(seen(action, g) - read(phrase)).max() < (1e-6 if exact else 0.01), phrase


@pytest.mark.parametrize("name", ["C6", "D4"])
def test_points_of_the_plane_move_as_the_words_say(name: str) -> None:
    action = points(name)
    for g, phrase in enumerate(describe_elements(name, "points", action.config)):
        moved = action(torch.eye(2)[None], g)[0].numpy().T
        assert np.abs(moved - read(phrase)).max() < 1e-6, phrase


def about(axis: str, degrees: float) -> Matrix:
    """Turn about an axis by the right hand: the formula of Rodrigues."""
    signs = {
        name: -1.0 if sign == "-" else 1.0 for sign, name in re.findall(r"(-?)\+?([xyz])", axis)
    }
    x, y, z = v = np.array([signs.get(name, 0.0) for name in "xyz"]) / len(signs) ** 0.5
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    a = math.radians(degrees)
    return math.cos(a) * np.eye(3) + math.sin(a) * cross + (1 - math.cos(a)) * np.outer(v, v)


def read_space(words: str) -> Matrix:
    if words == "as it is":
        return np.eye(3)
    if words.startswith("mirrored along"):
        return -about(words.split()[-1], 180)
    turn, *mirror = words.split(", ")
    if turn.endswith("mirrored through the centre"):
        return -np.eye(3)
    part, axis = turn.split(" about ")
    sizes = {"quarter turn": 90.0, "half turn": 180.0, "third of a turn": 120.0}
    degrees = sizes[part] if part in sizes else float(part.removeprefix("turned by ")[:-1])
    return about(axis, degrees) * (-1 if mirror else 1)


@pytest.mark.parametrize("name", ["O", "Oh"])
@pytest.mark.parametrize("action", ["volumes", "points"])
def test_a_cube_moves_as_the_words_say(name: str, action: str) -> None:
    words = describe_elements(name, action)
    assert len(set(words)) == from_name(name).order
    for matrix, phrase in zip(signed_axes(inversion=name == "Oh"), words, strict=True):
        assert np.abs(matrix - read_space(phrase)).max() < 1e-9, phrase


def test_a_quarter_turn_about_z_takes_a_voxel_from_x_to_y() -> None:
    volume = torch.zeros(1, 1, 3, 3, 3)
    volume[0, 0, 1, 1, 2] = 1  # on the x axis
    g = describe_elements("O", "volumes").index("quarter turn about z")
    assert volumes("O")(volume, g)[0, 0].nonzero().tolist() == [[1, 0, 1]]  # on the y axis, upwards


@pytest.mark.parametrize("axis", ["z", (0, -1, 0)])
def test_points_turn_about_an_axis_as_the_words_say(axis: str | tuple[int, ...]) -> None:
    action = points("C6", axis=axis)
    for g, phrase in enumerate(describe_elements("C6", "points", action.config)):
        moved = action(torch.eye(3)[None], g)[0].numpy().T
        assert np.abs(moved - read_space(phrase)).max() < 1e-6, phrase


def test_an_axis_that_is_no_edge_of_the_cube_has_no_name() -> None:
    config = points("C2", axis=(1, 2, 3)).config
    assert describe_elements("C2", "points", config) == (
        "as it is",
        "turned by 180° about its axis",
    )


def test_shifts_are_counted_in_parts_of_the_length() -> None:
    words = describe_elements("C12", "cyclic_shift")
    assert (words[0], words[3]) == ("as it is", "shifted by 3 of 12")
    moved = cyclic_shift("C12")(torch.eye(12)[:1], 3)
    assert moved.argmax() == 3


def test_strands_and_permutations_have_words_of_their_own() -> None:
    assert describe_elements(reverse_complement().group, "reverse_complement") == (
        "as it is",
        "other strand",
    )
    action = set_permutation("C4")
    words = describe_elements("C4", action.name, action.config)
    assert words == ("as it is", "(0 1 2 3)", "(0 2)(1 3)", "(0 3 2 1)")
    assert action(torch.eye(4)[None], 1)[0].argmax(0).tolist() == [1, 2, 3, 0]
    swaps = graphs("C2", [[0, 1, 2], [2, 1, 0]])
    assert describe_elements("C2", "graphs", swaps.config) == ("as it is", "(0 2)")


def test_long_permutations_are_counted() -> None:
    assert describe_elements("C100", "set_permutation")[1] == "moves 100 of 100 places"


def test_what_has_no_words_keeps_its_symbols() -> None:
    matrices = np.stack([np.eye(2), -np.eye(2)])
    own = points("C2", matrices=matrices)
    assert describe_elements("C4", "own:turn_phase") == ()
    assert describe_elements("S3", "images") == ()
    assert describe_elements("C4", "volumes") == ()
    assert describe_elements("D4", "cyclic_shift") == ()
    assert describe_elements("C3", "reverse_complement") == ()
    assert describe_elements("C2", "points", own.config) == ()
    assert describe_elements(from_table(cyclic(4).table, "mine"), "images")[2] == "half turn"


def test_a_group_that_does_not_exist_is_refused() -> None:
    with pytest.raises(OrbitLensError, match="`group`"):
        describe_elements("Z4", "images")
    with pytest.raises(OrbitLensError, match="permutations"):
        describe_elements("C4", "set_permutation", {"permutations": [[0, 1]]})
