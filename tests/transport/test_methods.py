"""Each way of finding a transport, on data with a known action."""

import numpy as np
import pytest
import torch

from orbitlens import groups
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.reps import homomorphism_errors, irreps, regular
from orbitlens.testing import TransportContract
from orbitlens.transport import (
    Motion,
    cross_moments,
    exact,
    fit_transport,
    gradient,
    identity,
    least_squares,
)


class TestIdentity(TransportContract):
    recovers = False

    def build(self, store: ActivationStore, train: np.ndarray) -> Motion:
        return identity(store, train)


class TestLeastSquares(TransportContract):
    def build(self, store: ActivationStore, train: np.ndarray) -> Motion:
        return least_squares(store, train)


class TestExact(TransportContract):
    def build(self, store: ActivationStore, train: np.ndarray) -> Motion:
        return exact(store, train)


class TestGradient(TransportContract):
    def build(self, store: ActivationStore, train: np.ndarray) -> Motion:
        return gradient(store, train, epochs=150, lr=1e-2, batch_size=64)


@pytest.mark.parametrize("name", ["C1", "C5", "D3", "D4", "C2xC3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_least_squares_recovers_any_representation(name: str, dtype: torch.dtype) -> None:
    group = groups.from_name(name)
    exact = torch.stack(
        [torch.block_diag(*(i.matrices[g] for i in irreps(group))) for g in range(group.order)]
    )
    start = torch.randn(
        300, exact.shape[-1], dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    store = store_from_array(torch.einsum("gij,nj->ngi", exact, start).to(dtype), group=group)
    found = least_squares(store, store.split()[0]).matrices
    torch.testing.assert_close(found, exact.float(), atol=1e-4, rtol=0)


def test_directions_without_variance_stay_where_they_are() -> None:
    group = groups.cyclic(2)
    start = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    orbits = torch.stack([start, start.flip(1)], dim=1)
    padded = torch.cat([orbits, torch.zeros(50, 2, 1)], dim=2)
    matrices = least_squares(store_from_array(padded, group=group), np.arange(50)).matrices
    torch.testing.assert_close(
        matrices[1], torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]), atol=1e-4, rtol=0
    )


def test_dead_activations_give_the_identity() -> None:
    store = store_from_array(torch.zeros(10, 3, 4), group=groups.cyclic(3))
    found = least_squares(store, np.arange(10)).matrices
    torch.testing.assert_close(found, torch.eye(4).repeat(3, 1, 1))


def test_without_a_ridge_it_is_plain_least_squares() -> None:
    orbits = torch.randn(60, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    store = store_from_array(orbits.float(), group=groups.cyclic(3))
    found = least_squares(store, np.arange(60), ridge=0.0).matrices
    for g in range(3):
        start = orbits.float().double().flatten(0, 1)
        target = orbits.float().double().roll(-g, 1).flatten(0, 1)
        expected = torch.linalg.lstsq(start, target).solution.T
        torch.testing.assert_close(found[g].double(), expected, atol=1e-6, rtol=0)


def test_without_a_ridge_directions_without_variance_stay() -> None:
    group = groups.cyclic(2)
    start = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    padded = torch.cat([torch.stack([start, start.flip(1)], 1), torch.zeros(50, 2, 1)], dim=2)
    for dead in (padded, padded * 0, padded * 0 + 1e8):
        found = least_squares(
            store_from_array(dead, group=group), np.arange(50), ridge=0.0
        ).matrices
        swap = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
        expected = swap if dead is padded else torch.eye(3)
        torch.testing.assert_close(found[1], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("offset", [1e7, 1e8])
def test_a_mean_beyond_all_precision_leaves_a_fit(offset: float) -> None:
    start = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0)) + offset
    found = least_squares(store_from_array(start, group=groups.cyclic(2)), np.arange(50)).matrices
    assert found.isfinite().all()


def test_gradient_gives_the_same_bits_for_the_same_seed() -> None:
    store = TestGradient().store()
    first, again, other = (
        gradient(store, np.arange(300), epochs=2, seed=s).matrices for s in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_cross_moments_are_independent_of_the_chunks() -> None:
    group = groups.dihedral(3)
    orbits = torch.randn(20, 6, 4, generator=torch.Generator().manual_seed(0))
    whole = cross_moments([orbits], group, 4)
    pieces = cross_moments(orbits.split(7), group, 4)
    torch.testing.assert_close(whole.products, pieces.products)
    torch.testing.assert_close(whole.total, pieces.total)
    assert whole.variance == pytest.approx(
        orbits.double().flatten(0, 1).var(0, False).mean().item()
    )


def test_cross_moments_agree_with_the_sum_over_pairs() -> None:
    group = groups.dihedral(3)
    orbits = torch.randn(5, 6, 2, generator=torch.Generator().manual_seed(0)).double()
    moments = cross_moments([orbits], group, 2).products
    for g in range(6):
        brute = torch.zeros(2, 2, dtype=torch.float64)
        for orbit in orbits:
            for h in range(6):
                brute += torch.outer(orbit[group.multiply(g, h)], orbit[h])
        torch.testing.assert_close(moments[g], brute)


@pytest.mark.parametrize("name", ["C3", "C4", "D4", "C2xD3"])
def test_gradient_gives_every_element_the_product_that_its_word_spells(name: str) -> None:
    group = groups.from_name(name)
    orbits = torch.randn(64, group.order, 3, generator=torch.Generator().manual_seed(0))
    store = store_from_array(orbits, group=group)
    matrices = gradient(store, np.arange(64), epochs=3, lr=0.1).matrices
    assert all(not torch.equal(matrices[g], torch.eye(3)) for g in group.generators)
    for element, word in zip(matrices, group.words, strict=True):
        product = torch.eye(3)
        for position in word:
            product = product @ matrices[group.generators[position]]
        torch.testing.assert_close(element, product)


@pytest.mark.parametrize("offset", [0.0, 100.0, 1000.0])
def test_least_squares_does_not_mind_a_large_mean(offset: float) -> None:
    group = groups.cyclic(4)
    start = torch.randn(400, 4, generator=torch.Generator().manual_seed(0)) + offset
    store = store_from_array(
        torch.einsum("gij,nj->ngi", regular(group).matrices.float(), start), group=group
    )
    matrices = least_squares(store, store.split()[0]).matrices
    torch.testing.assert_close(matrices, regular(group).matrices.float(), atol=1e-2, rtol=0)


def test_gradient_of_the_trivial_group_is_the_identity() -> None:
    store = store_from_array(torch.randn(10, 1, 3), group=groups.cyclic(1))
    torch.testing.assert_close(gradient(store, np.arange(10)).matrices, torch.eye(3)[None])


def skewed_orbits(
    name: str, *, mean: float = 0.0, noise: float = 0.0
) -> tuple[ActivationStore, torch.Tensor]:
    """Orbits under a representation that is not orthogonal, and its matrices."""
    group = groups.from_name(name)
    generator = torch.Generator().manual_seed(0)
    rep = regular(group).matrices
    basis = torch.eye(group.order, dtype=torch.float64) + 0.3 * torch.randn(
        group.order, group.order, generator=generator, dtype=torch.float64
    )
    matrices = basis @ rep @ torch.linalg.inv(basis)
    start = torch.randn(600, group.order, generator=generator, dtype=torch.float64)
    fixed = mean * basis.sum(1)  # the basis of the vector that every permutation leaves alone
    orbits = torch.einsum("gij,nj->ngi", matrices, start @ basis.T) + fixed
    orbits = orbits + noise * torch.randn(orbits.shape, generator=generator, dtype=torch.float64)
    return store_from_array(orbits, group=group), matrices


@pytest.mark.parametrize("name", ["C1", "C4", "D4", "S3", "O"])
@pytest.mark.parametrize("mean", [0.0, 20.0])
def test_exact_finds_a_representation_in_any_basis(name: str, mean: float) -> None:
    store, matrices = skewed_orbits(name, mean=mean)
    found = exact(store, store.split()[0]).matrices
    torch.testing.assert_close(found, matrices, atol=2e-4, rtol=0)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("mean", [0.0, 20.0])
def test_exact_is_a_representation_however_noisy_the_activations(noise: float, mean: float) -> None:
    store, _ = skewed_orbits("D4", mean=mean, noise=noise)
    train = store.split()[0]
    found = exact(store, train).matrices
    assert homomorphism_errors(store.group, found).max() < 1e-10
    inverses = torch.from_numpy(store.group.inverses.copy())
    torch.testing.assert_close(torch.linalg.inv(found), found[inverses], atol=1e-9, rtol=0)
    average = store.orbits(train).double().mean((0, 1))
    torch.testing.assert_close(
        found @ average, average.expand(8, -1), atol=1e-4 + 0.05 * (mean == 0), rtol=0
    )


def test_exact_costs_little_of_what_the_unconstrained_fit_predicts() -> None:
    store, _ = skewed_orbits("D4", mean=20.0, noise=0.005)
    free, bound = (fit_transport(store, method) for method in ("least_squares", "exact"))
    assert bound.r2 > free.r2 - 0.01
    assert bound.relation_error < 1e-10


def test_exact_leaves_directions_without_variance_alone() -> None:
    store, matrices = skewed_orbits("C4")
    padded = torch.cat([store.orbits(), torch.zeros(600, 4, 2)], dim=2)
    found = exact(store_from_array(padded, group=store.group), np.arange(600)).matrices
    torch.testing.assert_close(found[:, :4, :4], matrices, atol=5e-2, rtol=0)
    torch.testing.assert_close(
        found[:, 4:, 4:], torch.eye(2, dtype=torch.float64).expand(4, 2, 2), atol=1e-9, rtol=0
    )


def test_dead_and_constant_activations_give_the_identity() -> None:
    for value in (0.0, 3.0):
        store = store_from_array(torch.full((10, 3, 4), value), group=groups.cyclic(3))
        found = exact(store, np.arange(10)).matrices
        eye = torch.eye(4, dtype=torch.float64).expand(3, 4, 4)
        torch.testing.assert_close(found, eye, atol=1e-9, rtol=0)


def test_exact_says_how_many_orbits_it_needs() -> None:
    store = store_from_array(torch.randn(4, 2, 8), group=groups.cyclic(2))
    with pytest.raises(OrbitLensError, match=r"at least [78], two activations for each of the"):
        exact(store, np.arange(4))


def test_cross_moments_by_hand() -> None:
    moments = cross_moments([torch.tensor([[[1.0], [2.0]]])], groups.cyclic(2), 1)
    assert moments.products.flatten().tolist() == [5.0, 4.0]  # 1*1 + 2*2 and 2*1 + 1*2
    assert (moments.total.tolist(), moments.n, moments.variance) == ([3.0], 2, 0.25)


def test_cross_moments_take_orbits_of_every_kind_and_refuse_others() -> None:
    group, orbits = groups.cyclic(3), torch.rand(5, 3, 2)
    expected = cross_moments([orbits], group, 2)
    for kind in (orbits.double(), orbits.numpy(), orbits.tolist()):
        found = cross_moments([kind], "C3", 2)
        torch.testing.assert_close(found.products, expected.products, atol=1e-6, rtol=1e-6)
    for wrong in (orbits[:, :2], orbits[..., :1], orbits.log() * torch.nan):
        with pytest.raises(OrbitLensError, match="chunks"):
            cross_moments([orbits, wrong], group, 2)
    with pytest.raises(OrbitLensError, match="GiB of memory"):
        cross_moments([orbits], group, 10**6)


def test_a_transport_is_shown_in_a_line() -> None:
    store = store_from_array(torch.randn(20, 2, 3).numpy(), group="C2")
    shown = repr(fit_transport(store, "identity"))
    assert shown.startswith("Transport(identity, C2, dim 3, R^2 -")
    assert shown.endswith(", relation error 0)")
