"""Each way of finding a transport, on data with a known action."""

import numpy as np
import pytest
import torch

from orbitlens import groups
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.reps import irreps, regular
from orbitlens.testing import TransportContract
from orbitlens.transport import cross_moments, gradient, identity, least_squares
from orbitlens.transport.gradient import spell
from orbitlens.typing import Matrices


class TestIdentity(TransportContract):
    recovers = False

    def build(self, store: ActivationStore, train: np.ndarray) -> Matrices:
        return identity(store, train)


class TestLeastSquares(TransportContract):
    def build(self, store: ActivationStore, train: np.ndarray) -> Matrices:
        return least_squares(store, train)


class TestGradient(TransportContract):
    def build(self, store: ActivationStore, train: np.ndarray) -> Matrices:
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
    found = least_squares(store, store.split()[0])
    torch.testing.assert_close(found, exact.float(), atol=1e-4, rtol=0)


def test_directions_without_variance_stay_where_they_are() -> None:
    group = groups.cyclic(2)
    start = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    orbits = torch.stack([start, start.flip(1)], dim=1)
    padded = torch.cat([orbits, torch.zeros(50, 2, 1)], dim=2)
    matrices = least_squares(store_from_array(padded, group=group), np.arange(50))
    torch.testing.assert_close(
        matrices[1], torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]), atol=1e-4, rtol=0
    )


def test_dead_activations_give_the_identity() -> None:
    store = store_from_array(torch.zeros(10, 3, 4), group=groups.cyclic(3))
    torch.testing.assert_close(least_squares(store, np.arange(10)), torch.eye(4).repeat(3, 1, 1))


def test_gradient_gives_the_same_bits_for_the_same_seed() -> None:
    group = groups.cyclic(3)
    store = TestGradient().store(group)
    first, again, other = (gradient(store, np.arange(300), epochs=2, seed=s) for s in (0, 0, 1))
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


@pytest.mark.parametrize("name", ["C4", "D4", "C2xD3"])
def test_spelling_with_true_generators_gives_every_element(name: str) -> None:
    group = groups.from_name(name)
    matrices = regular(group).matrices
    x = torch.randn(3, group.order, dtype=torch.float64)
    spelled = spell(group, matrices[list(group.generators)], x)
    torch.testing.assert_close(spelled, torch.einsum("gij,bj->bgi", matrices, x))


@pytest.mark.parametrize("offset", [0.0, 100.0, 1000.0])
def test_least_squares_does_not_mind_a_large_mean(offset: float) -> None:
    group = groups.cyclic(4)
    start = torch.randn(400, 4, generator=torch.Generator().manual_seed(0)) + offset
    store = store_from_array(
        torch.einsum("gij,nj->ngi", regular(group).matrices.float(), start), group=group
    )
    matrices = least_squares(store, store.split()[0])
    torch.testing.assert_close(matrices, regular(group).matrices.float(), atol=1e-2, rtol=0)


def test_gradient_of_the_trivial_group_is_the_identity() -> None:
    store = store_from_array(torch.randn(10, 1, 3), group=groups.cyclic(1))
    torch.testing.assert_close(gradient(store, np.arange(10)), torch.eye(3)[None])
