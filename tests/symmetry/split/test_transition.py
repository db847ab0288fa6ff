"""The transition: exact for the group and for permutations of objects; bad input is refused."""

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

from orbitlens.data import block_moves
from orbitlens.errors import OrbitLensError
from orbitlens.groups import from_name
from orbitlens.reps import direct_sum, regular
from orbitlens.symmetry.split import ObjectTransition

OBJECTS = 3


def small(group: str, moves: object = None, **arguments: object) -> ObjectTransition:
    moves = block_moves(group) if moves is None else moves
    return ObjectTransition(group, moves, hidden=5, **arguments).double()  # type: ignore[arg-type]


def every_action(model: ObjectTransition) -> tuple[Tensor, Tensor]:
    actions = torch.arange(model.moves.shape[1] * OBJECTS)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(len(actions), OBJECTS, model.dim, generator=generator, dtype=torch.float64)
    return z, actions


@pytest.mark.parametrize("group", ["C1", "C2", "C4", "D1", "D4"])
def test_moving_latents_and_action_moves_the_change(group: str) -> None:
    model = small(group)
    z, actions = every_action(model)
    rho = direct_sum(regular(group), regular(group)).matrices.double()
    change = model(z, actions)
    assert change.std() > 0.01
    for g in range(len(rho)):
        moved = actions - actions % 4 + model.moves[g][actions % 4]
        assert torch.allclose(model(z @ rho[g].T, moved), change @ rho[g].T, atol=1e-12)


def test_the_same_for_a_group_that_turns_no_pixels() -> None:
    group = from_name("S3")
    model = small("S3", moves=group.table)
    z, actions = every_action(model)
    rho = direct_sum(regular("S3"), regular("S3")).matrices.double()
    for g in range(6):
        moved = actions - actions % 6 + model.moves[g][actions % 6]
        assert torch.allclose(model(z @ rho[g].T, moved), model(z, actions) @ rho[g].T, atol=1e-12)


def test_objects_have_no_order() -> None:
    model = small("C4")
    z, actions = every_action(model)
    order = torch.tensor([2, 0, 1])
    place = order.argsort()
    moved = 4 * place[actions // 4] + actions % 4
    assert torch.allclose(model(z[:, order], moved), model(z, actions)[:, order], atol=1e-12)


def test_an_object_alone_gets_no_message() -> None:
    model, z = small("C4"), torch.randn(2, 1, 8).double()
    change = model(z, torch.tensor([0, 3]))
    silent = torch.zeros(2, 1, 20).double()
    action = torch.eye(4)[[0, 3]].double()[:, None]
    assert torch.allclose(change, model.node(torch.cat([z, model.actions(action), silent], -1)))


def test_another_object_matters_and_another_action_too() -> None:
    model = small("C4")
    z, actions = every_action(model)
    assert not torch.allclose(
        model(z, actions)[:, 0], model(z * torch.tensor([1, 1, 2])[:, None], actions)[:, 0]
    )
    assert not torch.allclose(model(z, actions)[0], model(z[:1].expand_as(z), actions)[1])


@pytest.mark.parametrize(
    "moves",
    [
        np.eye(4, dtype=int),
        np.zeros((4, 4), dtype=int),
        block_moves("C4")[[0, 1, 2, 1]],
        block_moves("C2"),
        np.array([[0, 1], [0, 1], [0, 1], [1, 0]]),
    ],
)
def test_moves_that_are_no_action_of_the_group_are_refused(moves: object) -> None:
    with pytest.raises(OrbitLensError, match=r"`moves`: .*data\.block_moves"):
        small("C4", moves)


@pytest.mark.parametrize("action", [-1, 12])
def test_an_action_beyond_the_objects_is_refused(action: int) -> None:
    model = small("C4")
    with pytest.raises(OrbitLensError, match=r"`actions`: expected whole numbers in 0\.\.11"):
        model(torch.zeros(1, OBJECTS, 8).double(), torch.tensor([action]))


def test_other_latents_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for shape in ((2, OBJECTS, 7), (2, 8)):
        with pytest.raises(OrbitLensError, match=r"latents of shape \[n, objects, 8\]"):
            small("C4")(torch.zeros(shape).double(), torch.tensor([0, 1]))
    with pytest.raises(OrbitLensError, match="`actions`"):
        small("C4")(torch.zeros(2, 2, 8).double(), torch.tensor([0]))
