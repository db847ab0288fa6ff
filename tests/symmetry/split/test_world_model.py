"""World models: predictions of moved states, roll-outs, and the actions of the group on both."""

from pathlib import Path

import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

import orbitlens as ol
from orbitlens.actions import images
from orbitlens.data import block_episodes, block_moves, render_blocks
from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.split import WorldModel, distance_invariance_error


def small(group: str, **arguments: object) -> WorldModel:
    return WorldModel(group, width=3, hidden=5, **arguments).double().eval()  # type: ignore[arg-type]


def pictures(n: int = 4, steps: int = 3) -> tuple[Float[Tensor, "n 3 20 20"], Int[Tensor, "n s"]]:
    data = block_episodes(n, steps=steps, seed=0)
    return render_blocks(data.grids[:, 0]).double(), data.actions


@pytest.mark.parametrize("group", ["C4", "D4"])
def test_latents_move_by_the_promised_representation(group: str) -> None:
    model, z = small(group), torch.randn(3, 2, 2 * images(group).group.order).double()
    rho = model.representation.matrices.double()
    for g in range(len(rho)):
        assert torch.allclose(model.act(g, z).flatten(1), z.flatten(1) @ rho[g].T)


@pytest.mark.parametrize("group", ["C4", "D4"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_roll_outs_from_moved_latents_are_moved_roll_outs(
    group: str, dtype: torch.dtype, bound: float
) -> None:
    model = small(group).to(dtype)
    z, actions = model(pictures()[0].to(dtype)), pictures()[1]
    for g in range(model.group.order):
        here, there = z, model.act(g, z)
        for step in actions.T:
            here = model.predict(here, step)
            there = model.predict(there, model.move_actions(g, step))
        assert (there - model.act(g, here)).abs().max() <= bound * here.abs().max()


def test_distances_do_not_depend_on_how_states_stand_if_maps_turn() -> None:
    model, turns = small("C4"), images("C4")
    maps, actions = model.embedding.maps(pictures(12)[0]), pictures(12)[1][:, 0]
    found = []
    for g in (0, 1):
        z = model.embedding.of_maps(turns(maps, g))
        found += [model.predict(z, model.move_actions(g, actions)), z.roll(1, 0)]
    assert distance_invariance_error(*found) < 1e-12


def test_a_roll_out_is_one_prediction_after_the_other() -> None:
    model, (x, actions) = small("C4"), pictures()
    z = model(x)
    after = model.roll_out(x, actions)
    assert after.shape == (4, 3, 2, 8)
    for step in range(3):
        z = model.predict(z, actions[:, step])
        assert torch.equal(after[:, step], z)
    assert torch.equal(model.roll_out(x, actions, steps=2), after[:, :2])


def test_actions_move_as_the_world_moves_them() -> None:
    model, every = small("D4"), torch.arange(8)
    for g, moves in enumerate(block_moves("D4")):
        wanted = [4 * (a // 4) + int(moves[a % 4]) for a in range(8)]
        assert model.move_actions(g, every).tolist() == wanted


def test_an_ordinary_model_is_one_of_the_trivial_group() -> None:
    model, (x, actions) = small("C1"), pictures()
    assert model.roll_out(x, actions).shape == (4, 3, 2, 2)
    assert model.representation.dim == 4


def test_seeds_decide_the_weights() -> None:
    (x, _), state = pictures(), torch.random.get_rng_state()
    one, same, other = (small("C4", seed=seed)(x) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_getters_leave_the_weights_alone() -> None:
    model, (x, actions) = small("C4"), pictures()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.roll_out(x, actions)
    model.act(1, model(x))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_saved_model_is_read_back_to_the_bit(tmp_path: Path) -> None:
    model, (x, actions) = small("D4", moves=block_moves("D4").tolist()), pictures()
    ol.save(model, tmp_path / "model")
    again = ol.load(tmp_path / "model")
    assert isinstance(again, WorldModel)
    assert torch.equal(again.roll_out(x, actions), model.roll_out(x, actions))


@pytest.mark.parametrize("steps", [4, 0])
def test_a_roll_out_beyond_the_actions_is_refused(steps: int) -> None:
    x, actions = pictures()
    with pytest.raises(OrbitLensError, match="steps"):
        small("C4").roll_out(x, actions, steps=steps)


def test_no_action_at_all_is_refused() -> None:
    x, actions = pictures()
    with pytest.raises(OrbitLensError, match=r"1 to 0, the number of actions"):
        small("C4").roll_out(x, actions[:, :0])


def test_actions_beyond_the_objects_and_elements_beyond_the_group_are_refused() -> None:
    model, (x, actions) = small("C4"), pictures()
    with pytest.raises(OrbitLensError, match=r"whole numbers in 0\.\.7"):
        model.roll_out(x, actions + 8)
    with pytest.raises(OrbitLensError, match="element"):
        model.act(4, model(x))
    with pytest.raises(OrbitLensError, match="element"):
        model.move_actions(4, actions)


def test_moves_of_another_group_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="`moves`"):
        small("C4", moves=block_moves("D4"))
