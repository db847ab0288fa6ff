"""Labels of pretext tasks move as the images move, for every element and bit by bit."""

import math
from itertools import permutations

import jaxtyping
import numpy as np
import pytest
import torch

from orbitlens import actions
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, cyclic, dihedral, from_name
from orbitlens.symmetry.pretext import (
    Jigsaw,
    LabelAction,
    PretextTask,
    RelativePosition,
    RotationPrediction,
    distant_permutations,
    rotation,
)

from .moves import EXACT, noise

every_group = pytest.mark.parametrize("group", EXACT, ids=lambda group: group.name)
RAMPS = noise(60, 1, 4, 4) + torch.arange(4.0, dtype=torch.float64)[:, None]
RAMPS = RAMPS + 2 * torch.arange(4.0, dtype=torch.float64)


def moving_tasks(group: Group) -> list[tuple[PretextTask, int]]:
    """Tasks whose images move with the inputs, and a side that suits them."""
    return [
        (Jigsaw(group), 8),
        (Jigsaw(group, 3, distant_permutations(group, 3, seeds=3)), 9),
        (RelativePosition(group, gap=1), 11),
    ]


@every_group
def test_a_moved_input_is_that_of_the_moved_image_and_the_moved_label(group: Group) -> None:
    move = actions.images(group)
    for task, side in moving_tasks(group):
        images, n = noise(1, 2, side, side), task.labels.n
        images, labels = images.expand(n, -1, -1, -1), torch.arange(n)
        inputs = task.inputs(images, labels)
        for g in range(group.order):
            again = task.inputs(move(images, g), task.labels.move(labels, g))
            assert torch.equal(move(inputs, g), again)


@every_group
def test_a_turned_image_has_the_label_of_the_product(group: Group) -> None:
    move, task = actions.images(group), RotationPrediction(group, RAMPS)
    images, labels = RAMPS[: group.order], torch.arange(group.order)
    inputs = task.inputs(images, labels)
    for g in range(group.order):
        again = task.inputs(images, task.labels.move(labels, g))
        assert torch.equal(move(inputs, g), again)


@every_group
def test_labels_move_by_an_action_and_orbits_divide_the_order(group: Group) -> None:
    for task, _ in moving_tasks(group):
        labels = task.labels
        everything = torch.arange(labels.n)
        for g in range(group.order):
            for h in range(group.order):
                twice = labels.move(labels.move(everything, h), g)
                assert torch.equal(twice, labels.move(everything, group.multiply(g, h)))
        for orbit, stabiliser in zip(labels.orbits, labels.stabilisers, strict=True):
            assert len(orbit) * len(stabiliser) == group.order
            assert all(labels.moved[h, orbit[0]] == orbit[0] for h in stabiliser)
        assert sorted(sum(labels.orbits, ())) == list(range(labels.n))


def test_four_quarter_turns_leave_a_label_and_turn_each_by_its_own() -> None:
    labels, y = Jigsaw("C4").labels, torch.arange(24)
    back = y
    for _ in range(4):
        back = labels.move(back, 1)
    assert torch.equal(back, y)
    own = labels.move(y, y % 4)
    assert own.tolist() == [int(labels.moved[label % 4, label]) for label in range(24)]


def test_orbits_and_caps_are_those_worked_out_by_hand() -> None:
    jigsaw, position = Jigsaw("C4").labels, RelativePosition("C4").labels
    assert sorted(map(len, jigsaw.orbits)) == [1, 1, 1, 1, 2, 2, 4, 4, 4, 4]
    assert jigsaw.cap == 10 / 24
    assert (sorted(map(len, position.orbits)), position.cap) == ([4, 4], 0.25)
    assert RotationPrediction("C4", RAMPS).labels.cap == 0.25
    # A turn brings the upper right corner to the upper left, and the right edge to the top.
    assert position.moved[1].tolist() == [5, 3, 0, 6, 1, 7, 4, 2]


def test_a_jigsaw_puts_each_part_where_its_permutation_says() -> None:
    task = Jigsaw("C1", 2, np.array([[1, 2, 3, 0]]))
    pictures = torch.arange(16).reshape(1, 1, 4, 4)
    shuffled = task.inputs(pictures, torch.tensor([0]))
    assert torch.equal(shuffled[0, 0, :2, 2:], pictures[0, 0, :2, :2])
    assert torch.equal(shuffled[0, 0, :2, :2], pictures[0, 0, 2:, 2:])


def test_a_pair_is_the_middle_patch_and_its_neighbour() -> None:
    pictures = torch.arange(64).reshape(1, 1, 8, 8)
    pair = RelativePosition("C4", gap=1).inputs(pictures, torch.tensor([1]))
    assert torch.equal(pair[0, 0], pictures[0, 0, 3:5, 3:5])
    assert torch.equal(pair[0, 1], pictures[0, 0, 0:2, 3:5])


@pytest.mark.parametrize("name", ["C4", "D4"])
def test_distant_permutations_are_closed_and_far_from_each_other(name: str) -> None:
    found = distant_permutations(name, 3, seeds=4)
    labels = Jigsaw(name, 3, found).labels
    assert (labels.n, len(labels.orbits)) == (len(found), 4)
    distances = (found[:, None] != found).sum(-1)
    smallest = distances[~np.eye(len(found), dtype=bool)].min()
    # Two random permutations of 9 places share one on average; 32 of them have a pair with 4.
    assert smallest >= 7
    assert np.array_equal(found, distant_permutations(name, 3, seeds=4))
    assert not np.array_equal(found, distant_permutations(name, 3, seeds=4, seed=1))


