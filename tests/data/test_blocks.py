"""The world of blocks: its symmetry for every state and action, its rules and its view."""

import jaxtyping
import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from orbitlens.actions import images
from orbitlens.data import (
    BLOCK_MOVES,
    block_episodes,
    block_moves,
    render_blocks,
    step_blocks,
)
from orbitlens.errors import OrbitLensError

UP, RIGHT, DOWN, LEFT = range(4)


def every_state(side: int) -> Float[Tensor, "n 2 side side"]:
    cells = torch.cartesian_prod(torch.arange(side**2), torch.arange(side**2))
    apart = cells[cells[:, 0] != cells[:, 1]]
    return one_hot(apart, side**2).unflatten(-1, (side, side)).float()


def every_step(side: int) -> tuple[Float[Tensor, "n 2 side side"], Int[Tensor, " n"]]:
    states = every_state(side)
    return states.repeat_interleave(8, 0), torch.arange(8).repeat(len(states))


@pytest.mark.parametrize("name", ["C1", "C2", "C4", "D1", "D2", "D4"])
@pytest.mark.parametrize("side", [3, 4, 5])
def test_turning_state_and_action_and_then_stepping_is_stepping_and_then_turning(
    name: str, side: int
) -> None:
    turns, moves = images(name), torch.from_numpy(block_moves(name))
    grids, actions = every_step(side)
    after = step_blocks(grids, actions)
    for g in range(turns.group.order):
        moved = actions - actions % 4 + moves[g][actions % 4]
        assert torch.equal(step_blocks(turns(grids, g), moved), turns(after, g))


def test_a_wrong_permutation_of_the_moves_is_no_symmetry() -> None:
    grids, actions = every_step(3)
    wrong = actions - actions % 4 + (actions % 4 + 1) % 4  # the turn the other way round
    turns = images("C4")
    assert not torch.equal(
        step_blocks(turns(grids, 1), wrong), turns(step_blocks(grids, actions), 1)
    )


def test_moves_are_an_action_of_the_group() -> None:
    group, moves = images("D4").group, block_moves("D4")
    for g in range(group.order):
        assert (moves[g][moves] == moves[group.table[g]]).all()


def test_a_block_does_not_move_onto_another() -> None:
    grid = torch.tensor([[[[1, 0], [0, 0]], [[0, 1], [0, 0]]]])
    assert torch.equal(step_blocks(grid, torch.tensor([RIGHT])), grid)
    moved = step_blocks(grid, torch.tensor([4 + DOWN]))
    assert moved.tolist() == [[[[1, 0], [0, 0]], [[0, 0], [0, 1]]]]


