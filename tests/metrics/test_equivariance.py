"""Zero for maps that are invariant or equivariant by construction, and positive otherwise."""

import jaxtyping
import pytest
import torch
from torch import Tensor

from orbitlens import groups, reps
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.metrics import equivariance_error, invariance_error, moving_share

GROUPS = [groups.cyclic(4), groups.dihedral(4), groups.product(groups.cyclic(2), groups.cyclic(3))]
every_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)


def orbits(group: Group, n: int = 20) -> tuple[Tensor, Tensor]:
    """Orbits of random inputs under the regular representation, and its matrices."""
    matrices = reps.regular(group).matrices.float()
    x = torch.randn(n, group.order, generator=torch.Generator().manual_seed(0))
    return torch.einsum("gij,nj->ngi", matrices, x), matrices


def commuting(group: Group) -> Tensor:
    """A random linear map that commutes with the group: a mean over its conjugates."""
    matrices = reps.regular(group).matrices.float()
    weights = torch.randn(group.order, group.order, generator=torch.Generator().manual_seed(1))
    return (matrices @ weights @ matrices.mT).mean(dim=0)


@every_group
def test_pooling_over_the_group_is_invariant(group: Group) -> None:
    x, _ = orbits(group)
    pooled = torch.stack([x.amax(dim=-1), x.square().sum(dim=-1)], dim=-1)
    assert invariance_error(pooled).item() < 1e-12
    assert invariance_error(x).item() > 0.5


@every_group
def test_a_pointwise_map_between_commuting_ones_is_equivariant(group: Group) -> None:
    x, matrices = orbits(group)
    x_hat = (x @ commuting(group).T).relu() @ commuting(group).T
    assert equivariance_error(x_hat, matrices).item() < 1e-11


@every_group
def test_a_map_that_does_not_commute_is_found_out(group: Group) -> None:
    x, matrices = orbits(group)
    weights = torch.randn(group.order, group.order, generator=torch.Generator().manual_seed(2))
    assert equivariance_error(x @ weights, matrices).item() > 0.1


@every_group
def test_matrices_of_other_elements_are_found_out(group: Group) -> None:
    x, matrices = orbits(group)
    assert equivariance_error(x, matrices[[0, *range(group.order - 1, 0, -1)]]).item() > 0.1


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale_changes_nothing(scale: float) -> None:
    x, matrices = orbits(GROUPS[0])
    noisy = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    for error in (invariance_error, lambda values: equivariance_error(values, matrices)):
        torch.testing.assert_close(error(scale * noisy), error(noisy), rtol=1e-5, atol=0)


def test_invariance_error_by_hand() -> None:
    still, other = [1.0, 0.0], [0.0, 3.0]
    assert invariance_error(torch.tensor([[still, still], [other, other]])).item() == 0
    assert invariance_error(torch.tensor([[still, other]])).item() == 1
    assert invariance_error(torch.tensor([[still, [-1.0, 0.0]]])).item() == 2
    # Drifts 0 and 10, powers 2 and 10.
    assert invariance_error(torch.tensor([[still, still, other]])).item() == pytest.approx(10 / 12)


def test_equivariance_error_by_hand() -> None:
    swap = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    # Moved reconstructions (0, 1) and (2, 1) have mean (1, 1); the guesses are (0, 1) and (2, 2).
    x_hat = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 2.0], [2.0, 1.0]]])
    assert equivariance_error(x_hat, swap).item() == 1 / 2


def test_zero_codes_and_the_trivial_group_are_invariant() -> None:
    assert invariance_error(torch.zeros(3, 4, 2)).item() == 0
    assert invariance_error(torch.ones(3, 1, 2)).item() == 0
    assert equivariance_error(torch.ones(3, 1, 2), torch.eye(2)[None]).item() == 0


def test_bad_input_is_rejected() -> None:
    with pytest.raises(OrbitLensError, match="`values`: expected at least one sample"):
        invariance_error(torch.zeros(0, 4, 2))


def test_one_matrix_for_each_element_is_required(monkeypatch) -> None:
    # As in a user's process, where annotations are not checked.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="each of the 4 elements of the orbits, received 3"):
        equivariance_error(torch.zeros(2, 4, 2), torch.eye(2).expand(3, 2, 2))


def moved_codes(group: Group, codes: Tensor) -> Tensor:
    """Codes of samples along their orbits, z(hx)[hg, c] = z(x)[g, c], shape [n, h, g, atoms]."""
    inverse = torch.from_numpy(group.table[group.inverses].copy())
    return codes[:, inverse]


def sparse_codes(group: Group) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(30, group.order, 5, generator=generator).sub(1).relu()


@every_group
def test_all_codes_of_an_equivariant_map_move(group: Group) -> None:
    assert moving_share(moved_codes(group, sparse_codes(group)), group).item() == 1.0


@every_group
def test_codes_that_do_not_move_are_found_out(group: Group) -> None:
    codes = sparse_codes(group)
    stays = codes[:, None].expand(-1, group.order, -1, -1)
    assert moving_share(stays, group).item() < 0.3
    # The inverse element is another one unless the group is made of involutions.
    wrong = moved_codes(group, codes)[:, torch.from_numpy(group.inverses.copy())]
    assert moving_share(wrong, group).item() < 1.0


def test_a_share_by_hand() -> None:
    """Three codes are active at e; one of them moves under r of C2."""
    codes = torch.zeros(1, 2, 2, 2)
    codes[0, 0] = torch.tensor([[1.0, 2.0], [0.5, 0.0]])
    codes[0, 1] = torch.tensor([[0.0, 3.0], [9.0, 0.0]])
    assert moving_share(codes, groups.cyclic(2)).item() == pytest.approx(1 / 3)


def test_silence_and_the_group_of_one_element_move() -> None:
    assert moving_share(torch.zeros(2, 3, 3, 4), groups.cyclic(3)).item() == 1.0
    assert moving_share(torch.rand(2, 1, 1, 4), groups.cyclic(1)).item() == 1.0


def test_codes_of_another_group_are_rejected() -> None:
    with pytest.raises(OrbitLensError, match="orbits of the 4 elements of C4"):
        moving_share(torch.zeros(2, 3, 3, 4), groups.cyclic(4))
    with pytest.raises(OrbitLensError, match="at least one sample"):
        moving_share(torch.zeros(0, 3, 3, 4), groups.cyclic(3))
