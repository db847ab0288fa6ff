"""Transports with structure: maps and tokens, leading directions, a circle."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import orbitlens as ol
from orbitlens import groups
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.reps import direct_sum, homomorphism_errors, irreps, regular
from orbitlens.testing import TransportContract
from orbitlens.transport import (
    Motion,
    condition_number,
    exact,
    fit_transport,
    frequencies,
    lie,
    low_rank,
    measure_layer,
    spatial,
)
from orbitlens.transport._token_kinds import mean_map, move_mean, tokens_before_places
from orbitlens.typing import Tensor


class TestSpatial(TransportContract):
    positions = 3

    def build(self, store: ActivationStore, train: np.ndarray) -> Motion:
        return spatial(store, train)


class TestLowRank(TransportContract):
    def build(self, store: ActivationStore, train: np.ndarray) -> Motion:
        return low_rank(store, train)


class TestLie(TransportContract):
    group = groups.cyclic(5)

    @property
    def exact_matrices(self) -> Tensor:
        """What does not turn, and what turns once: less than the highest that five turns show."""
        still, once, _ = irreps(self.group)
        return direct_sum(still, once, once).matrices.float()

    def build(self, store: ActivationStore, train: np.ndarray) -> Motion:
        return lie(store, train)


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def grids(tokens: int = 0) -> tuple[ActivationStore, Tensor, Tensor]:
    """Whole 3 x 3 maps under C4, tokens before them; the channel matrices of places and tokens."""
    group = groups.cyclic(4)
    places = ol.actions.images(group).grid(3, 3)
    stay = np.tile(np.arange(tokens), (4, 1))
    moves = np.concatenate([stay, tokens + places], axis=1)
    channels = regular(group).matrices
    other = irreps(group)[1].matrices * torch.eye(4, dtype=torch.float64)
    start = random(300, tokens + 9, 4)
    stored = torch.zeros(300, 4, tokens + 9, 4, dtype=torch.float64)
    for g in range(4):
        moved = start @ channels[g].T
        moved[:, :tokens] = start[:, :tokens] @ other[g].T
        stored[:, g, torch.from_numpy(moves[g])] = moved
    return replace(store_from_array(stored, group=group), moves=moves), channels, other


@pytest.mark.parametrize("tokens", [0, 1, 3])
def test_spatial_moves_whole_maps_and_each_token_by_its_own_matrix(tokens: int) -> None:
    store, channels, other = grids(tokens)
    rho = fit_transport(store, "spatial")
    torch.testing.assert_close(rho.matrices, channels.float(), atol=1e-4, rtol=0)
    assert rho.r2 > 0.9999
    if tokens:
        assert rho.motion.tokens is not None
        torch.testing.assert_close(rho.motion.tokens[-1], other.float(), atol=1e-4, rtol=0)
    stored = torch.from_numpy(np.asarray(store.array[:20]))
    elements = torch.arange(20) % 4
    moved = rho(stored[:, 0], elements)
    torch.testing.assert_close(moved, stored[torch.arange(20), elements], atol=1e-3, rtol=0)


def test_one_matrix_for_all_positions_would_be_wrong_about_the_tokens() -> None:
    store, _, _ = grids(tokens=3)
    assert fit_transport(store, "exact").r2 < 0.99 < fit_transport(store, "spatial").r2


def test_spatial_transports_compose_as_the_group_does() -> None:
    store, _, _ = grids(tokens=1)
    rho = fit_transport(store, "spatial")
    x = random(5, 10, 4).float()
    for g in range(4):
        for h in range(4):
            twice = rho.motion.move(rho.motion.move(x, h), g)
            once = rho.motion.move(x, store.group.multiply(g, h))
            torch.testing.assert_close(twice, once, atol=1e-3, rtol=0)


def test_spatial_needs_positions_and_whole_maps() -> None:
    vectors = store_from_array(torch.randn(20, 4, 6), group=groups.cyclic(4))
    with pytest.raises(OrbitLensError, match=r"store of vectors: expected feature maps or token"):
        fit_transport(vectors, "spatial")
    store, _, _ = grids()
    rho = fit_transport(store, "spatial")
    with pytest.raises(OrbitLensError, match=r"expected shape \[batch, 9, 4\].*received \[2, 4\]"):
        rho(torch.zeros(2, 4), torch.tensor([0, 1]))


def wide_orbits(rank: int, dim: int, *, noise: float = 0.0) -> tuple[ActivationStore, Tensor]:
    group = groups.dihedral(4)
    rep = torch.stack([torch.block_diag(m, m) for m in regular(group).matrices])[:, :rank, :rank]
    basis = torch.linalg.qr(random(dim, rank)).Q
    orbits = torch.einsum("gij,nj->ngi", basis @ rep, random(200, rank, seed=1))
    orbits = orbits + noise * random(*orbits.shape, seed=2)
    return store_from_array(orbits, group=group), basis @ rep @ basis.T


def test_low_rank_is_exact_where_activations_span_few_directions() -> None:
    store, inside = wide_orbits(16, 60)
    rho = fit_transport(store, "low_rank", rank=16)
    assert rho.motion.core.shape == (8, 16, 16)
    assert rho.r2 > 0.99999
    assert rho.relation_error < 1e-10
    assert rho.motion.variable == 16
    x = store.orbits()[:5, 0]
    moved = rho(x, torch.full((5,), 3))
    torch.testing.assert_close(moved, x @ inside[3].float().T, atol=1e-4, rtol=0)


def test_low_rank_agrees_with_exact_on_the_leading_directions() -> None:
    store, _ = wide_orbits(16, 60, noise=1e-3)
    full, leading = fit_transport(store, "exact"), fit_transport(store, "low_rank", rank=16)
    assert leading.r2 == pytest.approx(full.r2, abs=1e-3)
    assert leading.matrices.shape == full.matrices.shape


def test_low_rank_with_more_directions_than_there_are_keeps_those_there_are() -> None:
    store, _ = wide_orbits(16, 60)
    rho = fit_transport(store, "low_rank", rank=40)
    assert rho.motion.variable == 16
    assert rho.r2 > 0.99999
    with pytest.raises(OrbitLensError, match=r"`rank`: expected at least 1, received 0"):
        low_rank(store, np.arange(10), rank=0)


def circle(order: int, planes: tuple[int, ...]) -> tuple[ActivationStore, Tensor]:
    """Orbits under C_n of a circle that turns planes at these frequencies, and its generator."""
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    generator = torch.block_diag(*(k * quarter for k in planes))
    basis = torch.eye(2 * len(planes), dtype=torch.float64) + 0.2 * random(*[2 * len(planes)] * 2)
    generator = basis @ generator @ torch.linalg.inv(basis)
    turns = [torch.linalg.matrix_exp(2 * math.pi * p / order * generator) for p in range(order)]
    start = random(500, len(basis), seed=1) @ basis.T
    orbits = torch.einsum("gij,nj->ngi", torch.stack(turns), start)
    return store_from_array(orbits, group=groups.cyclic(order)), generator


def test_lie_finds_the_generator_and_moves_by_angles_it_has_not_seen() -> None:
    store, generator = circle(8, (0, 1, 2, 3))
    rho = fit_transport(store, "lie")
    assert rho.r2 > 0.99999
    assert rho.relation_error < 1e-10
    assert rho.motion.generator is not None
    torch.testing.assert_close(rho.motion.generator, generator, atol=1e-3, rtol=0)
    turned = torch.linalg.matrix_exp(math.radians(17) * generator).float()
    torch.testing.assert_close(rho.at(17), turned, atol=1e-3, rtol=0)
    torch.testing.assert_close(rho.at(45), rho.matrices[1], atol=1e-5, rtol=0)
    assert frequencies(rho.motion.generator) == (1, 1, 1)


def test_a_frequency_that_the_turns_cannot_tell_is_refused() -> None:
    for order in (4, 5):
        store, _ = circle(order, (1, 2))
        with pytest.raises(OrbitLensError, match=rf"frequency 2.*such as C{2 * order}"):
            fit_transport(store, "lie")
    assert fit_transport(circle(7, (1, 2))[0], "lie").r2 > 0.99999


@pytest.mark.parametrize("name", ["D4", "C2", "C2xC2"])
def test_lie_needs_equal_turns(name: str) -> None:
    group = groups.from_name(name)
    store = store_from_array(torch.randn(50, group.order, 3), group=group)
    with pytest.raises(OrbitLensError, match=rf"expected equal turns.*received {name}"):
        fit_transport(store, "lie")


def test_an_angle_outside_what_was_fitted_is_refused() -> None:
    store, _ = circle(8, (1, 2))
    rho = fit_transport(store, "exact")
    torch.testing.assert_close(rho.at(-90), rho.matrices[6])
    torch.testing.assert_close(rho.at(405), rho.matrices[1])
    with pytest.raises(OrbitLensError, match=r"multiple of 45 degrees, received 10 degrees"):
        rho.at(10)
    with pytest.raises(OrbitLensError, match=r"`degrees`: expected a number, received nan"):
        fit_transport(store, "lie").at(math.nan)
    flips = fit_transport(wide_orbits(16, 20)[0])
    with pytest.raises(OrbitLensError, match=r"expected a group of turns"):
        flips.at(90)


@pytest.mark.parametrize("method", ["exact", "spatial", "low_rank", "lie"])
def test_a_structured_transport_comes_back_from_disk(method: str, tmp_path: Path) -> None:
    stores = {"spatial": grids(tokens=1), "lie": circle(8, (1, 2))}
    store = stores[method][0] if method in stores else wide_orbits(16, 60)[0]
    rho = fit_transport(store, method, **({"rank": 16} if method == "low_rank" else {}))
    loaded = ol.load(ol.save(rho, tmp_path / "rho"))
    assert isinstance(loaded, ol.Transport)
    assert torch.equal(loaded.motion.core, rho.motion.core)
    assert loaded.r2_interval == rho.r2_interval
    assert loaded.condition_number == rho.condition_number
    x = torch.from_numpy(np.asarray(store.array[:8]))[:, 0]
    elements = torch.arange(8) % store.group.order
    torch.testing.assert_close(loaded(x, elements), rho(x, elements))
    if method == "lie":
        assert torch.equal(loaded.at(10), rho.at(10))


def test_orbits_in_another_order_are_refused_with_the_order_that_is_expected() -> None:
    store, _ = wide_orbits(16, 16)
    orbits = store.orbits()
    swapped = orbits[:, [0, 1, 2, 3, 4, 7, 6, 5]]  # s r^p instead of r^p s
    with pytest.raises(OrbitLensError, match=r"order of the elements of D4.*e, r, r\^2, r\^3, s"):
        fit_transport(store_from_array(swapped, group=store.group), "exact")
    assert fit_transport(store_from_array(orbits, group=store.group), "exact").r2 > 0.9999


def test_activations_that_do_not_move_by_the_group_are_no_matter_of_order() -> None:
    noise = store_from_array(torch.randn(400, 8, 6), group=groups.dihedral(4))
    assert fit_transport(noise, "exact").r2 < 0


def test_a_transport_of_another_order_of_elements_says_so() -> None:
    group = groups.dihedral(4)
    order = [0, 3, 2, 1, 4, 5, 6, 7]
    table = np.argsort(order)[group.table[np.ix_(order, order)]]
    words = tuple(group.words[g] for g in order)
    other = replace(group, table=table, generators=(3, 4), words=words)
    rho = fit_transport(wide_orbits(16, 16)[0])
    with pytest.raises(OrbitLensError, match=r"expected the elements of D4 in the order e, r, "):
        rho.check_fits(other, 16)
    with pytest.raises(OrbitLensError, match=r"with another product table"):
        wide_orbits(16, 16)[0].require(group=other)


def test_the_interval_holds_r2_and_shrinks_with_the_number_of_inputs() -> None:
    widths = []
    for n in (100, 1600):
        start = random(n, 4)
        orbits = torch.einsum("gij,nj->ngi", regular(groups.cyclic(4)).matrices, start)
        orbits = orbits + 0.3 * random(n, 4, 4, seed=1)
        rho = fit_transport(store_from_array(orbits, group=groups.cyclic(4)), "exact")
        low, high = rho.r2_interval
        assert low < rho.r2 < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_condition_number_by_hand() -> None:
    # (x, y) -> (y / 2, 2 x) squares to one and has the singular values 2 and 1/2.
    swap = torch.tensor([[0.0, 0.5], [2.0, 0.0]], dtype=torch.float64)
    orbits = torch.stack([start := random(300, 2), start @ swap.T], dim=1)
    rho = fit_transport(store_from_array(orbits, group=groups.cyclic(2)), "exact")
    assert rho.condition_number == pytest.approx(4.0, abs=1e-3)
    assert homomorphism_errors(rho.group, rho.matrices.double()).max() < 1e-5


def test_a_singular_covariance_is_handled_and_said() -> None:
    store, _ = wide_orbits(16, 60)
    motion = exact(store, store.split()[0])
    assert (motion.variable, motion.dim) == (16, 60)


def test_whole_maps_move_as_their_rows_do() -> None:
    store, _, _ = grids()
    rho = fit_transport(store, "spatial")
    x, elements = random(6, 9, 4).float(), torch.arange(6) % 4
    maps = rho(x.mT.unflatten(2, (3, 3)), elements)
    torch.testing.assert_close(maps.flatten(2).mT, rho(x, elements))


@pytest.mark.parametrize("shape", [(2, 9, 4), (2, 4, 3, 3), (2, 5), (4,)])
def test_a_transport_of_rows_refuses_maps_and_other_widths(shape: tuple[int, ...]) -> None:
    store, _, _ = grids()
    with pytest.raises(OrbitLensError, match=r"expected shape \[batch, 4\].*method=.spatial"):
        fit_transport(store, "exact")(torch.zeros(shape), torch.tensor([0, 1]))


def test_every_sample_needs_its_element_and_every_setting_a_meaning() -> None:
    store, _ = wide_orbits(16, 16)
    with pytest.raises(OrbitLensError, match=r"one for each of the 3 samples, received 2"):
        fit_transport(store)(torch.zeros(3, 16), torch.tensor([0, 1]))
    with pytest.raises(OrbitLensError, match=r"setting of the transport low_rank.*'rank'"):
        fit_transport(store, "low_rank", ranq=3)


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_r2_of_constant_activations_has_no_value(noise: float) -> None:
    orbits = torch.full((50, 4, 3), 5.0) + noise * torch.randn(50, 4, 3)
    store = store_from_array(orbits, group=groups.cyclic(4), layer="dead")
    for method in ("identity", "least_squares", "exact"):
        with pytest.warns(OrbitLensWarning, match="layer 'dead': its activations are constant"):
            rho = fit_transport(store, method)
        assert math.isnan(rho.r2)
        if not noise:
            torch.testing.assert_close(rho.matrices, torch.eye(3).repeat(4, 1, 1))
    with pytest.raises(OrbitLensError, match="layer 'dead': expected activations that vary"):
        measure_layer(store)


@pytest.mark.parametrize("tokens", [0, 1, 3])
def test_tokens_are_the_positions_before_the_first_that_moves(tokens: int) -> None:
    stay, swap = np.tile(np.arange(tokens), (2, 1)), tokens + np.array([[0, 1], [1, 0]])
    plain = store_from_array(np.zeros((2, 2, tokens + 2, 1), np.float32), group=groups.cyclic(2))
    moved = replace(plain, moves=np.concatenate([stay, swap], axis=1))
    assert tokens_before_places(moved) == tokens
    assert tokens_before_places(plain) == 0


def test_the_mean_map_follows_the_positions_and_back() -> None:
    swap = np.array([[0, 1], [1, 0]])
    mean = mean_map(torch.tensor([[[1.0], [4.0]], [[2.0], [3.0]]]), swap)
    assert mean.flatten().tolist() == [2.0, 3.0]
    plain = store_from_array(np.zeros((2, 2, 2, 1), np.float32), group=groups.cyclic(2))
    moved = move_mean(mean, replace(plain, moves=swap)).squeeze(-1)
    assert moved.tolist() == [[2.0, 3.0], [3.0, 2.0]]
    assert move_mean(mean, plain).squeeze(-1).tolist() == [[2.0, 2.0], [3.0, 3.0]]


@pytest.mark.parametrize(
    ("diagonal", "number"), [([1.0, -1.0], 1.0), ([4.0, 2.0], 2.0), ([1.0, 0.0], math.inf)]
)
def test_the_largest_condition_number_of_all_elements_counts(
    diagonal: list[float], number: float
) -> None:
    matrices = torch.stack([torch.eye(2), torch.diag(torch.tensor(diagonal))])
    assert condition_number(matrices) == number
