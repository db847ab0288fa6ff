"""Contrastive losses stay where each view is moved by itself, and the plain one does not."""

from collections.abc import Callable
from functools import partial

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity, cross_entropy

from orbitlens import groups
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.symmetry.pretext import (
    Similarity,
    barlow_twins,
    max_similarity,
    mean_similarity,
    nt_xent,
    plain_similarity,
    pooled_similarity,
    retrieval,
    simsiam,
    soft_similarity,
)
from orbitlens.symmetry.pretext._batch_norm import GroupBatchNorm

from .moves import acted, acted_by_own, elements, noise

GROUPS = [groups.cyclic(4), groups.dihedral(4), groups.symmetric(3)]
NEAR = {"rtol": 1e-3, "atol": 1e-3}
every_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
ABSORBING = [max_similarity, soft_similarity, pooled_similarity, mean_similarity]
every_absorbing = pytest.mark.parametrize("similarity", ABSORBING)


def ordinary_nt_xent(first: torch.Tensor, second: torch.Tensor, scale: float) -> torch.Tensor:
    """Chen et al. 2020, written out view by view."""
    views, n = torch.cat([first, second]), len(first)
    losses = []
    for i in range(2 * n):
        others = [k for k in range(2 * n) if k != i]
        logits = cosine_similarity(views[i][None], views[others]) / scale
        losses.append(cross_entropy(logits, torch.tensor(others.index((i + n) % (2 * n)))))
    return torch.stack(losses)


@every_group
@every_absorbing
def test_a_loss_stays_if_each_view_is_moved_by_its_own_element(
    group: Group, similarity: Similarity
) -> None:
    first, second = noise(4, 3 * group.order), noise(4, 3 * group.order, seed=1)
    moved = [
        acted_by_own(group, z, elements(group, 4, seed)) for seed, z in enumerate((first, second))
    ]
    loss = nt_xent(first, second, group, similarity=similarity)
    again = nt_xent(*moved, group, similarity=similarity)
    torch.testing.assert_close(again, loss, rtol=1e-10, atol=1e-10)
    single = [z.float() for z in (first, second)], [z.float() for z in moved]
    a, b = (nt_xent(*pair, group, similarity=similarity) for pair in single)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@every_group
def test_the_plain_loss_changes_if_views_are_moved(group: Group) -> None:
    first, second = noise(4, 3 * group.order), noise(4, 3 * group.order, seed=1)
    moved = acted_by_own(group, second, 1 + torch.arange(4) % (group.order - 1))
    plain = partial(nt_xent, similarity=plain_similarity)
    change = (plain(first, moved, group) - plain(first, second, group)).abs()
    assert change.max() > 0.1


@every_group
def test_simsiam_stays_if_each_view_is_moved_and_is_a_distance(group: Group) -> None:
    p, z = noise(4, 3 * group.order), noise(4, 3 * group.order, seed=1)
    loss = simsiam(p, z, group)
    moved = simsiam(
        acted_by_own(group, p, elements(group, 4)),
        acted_by_own(group, z, elements(group, 4, 1)),
        group,
    )
    torch.testing.assert_close(moved, loss)
    p, z = (each / each.norm(dim=1, keepdim=True) for each in (p, z))
    distances = [(p - acted(group, z, g)).square().sum(1) for g in range(group.order)]
    torch.testing.assert_close(loss, torch.stack(distances).amin(0))


def test_no_gradient_goes_through_the_target() -> None:
    p, z = noise(3, 8).requires_grad_(), noise(3, 8, seed=1).requires_grad_()
    torch.autograd.backward(simsiam(p, z, "C4").sum())
    assert z.grad is None
    assert p.grad is not None
    assert p.grad.abs().max() > 0


@given(seed=st.integers(0, 10**6), scale=st.floats(0.02, 5.0))
@settings(max_examples=15, deadline=None)
def test_max_is_above_soft_is_above_mean(seed: int, scale: float) -> None:
    a, b = noise(3, 16, seed=seed), noise(2, 16, seed=seed + 1)
    largest, mean = (s(a, b, "D4") for s in (max_similarity, mean_similarity))
    soft = soft_similarity(a, b, "D4", temperature=scale)
    assert (largest >= soft - 1e-12).all()
    assert (soft >= mean - 1e-12).all()
    assert (largest >= plain_similarity(a, b, "D4") - 1e-12).all()
    assert largest.abs().max() <= 1 + 1e-12


def test_soft_goes_from_the_mean_to_the_maximum() -> None:
    a, b = noise(3, 16), noise(2, 16, seed=1)
    cold, hot = (soft_similarity(a, b, "D4", temperature=t) for t in (1e-4, 1e4))
    torch.testing.assert_close(cold, max_similarity(a, b, "D4"), rtol=0, atol=1e-3)
    torch.testing.assert_close(hot, mean_similarity(a, b, "D4"), rtol=0, atol=1e-3)