def test_episodes_follow_the_rules_and_the_moves_that_were_given() -> None:
    data = block_episodes(50, side=3, blocks=3, steps=4, moves=["up", "left"], seed=1)
    assert set((data.actions % 4).flatten().tolist()) == {UP, LEFT}
    assert set((data.actions // 4).flatten().tolist()) == {0, 1, 2}
    for step in range(4):
        after = step_blocks(data.grids[:, step], data.actions[:, step])
        assert torch.equal(after, data.grids[:, step + 1])


def test_every_state_begins_about_as_many_episodes() -> None:
    start = block_episodes(7200, side=3, seed=1).grids[:, 0].flatten(1)
    _, counts = start.unique(dim=0, return_counts=True)
    assert len(counts) == 72
    assert counts.min() > 60
    assert counts.max() < 140


def test_the_same_seed_gives_the_same_episodes() -> None:
    one, same, other = (block_episodes(9, steps=2, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.grids, same.grids)
    assert torch.equal(one.actions, same.actions)
    assert not torch.equal(one.grids, other.grids)


def test_every_state_has_a_picture_of_its_own() -> None:
    pictures = render_blocks(every_state(5))
    assert len(pictures.flatten(1).unique(dim=0)) == 600
    assert pictures.min() >= 0
    assert pictures.max() == 1


def test_turning_the_grid_turns_no_picture() -> None:
    grids, turns = every_state(5), images("C4")
    turned, pictures = render_blocks(turns(grids, 1)), render_blocks(grids)
    for g in range(4):
        same = (turned - turns(pictures, g)).flatten(1).abs().amax(1) == 0
        assert not same.any()


def test_a_block_in_front_hides_one_behind() -> None:
    grids = torch.zeros(2, 2, 5, 5)
    for front, grid in enumerate(grids):
        grid[front, 2, 2] = grid[1 - front, 1, 2] = 1
    alone = grids.clone()
    alone[0, 1], alone[1, 0] = 0, 0
    for front, picture in enumerate(render_blocks(grids)):
        colour = picture[:, int(4 + 2.2 * 2 + 0.6 * 2), int(1 + 2.6 * 2 + 1.1 * 2)]
        assert colour.argmax() == (0, 2)[front]  # red and blue
        # All nine pixels of the front are seen.
        assert (picture == colour[:, None, None]).all(0).sum() == 9


@pytest.mark.parametrize("name", ["C8", "S3"])
def test_a_group_that_moves_no_cells_to_cells_is_refused(name: str) -> None:
    with pytest.raises(OrbitLensError, match="group"):
        block_moves(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": 7}, "from 1 to 6, received 7"),
        ({"side": 2, "blocks": 5}, "from 1 to 4, received 5"),
        ({"moves": "up"}, "a list of some of up, right, down, left"),
        ({"moves": []}, "a list of some of"),
        ({"moves": ["upp"]}, "did you mean 'up'"),
        ({"moves": [["up"]]}, "one of up, right, down, left"),
        ({"steps": 0}, "at least 1, received 0"),
    ],
)
def test_wrong_episodes_are_refused(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, object], message: str
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        block_episodes(2, **{"seed": 0, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        (torch.zeros(1, 2, 3, 3), "not one 1 among zeros"),
        (torch.full((1, 1, 2, 2), 0.25), "not one 1 among zeros"),
        (-torch.eye(4)[0].reshape(1, 1, 2, 2), "values from -1 to"),
        (torch.eye(3)[0].reshape(1, 1, 1, 3), "1 x 3 cells"),
        (torch.eye(4)[0].reshape(1, 1, 2, 2).repeat(1, 2, 1, 1), "two blocks on one cell"),
        (torch.eye(9)[:7].reshape(1, 7, 3, 3), "7 blocks"),
    ],
)
def test_wrong_grids_are_refused(
    monkeypatch: pytest.MonkeyPatch, grids: Tensor, message: str
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        step_blocks(grids, torch.tensor([0]))


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        (torch.full((1, 2, 3, 3), 2.0), r"`grids`: .* values from 2 to 2"),
        (torch.zeros(1, 7, 3, 3), "7 blocks"),
        (torch.zeros(1, 1, 3, 4), "3 x 4 cells"),
    ],
)
def test_grids_that_cannot_be_drawn_are_refused(
    monkeypatch: pytest.MonkeyPatch, grids: Tensor, message: str
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        render_blocks(grids)


def test_grids_between_two_states_have_the_picture_between_them() -> None:
    grids = every_state(3)[:1].repeat(3, 1, 1, 1)
    grids[1, 0], grids[2, 0] = 0.25 * grids[0, 0], 0
    full, quarter, empty = render_blocks(grids)
    assert torch.allclose(quarter, 0.25 * full + 0.75 * empty)
    assert torch.equal(render_blocks(0 * grids), torch.ones_like(render_blocks(grids)))


@pytest.mark.parametrize("kind", ["numpy", "list", "bool"])
def test_grids_of_any_kind_step_alike(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    data = block_episodes(4, seed=0)
    grids, actions = data.grids[:, 0], data.actions[:, 0]
    given = {"numpy": grids.numpy(), "list": grids.tolist(), "bool": grids.bool()}[kind]
    after = step_blocks(given, actions.tolist())  # type: ignore[arg-type]
    assert (after.dtype == torch.bool) == (kind == "bool")
    assert torch.equal(after.float(), data.grids[:, 1])


def test_an_action_that_does_not_exist_is_refused() -> None:
    grids = block_episodes(1, seed=0).grids[:, 0]
    with pytest.raises(
        OrbitLensError, match=r"whole numbers in 0\.\.7, received numbers in 8\.\.8"
    ):
        step_blocks(grids, torch.tensor([8]))
    assert len(BLOCK_MOVES) == 4