def test_drawn_labels_are_equally_likely_and_leave_the_global_generator() -> None:
    task, state = RelativePosition("C4"), torch.get_rng_state()
    images = noise(4000, 1, 3, 3)
    inputs, labels = task.draw(images, torch.Generator().manual_seed(0))
    assert torch.equal(inputs, task.inputs(images, labels))
    # 500 of each are expected, with a standard deviation of 21.
    assert (labels.bincount() - 500).abs().max() < 5 * math.sqrt(500)
    assert torch.equal(torch.get_rng_state(), state)


def test_upright_images_are_told_from_turned_ones() -> None:
    turned = torch.cat([actions.images("C4")(RAMPS[k::4], k) for k in range(4)])
    RotationPrediction("C4", RAMPS)
    with pytest.raises(OrbitLensError, match="mean is not symmetric under C4.*choose Jigsaw"):
        RotationPrediction("C4", turned)


def test_upright_images_are_looked_for_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "_MOST", 40)
    symmetric = torch.ones(60, 1, 4, 4, dtype=torch.float64)
    RotationPrediction("C4", torch.cat([symmetric, RAMPS]))
    RotationPrediction("C4", torch.cat([RAMPS, symmetric]))


@pytest.mark.parametrize("images", [None, 3])
def test_what_is_no_image_draws_no_label(images: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="tensor of shape .*side"):
        Jigsaw("C4").draw(images, torch.Generator())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Jigsaw("C8"), "C8 cannot move pixels exactly"),
        (lambda: RelativePosition("C3"), "C3 cannot move pixels exactly"),
        (lambda: RotationPrediction("C8", RAMPS), "C8 cannot move pixels exactly"),
        (lambda: Jigsaw("C4", 1), "`parts`: .*at least 2, received 1"),
        (lambda: RelativePosition("C4", gap=-1), "`gap`: .*at least 0"),
        (lambda: distant_permutations("C4", 2, seeds=30), "`seeds`: expected at most"),
        (
            lambda: Jigsaw("C4", 2, np.array([[0, 1, 2, 3], [1, 0, 2, 3]])),
            r"closed under conjugation by C4, received \[1, 0, 2, 3\], but not",
        ),
        (lambda: Jigsaw("C4", 2, np.array([[0, 1, 2, 2]])), r"permutations of 0\.\.3"),
        (lambda: Jigsaw("C4", 2, np.array([[0, 1, 2, 3]] * 2)), "2, of which 1 differ"),
        (lambda: Jigsaw("C4", 2, [[0, 1, 2, 3], [0, 1]]), "nested lists of one length"),
        (lambda: Jigsaw("C4", 2, [[0, 1, 2]]), "rows of 3 numbers"),
        (lambda: LabelAction(cyclic(2), np.array([[0, 1], [0, 0]])), "no action of C2"),
        (lambda: LabelAction(cyclic(3), np.array([[0, 1], [1, 0], [1, 0]])), "no action of C3"),
        (lambda: LabelAction(cyclic(2), np.zeros((2, 0), dtype=int)), r"shape \[2, 0\], no action"),
        (lambda: LabelAction(cyclic(2), [[0, 1], [1]]), "no action of C2"),
        (lambda: RotationPrediction("C4", RAMPS * torch.nan), "60 images with NaN or infinity"),
        (lambda: RotationPrediction("C4", RAMPS / 0), "60 images with NaN or infinity"),
        (lambda: LabelAction(dihedral(1), np.array([[0, 1]])), "each of the 2 elements of D1"),
        (lambda: Jigsaw("C4").labels.move(torch.tensor([24]), 0), r"whole numbers in 0\.\.23"),
        (lambda: Jigsaw("C4").labels.move(torch.tensor([0]), 4), r"whole numbers in 0\.\.3"),
    ],
)
def test_what_is_no_task_is_refused(
    call: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        call()


@pytest.mark.parametrize(
    ("task", "images", "labels", "message"),
    [
        (Jigsaw("C4"), torch.zeros(1, 1, 4, 6), [0], "height = width, received 4 x 6"),
        (Jigsaw("C4"), torch.zeros(1, 1, 5, 5), [0], "multiple of 2 pixels, received 5"),
        (Jigsaw("C4"), torch.zeros(4, 4), [0], r"\[n, channels, side, side\]"),
        (Jigsaw("C4"), torch.zeros(1, 1, 4, 4), [24], r"whole numbers in 0\.\.23"),
        (Jigsaw("C4"), torch.zeros(2, 1, 4, 4), [0], "`labels`: expected shape"),
        (RelativePosition("C4"), torch.zeros(1, 1, 8, 8), [0], "three patches.*received 8"),
        (RelativePosition("C4", 2), torch.zeros(1, 1, 4, 4), [0], "two gaps of 2 pixels"),
    ],
)
def test_images_that_do_not_suit_a_task_are_refused(
    task: PretextTask,
    images: torch.Tensor,
    labels: list[int],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        task.inputs(images, torch.tensor(labels))


def test_all_orders_of_four_parts_are_labels() -> None:
    assert Jigsaw(from_name("D4")).permutations.tolist() == [
        list(s) for s in permutations(range(4))
    ]
