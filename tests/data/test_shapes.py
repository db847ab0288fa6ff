"""Symmetries of the glyphs, the images made of them, and the 180 tasks about these images."""

import jaxtyping
import numpy as np
import pytest
import torch

from orbitlens import groups
from orbitlens.actions import images
from orbitlens.data import Shapes, shape_tasks, shapes
from orbitlens.data._glyphs import ORIENTATIONS, SHAPES, glyphs, orientation_table
from orbitlens.errors import OrbitLensError

# The box of every image size from 16 to 128 pixels.
BOXES = [6, 8, 10, 14, 16, 18, 20, 24, 40]
every_box = pytest.mark.parametrize("box", BOXES)
C4, D4 = groups.cyclic(4), groups.dihedral(4)


def turned(box: int) -> np.ndarray:
    """All four turns of every glyph, [shape, turn, box, box]."""
    return images(C4).orbit(glyphs(box)[:, None])[:, :, 0].numpy()


def flipped(box: int) -> np.ndarray:
    return glyphs(box).flip(-2).numpy()


@every_box
def test_rectangle_and_diagonal_have_two_orientations_and_the_others_four(box: int) -> None:
    distinct = [len({turn.tobytes() for turn in turns}) for turns in turned(box)]
    assert distinct == [2, 2, 4, 4, 4, 4, 4, 4]
    assert tuple(distinct) == ORIENTATIONS


@every_box
def test_the_two_orientations_are_the_first_two(box: int) -> None:
    for turns, count in zip(turned(box), ORIENTATIONS, strict=True):
        assert len({turn.tobytes() for turn in turns[:count]}) == count


@every_box
def test_only_the_rectangle_and_the_c_are_unchanged_by_the_flip(box: int) -> None:
    unchanged = (flipped(box) == glyphs(box).numpy()).all((1, 2))
    assert [SHAPES[i] for i in np.flatnonzero(unchanged)] == ["rectangle", "C"]


@every_box
def test_every_glyph_is_achiral(box: int) -> None:
    for turns, mirror in zip(turned(box), flipped(box), strict=True):
        assert mirror.tobytes() in {turn.tobytes() for turn in turns}


@every_box
def test_the_28_oriented_glyphs_are_distinct(box: int) -> None:
    oriented = {turn.tobytes() for turns in turned(box) for turn in turns}
    assert len(oriented) == 28


@every_box
def test_lines_fill_the_box_and_are_a_few_pixels_thick(box: int) -> None:
    t = glyphs(box)[SHAPES.index("T")]
    assert 2 <= t[-1].sum() <= box / 3
    assert t[0].all()
    for glyph in glyphs(box):
        assert glyph.any(0).all() or glyph.any(1).all()


@pytest.mark.parametrize("name", ["C1", "C2", "C4", "D1", "D2", "D4"])
@pytest.mark.parametrize("box", [8, 20])
def test_orientation_table_names_the_turn_that_a_moved_glyph_shows(name: str, box: int) -> None:
    group = groups.from_name(name)
    table = orientation_table(group)
    moved = images(group).orbit(glyphs(box)[:, None])[:, :, 0].numpy()
    for g in range(group.order):
        for s in range(len(SHAPES)):
            assert table[g, s] < ORIENTATIONS[s]
            assert np.array_equal(moved[s, g], turned(box)[s, table[g, s]])


def test_a_small_t_has_a_bar_and_a_stem() -> None:
    rows = ["".join(".#"[ink] for ink in row) for row in glyphs(6)[SHAPES.index("T")].int()]
    assert rows == ["######", "######", "..##..", "..##..", "..##..", "..##.."]


def test_the_flip_turns_some_glyphs() -> None:
    assert orientation_table(groups.dihedral(1)).tolist() == [[0] * 8, [0, 1, 0, 2, 3, 2, 2, 2]]