@every_group
def test_similarities_are_those_of_the_definition(group: Group) -> None:
    a, b = noise(2, 2 * group.order), noise(3, 2 * group.order, seed=1)
    products = torch.stack(
        [cosine_similarity(a[:, None], acted(group, b, g), dim=-1) for g in range(group.order)]
    )
    torch.testing.assert_close(max_similarity(a, b, group), products.amax(0))
    torch.testing.assert_close(mean_similarity(a, b, group), products.mean(0))
    torch.testing.assert_close(plain_similarity(a, b, group), products[0])
    pooled = [z.unflatten(1, (-1, group.order)).amax(2) for z in (a, b)]
    wanted = cosine_similarity(pooled[0][:, None], pooled[1], dim=-1)
    torch.testing.assert_close(pooled_similarity(a, b, group), wanted)


def test_the_mean_over_poses_sees_the_trivial_part_alone() -> None:
    a, b = noise(2, 16), noise(3, 16, seed=1)
    still = [
        z.unflatten(1, (-1, 8)).mean(2, keepdim=True).expand(-1, -1, 8).flatten(1) for z in (a, b)
    ]
    norms = a.norm(dim=1)[:, None] * b.norm(dim=1)
    torch.testing.assert_close(mean_similarity(a, b, "D4") * norms, still[0] @ still[1].T)


@pytest.mark.parametrize("similarity", [plain_similarity, *ABSORBING])
def test_the_trivial_group_gives_the_ordinary_losses(similarity: Similarity) -> None:
    first, second = noise(3, 5), noise(3, 5, seed=1)
    found = nt_xent(first, second, "C1", similarity=similarity, temperature=0.3)
    torch.testing.assert_close(found, ordinary_nt_xent(first, second, 0.3))
    distance = 2 - 2 * cosine_similarity(first, second)
    torch.testing.assert_close(simsiam(first, second, "C1"), distance)


def test_losses_are_one_for_each_view_and_have_true_gradients() -> None:
    first, second = noise(3, 8), noise(3, 8, seed=1)
    loss = nt_xent(first, second, "C4")
    order = [2, 0, 1]
    shuffled = nt_xent(first[order], second[order], "C4")
    torch.testing.assert_close(shuffled, loss.unflatten(0, (2, 3))[:, order].flatten())
    pair = first.requires_grad_(), second.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, "C4"), pair)


def test_a_partner_is_found_in_any_pose_by_a_similarity_that_absorbs_it() -> None:
    group = groups.dihedral(4)
    z = noise(6, 24)
    moved = acted_by_own(group, z, 1 + torch.arange(6))
    assert retrieval(z, moved, group).all()
    assert not retrieval(z, moved, group, similarity=plain_similarity).all()
    assert retrieval(z, z.clone(), group, similarity=plain_similarity).all()


@pytest.mark.parametrize("similarity", [plain_similarity, *ABSORBING])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_that_gives_one_code_to_all_inputs_finds_no_partner(
    similarity: Similarity, dtype: torch.dtype
) -> None:
    for width in (8, 4096):
        # The lengths round the cosines, which are equal, to different numbers.
        codes = (noise(1, width) * noise(8, 1, seed=1).exp()).to(dtype)
        assert not retrieval(codes, codes, "C4", similarity=similarity).any()


def test_a_partner_is_found_by_a_small_lead_in_half_precision_too() -> None:
    z = (1 + 0.1 * noise(20, 16)).half()
    assert retrieval(z, z.clone(), "C4").all()
    with torch.autocast("cpu", torch.bfloat16):
        assert retrieval(z, z.clone(), "C4").all()


@pytest.mark.parametrize("scale", [1e-40, 1e-25, 1.0, 1e30, 3e38])
def test_cosines_do_not_depend_on_the_length(scale: float) -> None:
    a, b = (z / z.abs().amax(1, keepdim=True) for z in (noise(2, 8), noise(3, 8, seed=1)))
    scaled = (scale * a).float()
    for similarity in (plain_similarity, *ABSORBING):
        found = similarity(scaled, b.float(), "C4")
        torch.testing.assert_close(found, similarity(a, b, "C4").float(), rtol=0, atol=1e-4)


def test_equal_directions_have_distance_zero_and_never_less() -> None:
    z = noise(200, 12).float()
    distances = simsiam(z, 3 * z, "C4")
    assert distances.min() >= 0
    assert distances.max() < 1e-6


