"""The equivariant graph network: exactly equivariant, before and after training."""

import jaxtyping
import pytest
import torch
from torch import Tensor

from orbitlens.actions import random_rotations
from orbitlens.errors import OrbitLensError
from orbitlens.models import EGNN


def clouds(n: int = 4, points: int = 5) -> Tensor:
    return torch.randn(n, points, 7, generator=torch.Generator().manual_seed(0)).double()


@pytest.fixture(params=["untrained", "trained"])
def model(request: pytest.FixtureRequest) -> EGNN:
    found = EGNN(hidden=8, layers=2).double()
    if request.param == "trained":
        optimiser = torch.optim.Adam(found.parameters(), lr=1e-2)
        for _ in range(20):
            optimiser.zero_grad()
            (found(clouds()) - clouds().roll(1, 1)[:, :, :3]).square().mean().backward()
            optimiser.step()
    return found


def turned(x: Tensor, turn: Tensor) -> Tensor:
    vectors = x[:, :, : x.shape[2] // 3 * 3].unflatten(2, (-1, 3)) @ turn.T
    return torch.cat([vectors.flatten(2), x[:, :, x.shape[2] // 3 * 3 :]], 2)


@pytest.mark.parametrize("sign", [1, -1])
def test_it_is_equivariant_under_rotations_and_reflections(model: EGNN, sign: int) -> None:
    x = clouds()
    for turn in sign * random_rotations(5):
        torch.testing.assert_close(
            model(turned(x, turn)), turned(model(x), turn), rtol=0, atol=1e-12
        )


def test_it_is_equivariant_under_translations(model: EGNN) -> None:
    x, shift = clouds(), torch.tensor([1.0, -2, 3]).double()
    moved = torch.cat([x[:, :, :3] + shift, x[:, :, 3:]], 2)
    torch.testing.assert_close(model(moved), model(x) + shift, rtol=0, atol=1e-12)


def test_it_is_equivariant_under_permutations_of_the_points(model: EGNN) -> None:
    x, order = clouds(), [3, 0, 4, 1, 2]
    torch.testing.assert_close(model(x[:, order]), model(x)[:, order], rtol=0, atol=1e-12)


def test_velocities_and_scalars_of_other_points_matter() -> None:
    model, x = EGNN(hidden=8, layers=2).double(), clouds()
    for column in (4, 6):
        changed = x.clone()
        changed[:, 0, column] += 1
        assert not torch.allclose(model(changed)[:, 1], model(x)[:, 1], rtol=0, atol=1e-7)


def test_points_alone_have_no_neighbours() -> None:
    assert torch.isfinite(EGNN()(clouds(points=1).float())).all()


def test_a_model_without_scalars_takes_six_columns() -> None:
    assert EGNN(scalars=0)(clouds()[:, :, :6].float()).shape == (4, 5, 3)


def test_a_seed_fixes_the_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (EGNN(seed=seed).embed.weight for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_other_columns_and_sizes_are_refused() -> None:
    with pytest.raises(OrbitLensError, match=r"3 \+ 3 \+ 2 columns.*received \[4, 5, 7\]"):
        EGNN(scalars=2)(clouds().float())
    with pytest.raises(OrbitLensError, match="`hidden`: expected at least 1, received 0"):
        EGNN(hidden=0)
    with pytest.raises(OrbitLensError, match="`scalars`: expected at least 0, received -1"):
        EGNN(scalars=-1)


def test_clouds_without_a_batch_are_refused_and_whole_numbers_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model = EGNN(hidden=8, layers=2)
    with pytest.raises(OrbitLensError, match=r"clouds of EGNN: .*received \[5, 7\]"):
        model(clouds()[0].float())
    whole = torch.arange(70).reshape(2, 5, 7)
    assert torch.equal(model(whole), model(whole.float()))
