"""Charged bodies: what is conserved, what is symmetric, and what the box and the clip do."""

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.actions import random_rotations
from orbitlens.data import n_body
from orbitlens.data._coulomb import draw_bodies, forces, move, reflect
from orbitlens.errors import OrbitLensError

STEPS = 500


def drawn(n: int = 16, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    return draw_bodies(n, 5, torch.Generator().manual_seed(seed))


def calm() -> tuple[Tensor, Tensor, Tensor]:
    """Charges of one sign keep apart, so that no force is clipped."""
    position, velocity, charge = drawn()
    return 2 * position, velocity, charge.abs()


def energy(position: Tensor, velocity: Tensor, charge: Tensor) -> Float[Tensor, " n"]:
    potential = sum(
        charge[i] * charge[j] / (position[i] - position[j]).norm(dim=0)
        for i in range(len(charge))
        for j in range(i)
    )
    return velocity.square().sum((0, 1)) / 2 + potential


def test_two_charges_by_hand() -> None:
    position = torch.tensor([[0.0, 0, 0], [2, 0, 0]]).double()[:, :, None].repeat(1, 1, 2)
    charge = torch.tensor([[1.0, 1], [1, -1]]).double()
    found = forces(position, charge)
    assert found[:, :, 0].tolist() == [[-0.25, 0, 0], [0.25, 0, 0]]  # like charges repel
    assert found[:, :, 1].tolist() == [[0.25, 0, 0], [-0.25, 0, 0]]


def test_each_component_of_a_force_is_clipped() -> None:
    position = torch.tensor([[0.0, 0, 0], [0.01, 0.001, 0]]).double()[:, :, None]
    charge = torch.ones(2, 1).double()
    assert forces(position, charge)[:, :2, 0].tolist() == [[-100, -100], [100, 100]]


def test_a_body_beyond_a_wall_is_mirrored_at_it_and_moves_inwards() -> None:
    position = torch.tensor([[5.5, -6, 1]]).double()[:, :, None]
    velocity = torch.tensor([[0.25, -0.25, 0.25]]).double()[:, :, None]
    inside, turned = reflect(position, velocity)
    assert inside[0, :, 0].tolist() == [4.5, -4, 1]
    assert turned[0, :, 0].tolist() == [-0.25, 0.25, 0.25]


def test_initial_states_are_as_described() -> None:
    position, velocity, charge = drawn(2000)
    assert position.abs().max() <= 5
    torch.testing.assert_close(velocity.norm(dim=1), torch.full((5, 2000), 0.5).double())
    assert velocity.mean((0, 2)).abs().max() < 0.02
    assert set(charge.unique().tolist()) == {-1, 1}
    assert abs(charge.mean()) < 0.05


def test_the_total_momentum_is_conserved() -> None:
    position, velocity, charge = calm()
    _, later = move(position, velocity, charge, STEPS)
    torch.testing.assert_close(later.sum(0), velocity.sum(0), rtol=0, atol=1e-12)
    assert (later - velocity).abs().max() > 0.1


def test_the_energy_drifts_little() -> None:
    position, velocity, charge = calm()
    before = energy(position, velocity, charge)
    after = energy(*move(position, velocity, charge, STEPS), charge)
    assert ((after - before) / before).abs().max() < 1e-3


@pytest.mark.parametrize("sign", [1, -1])
def test_turned_and_mirrored_states_have_turned_and_mirrored_trajectories(sign: int) -> None:
    position, velocity, charge = calm()
    turn = sign * random_rotations(1, seed=0)[0]
    there, _ = move(turn @ position, turn @ velocity, charge, STEPS)
    torch.testing.assert_close(there, turn @ move(position, velocity, charge, STEPS)[0])


def test_shifted_and_renumbered_states_have_such_trajectories() -> None:
    state, order = calm(), [3, 0, 4, 1, 2]
    position, velocity, charge = (each[order] for each in state)
    there, _ = move(position + 0.5, velocity, charge, STEPS)
    torch.testing.assert_close(there, move(*state, STEPS)[0][order] + 0.5)


def test_the_target_is_a_thousand_steps_after_the_input() -> None:
    data = n_body(3, seed=0)
    assert data.inputs.shape == (3, 5, 7)
    position, velocity, charge = drawn(3)
    position, velocity = move(position, velocity, charge, 3100)
    later, _ = move(position, velocity, charge, 1000)
    expected = torch.cat([position, velocity, charge[:, None]], 1).permute(2, 0, 1)
    torch.testing.assert_close(data.inputs, expected.float())
    torch.testing.assert_close(data.targets, later.permute(2, 0, 1).float())


def test_the_same_seed_gives_the_same_bits() -> None:
    first, again, other = (n_body(2, bodies=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.targets, other.targets)


def test_numbers_out_of_range_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`n`: expected at least 1, received 0"):
        n_body(0, seed=0)
    with pytest.raises(OrbitLensError, match="`bodies`: expected at least 2, received 1"):
        n_body(4, bodies=1, seed=0)
    with pytest.raises(OrbitLensError, match="`seed`: expected a whole number"):
        n_body(4, seed=None)  # type: ignore[arg-type]