@pytest.mark.parametrize("loss", [nt_xent, retrieval, simsiam, barlow_twins])
def test_arrays_lists_and_two_types_are_taken(
    loss: Callable[..., torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    first, second = noise(3, 8), noise(3, 8, seed=1)
    wanted = loss(first, second, "C4")
    assert torch.equal(loss(first.numpy(), second.tolist(), "C4"), wanted)
    mixed = loss(first, second.float(), "C4")
    torch.testing.assert_close(mixed.double(), wanted.double(), rtol=1e-4, atol=1e-4)


def test_a_batch_norm_does_not_see_that_all_codes_lie_in_one_orbit() -> None:
    group, c = groups.cyclic(4), noise(1, 12)
    codes = acted_by_own(group, c.expand(8, -1), torch.arange(8) % 4)
    normed = GroupBatchNorm(group, 3).double()(codes)
    # Nothing is told apart, and yet the codes vary as much as any.
    assert simsiam(normed[:4], normed[4:].flip(0), group).max() < 1e-12
    torch.testing.assert_close(
        normed.var(0, correction=0).mean(), torch.tensor(1.0).double(), **NEAR
    )


@every_group
def test_barlow_twins_stays_if_each_view_is_moved_and_if_views_are_exchanged(group: Group) -> None:
    first, second = noise(5, 3 * group.order), noise(5, 3 * group.order, seed=1)
    loss = barlow_twins(first, second, group)
    moved = [
        acted_by_own(group, z, elements(group, 5, seed)) for seed, z in enumerate((first, second))
    ]
    torch.testing.assert_close(barlow_twins(*moved, group), loss)
    torch.testing.assert_close(barlow_twins(second, first, group), loss)


def test_barlow_twins_is_the_ordinary_one_for_the_trivial_group() -> None:
    first, second = noise(40, 5), noise(40, 5, seed=1)
    a, b = ((z - z.mean(0)) / z.std(0, correction=0) for z in (first, second))
    c = a.T @ b / 40
    wanted = (1 - c.diagonal()).square().sum() + 0.3 * (c - c.diagonal().diag()).square().sum()
    found = barlow_twins(first, second, "C1", weight=0.3)
    torch.testing.assert_close(found, wanted / 5, **NEAR)


@every_group
def test_codes_in_one_orbit_cost_barlow_twins_their_rank(group: Group) -> None:
    n, order = 3 * group.order, group.order
    codes = acted_by_own(group, noise(1, 4 * order).expand(n, -1), torch.arange(n) % order)
    least = 0.05 * (4 * order / (order - 1) - 1)
    assert barlow_twins(codes, codes.flip(0), group) >= least - 1e-3
    # As many functions without correlations cost next to nothing.
    free = noise(4000, 4 * order)
    assert barlow_twins(free, free, group) < 0.01 * least


def test_barlow_twins_has_true_gradients() -> None:
    pair = noise(4, 8).requires_grad_(), noise(4, 8, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: barlow_twins(a, b, "C4"), pair)


def views(n: int, width: int = 8) -> torch.Tensor:
    return torch.ones(n, width)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nt_xent(views(1), views(1), "C4"), "at least 2 inputs.*received 1"),
        (lambda: nt_xent(views(2), views(3), "C4"), r"`second`: .*\[2, 8\], received \[3, 8\]"),
        (lambda: retrieval(views(1), views(1), "C4"), "at least 2 inputs"),
        (lambda: barlow_twins(views(1), views(1), "C4"), "at least 2 inputs"),
        (lambda: barlow_twins(views(2), views(3), "C4"), r"`second`: .*\[2, 8\]"),
        (lambda: barlow_twins(views(2, 6), views(2, 6), "C4"), r"f \* 4.*received \[2, 6\]"),
        (lambda: barlow_twins(views(2), views(2), "C4", weight=0.0), "`weight`: .*above 0"),
        (lambda: simsiam(views(2), views(3), "C4"), r"`target`: .*\[2, 8\], received \[3, 8\]"),
        (lambda: nt_xent(views(2, 6), views(2, 6), "C4"), r"`first`: .*f \* 4.*received \[2, 6\]"),
        (lambda: nt_xent(0 * views(2), views(2), "C4"), "not zero everywhere.*2 rows of zeros"),
        (lambda: simsiam(views(2), 0 * views(2), "C4"), "`target`: .*2 rows of zeros"),
        (lambda: pooled_similarity(-0 * views(2), views(2), "C4"), "`a`: .*2 rows of zeros"),
        (lambda: nt_xent(views(2), views(2), "C4", temperature=0), "`temperature`: .*above 0"),
        (lambda: retrieval(views(2), views(2) / 0, "C4"), "2 rows with NaN or infinity"),
        (lambda: simsiam(torch.nan * views(2), views(2), "C4"), "`predicted`: .*2 rows with NaN"),
        (lambda: max_similarity(views(2), views(2, 12), "C4"), "`b`: .*functions as `a` has, 2"),
        (lambda: nt_xent(views(2), views(2), "C4", similarity="max"), "`similarity`: .*'max'"),
        (
            lambda: retrieval(views(2), views(2), "C4", similarity=lambda a, b, group: a[0]),
            r"`similarity`: expected floats of shape \[4, 4\].*received shape \[8\]",
        ),
        (
            lambda: retrieval(
                views(2), views(2), "C4", similarity=lambda a, b, group: torch.nan * a @ b.T
            ),
            "`similarity`: .*received NaN",
        ),
        (
            lambda: soft_similarity(views(2), views(2), "C4", temperature=-1.0),
            "`temperature`: expected a number above 0, received -1.0",
        ),
    ],
)
def test_what_has_no_loss_is_refused(
    call: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        call()