@pytest.mark.parametrize("box", [4, 7])
def test_a_box_that_is_odd_or_too_small_is_rejected(box: int) -> None:
    with pytest.raises(OrbitLensError, match=f"at least 6, received {box}"):
        glyphs(box)


def read_back(values: torch.Tensor) -> list[list[tuple[int, int] | None]]:
    """Recognise by eye: cut the quadrants and look each up among the oriented glyphs."""
    half = values.shape[-1] // 2
    margin = half * 3 // 16
    known = {
        turn.tobytes(): (s, o)
        for s, turns in enumerate(turned(half - 2 * margin))
        for o, turn in reversed(list(enumerate(turns)))
    }
    inner = slice(margin, half - margin)
    found = []
    for image in values[:, 0].bool().numpy():
        quadrants = [image[y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
        found.append([known.get(quadrant[inner, inner].tobytes()) for quadrant in quadrants])
    return found


@pytest.fixture(scope="module")
def everything() -> Shapes:
    return shapes(4096, seed=0, size=16)


@pytest.mark.parametrize("size", [16, 24, 64])
def test_images_show_the_upright_glyphs_of_their_ids(size: int) -> None:
    sample = shapes(50, seed=1, size=size)
    values = sample.inputs.values
    assert values.shape == (50, 1, size, size)
    assert values.dtype == torch.float32
    assert set(values.unique().tolist()) == {0.0, 1.0}
    assert read_back(values) == [[(s, 0) for s in row] for row in sample.shape_ids.tolist()]


def test_a_round_holds_every_combination_once(everything: Shapes) -> None:
    assert len(np.unique(everything.shape_ids, axis=0)) == 4096
    assert len(np.unique(everything.inputs.values.flatten(1).numpy(), axis=0)) == 4096


def test_rounds_are_drawn_one_after_the_other_in_different_orders() -> None:
    ids = shapes(8192 + 100, seed=0, size=16).shape_ids
    for part in (ids[:4096], ids[4096:8192]):
        assert len(np.unique(part, axis=0)) == 4096
    assert not np.array_equal(ids[:4096], ids[4096:8192])
    assert len(np.unique(ids[8192:], axis=0)) == 100


def test_a_short_draw_has_every_glyph_about_equally_often_in_every_quadrant() -> None:
    ids = shapes(2000, seed=0, size=16).shape_ids
    for quadrant in ids.T:
        assert np.abs(np.bincount(quadrant, minlength=8) - 250).max() < 60


@pytest.mark.parametrize(("name", "shared"), [("C4", 12), ("D4", 632)])
def test_few_images_share_an_orbit(everything: Shapes, name: str, shared: int) -> None:
    orbits = images(groups.from_name(name)).orbit(everything.inputs.values).bool().flatten(2)
    packed = np.packbits(orbits.numpy(), axis=-1)
    keys = np.array([min(image.tobytes().hex() for image in orbit) for orbit in packed])
    counts = np.unique(keys, return_counts=True)[1]
    assert counts[counts > 1].sum() == shared


def test_the_same_seed_gives_the_same_images() -> None:
    first, again, other = (shapes(30, seed=seed, size=16) for seed in (1, 1, 2))
    assert first.inputs.digest == again.inputs.digest != other.inputs.digest


@pytest.mark.parametrize("size", [8, 20, 0])
def test_a_size_that_does_not_fit_is_rejected(size: int) -> None:
    with pytest.raises(
        OrbitLensError, match=f"multiple of 8 pixels, at least 16, such as 64, received {size}"
    ):
        shapes(1, seed=0, size=size)


def test_no_images_are_rejected() -> None:
    with pytest.raises(OrbitLensError, match="`n`: expected at least 1, received 0"):
        shapes(0, seed=0)


def answer(name: str, seen: list[tuple[int, int] | None]) -> bool:
    family, _, arguments = name.rstrip(")").partition("(")
    shape, *numbers = arguments.split(",")
    s = SHAPES.index(shape)
    match family, [int(number) for number in numbers]:
        case "S", []:
            return any(glyph is not None and glyph[0] == s for glyph in seen)
        case "SO", [o]:
            return (s, o) in seen
        case "SP", [p]:
            return seen[p] is not None and seen[p][0] == s
        case "SPO", [p, o]:
            return seen[p] == (s, o)
    raise AssertionError(name)


@pytest.mark.parametrize("name", ["C4", "D4", "D2", "D1"])
def test_tasks_agree_with_looking_at_the_moved_images(name: str) -> None:
    group = groups.from_name(name)
    sample = shapes(40, seed=2, size=24)
    orbits = images(group).orbit(sample.inputs.values)
    elements = np.arange(group.order)
    tasks = shape_tasks(
        np.repeat(sample.shape_ids, group.order, axis=0), np.tile(elements, 40), group
    )
    for labels, seen in zip(tasks.labels, read_back(orbits.flatten(0, 1)), strict=True):
        assert [answer(name, seen) for name in tasks.names] == labels.tolist()


def test_there_are_180_tasks_in_four_families() -> None:
    tasks = shape_tasks(np.zeros((1, 4), dtype=np.int64), np.zeros(1, dtype=np.int64), C4)
    assert len(set(tasks.names)) == 180
    assert tasks.labels.shape == (1, 180)
    assert [tasks.families.count(family) for family in ("S", "SO", "SP", "SPO")] == [8, 28, 32, 112]
    assert all(
        name.startswith(f"{family}(")
        for name, family in zip(tasks.names, tasks.families, strict=True)
    )


@pytest.mark.parametrize("group", [C4, D4], ids=lambda group: group.name)
def test_shares_of_negatives_are_those_of_the_paper(everything: Shapes, group) -> None:
    ids = np.repeat(everything.shape_ids, group.order, axis=0)
    tasks = shape_tasks(ids, np.tile(np.arange(group.order), 4096), group)
    families = np.array(tasks.families)
    negatives = {name: 1 - tasks.labels[:, families == name].mean() for name in set(families)}
    assert 0.58 < negatives["S"] < 0.59
    assert 0.87 < negatives["SP"] < 0.89
    assert 0.87 < negatives["SO"] < 0.89
    assert 0.96 < negatives["SPO"] < 0.97


def test_a_group_with_other_turns_has_no_tasks() -> None:
    with pytest.raises(OrbitLensError, match="received C8"):
        shape_tasks(np.zeros((1, 4), dtype=np.int64), np.array([0]), groups.cyclic(8))


@pytest.mark.parametrize(
    ("ids", "elements", "message"),
    [
        ([[0, 0, 0, 8]], [0], "`shape_ids`: expected indices from 0 to 7, received 8"),
        ([[0, 0, 0, 0]], [4], "`elements`: expected indices from 0 to 3, received 4"),
        ([[0, 0, 0, 0]], [-1], "`elements`: expected indices from 0 to 3, received -1"),
        ([[0, 0, 0]], [0], r"a glyph per quadrant, received \[1, 3\]"),
    ],
)
def test_glyphs_and_elements_that_do_not_exist_are_rejected(
    ids: list[list[int]], elements: list[int], message: str
) -> None:
    with pytest.raises(OrbitLensError, match=message):
        shape_tasks(np.array(ids), np.array(elements), C4)


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"n": "3", "seed": 0}, "n"), ({"n": 3, "seed": None}, "seed"), ({"n": 1.5, "seed": 0}, "n")],
)
def test_numbers_and_seeds_are_whole(
    settings: dict, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=f"`{name}`: expected a whole number"):
        shapes(**settings)


def test_more_images_than_memory_holds_are_refused_before_any_is_drawn() -> None:
    with pytest.raises(OrbitLensError, match="GiB of memory"):
        shapes(n=10**12, seed=0)
