"""The toy model keeps its promises: sparse sums of known features under a known action."""

import math

import jaxtyping
import pytest
import torch

from orbitlens import groups
from orbitlens.data import toy
from orbitlens.errors import OrbitLensError
from orbitlens.reps import homomorphism_errors

SIZES = [(4, 16), (8, 16), (16, 16), (32, 16), (5, 16), (3, 2), (2, 1), (6, 7)]
every_size = pytest.mark.parametrize(("orbit_size", "dim"), SIZES)


@every_size
def test_the_matrices_are_an_orthogonal_faithful_representation(orbit_size: int, dim: int) -> None:
    data = toy(n_features=4, orbit_size=orbit_size, dim=dim, n_samples=1, seed=0)
    eye = torch.eye(dim)
    assert data.group == groups.cyclic(orbit_size)
    assert homomorphism_errors(data.group, data.matrices).max() < 1e-5
    torch.testing.assert_close(
        data.matrices @ data.matrices.mT, eye.expand_as(data.matrices), atol=1e-5, rtol=0
    )
    for g in range(1, orbit_size):
        assert (data.matrices[g] - eye).norm() > 0.1


@every_size
@pytest.mark.parametrize("canonical", ["fixed", "random", "random_orbits"])
def test_every_orbit_is_closed_under_the_matrices(
    orbit_size: int, dim: int, canonical: str
) -> None:
    data = toy(
        n_features=4, orbit_size=orbit_size, dim=dim, n_samples=50, canonical=canonical, seed=1
    )
    for g in range(orbit_size):
        moved = data.orbits[:, 0] @ data.matrices[g].T
        torch.testing.assert_close(data.orbits[:, g], moved, atol=1e-5, rtol=0)


def test_element_zero_of_a_fixed_orbit_is_the_sum_of_the_features_present() -> None:
    data = toy(n_samples=200, seed=0)
    torch.testing.assert_close(
        data.orbits[:, 0], data.present.float() @ data.features, atol=1e-5, rtol=0
    )


def test_a_random_orbit_is_the_fixed_one_started_elsewhere() -> None:
    fixed = toy(orbit_size=8, n_samples=400, seed=3)
    random = toy(orbit_size=8, n_samples=400, canonical="random_orbits", seed=3)
    assert torch.equal(fixed.present, random.present)
    assert torch.equal(fixed.features, random.features)
    starts: dict[tuple[bool, ...], int] = {}
    for x, y, present in zip(fixed.orbits, random.orbits, fixed.present, strict=True):
        if not present.any():
            continue
        matches = [h for h in range(8) if torch.equal(y, x.roll(-h, dims=0))]
        assert matches == [starts.setdefault(tuple(present.tolist()), matches[0])]
    counts = torch.bincount(torch.tensor(list(starts.values())), minlength=8)
    assert counts.min() > len(starts) / 8 / 3


def test_a_random_feature_is_the_fixed_one_moved() -> None:
    fixed = toy(orbit_size=8, n_samples=100, seed=3)
    random = toy(orbit_size=8, n_samples=100, canonical="random", seed=3)
    assert torch.equal(fixed.present, random.present)
    moved = torch.einsum("gij,fj->gfi", fixed.matrices, fixed.features)
    distance = (moved - random.features).norm(dim=-1)
    assert distance.min(dim=0).values.max() < 1e-5
    assert len(set(distance.argmin(dim=0).tolist())) > 4
    torch.testing.assert_close(
        random.orbits[:, 0], random.present.float() @ random.features, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("n_features", [1, 8, 16])
def test_features_that_fit_are_orthonormal(n_features: int) -> None:
    features = toy(n_features=n_features, n_samples=1, seed=0).features
    torch.testing.assert_close(features @ features.T, torch.eye(n_features), atol=1e-5, rtol=0)


@pytest.mark.parametrize("n_features", [17, 18, 32])
def test_features_that_do_not_fit_are_unit_and_near_the_welch_bound(n_features: int) -> None:
    features = toy(n_features=n_features, n_samples=1, seed=0).features
    gram = features @ features.T
    welch = math.sqrt((n_features - 16) / (16 * (n_features - 1)))
    torch.testing.assert_close(gram.diagonal(), torch.ones(n_features))
    assert (gram - torch.eye(n_features)).abs().max() < 1.3 * welch


@pytest.mark.parametrize("n_features", [8, 16, 32])
def test_each_feature_is_present_in_one_sample_out_of_n(n_features: int) -> None:
    present = toy(n_features=n_features, seed=0).present.float()
    deviation = math.sqrt(1 / n_features / len(present))
    assert (present.mean(0) - 1 / n_features).abs().max() < 4.5 * deviation


@pytest.mark.parametrize("orbit_size", [4, 8, 16])
def test_moved_samples_are_as_far_as_unrelated_ones(orbit_size: int) -> None:
    data = toy(orbit_size=orbit_size, seed=0)
    power = data.orbits.square().mean()
    assert power.item() == pytest.approx(1 / 16, rel=0.05)
    for p in range(1, orbit_size):
        assert data.matrices[p].trace().abs() < 1e-4
        distance = (data.orbits[:, 0] - data.orbits[:, p]).square().mean().item()
        assert distance == pytest.approx(2 / 16, rel=0.1)


def test_an_orbit_larger_than_the_space_keeps_traces_small() -> None:
    matrices = toy(orbit_size=32, n_samples=1, seed=0).matrices
    traces = matrices[1:].diagonal(dim1=1, dim2=2).sum(1)
    assert traces.abs().max() < 16 / 3


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    first, again, other = (toy(n_features=18, n_samples=100, seed=seed) for seed in (5, 5, 6))
    for name in ("orbits", "features", "present", "matrices"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))


def test_features_and_matrices_do_not_depend_on_the_number_of_samples() -> None:
    few, many = (toy(n_samples=n, seed=0) for n in (1, 100))
    assert torch.equal(few.features, many.features)
    assert torch.equal(few.matrices, many.matrices)


@pytest.mark.parametrize("name", ["n_features", "orbit_size", "n_samples"])
def test_sizes_below_one_are_rejected(name: str) -> None:
    with pytest.raises(OrbitLensError, match=f"`{name}`: expected at least 1, received 0"):
        toy(**{name: 0}, seed=0)


def test_a_line_has_no_room_for_a_turn() -> None:
    with pytest.raises(OrbitLensError, match="at least 2, so that C3 acts faithfully, received 1"):
        toy(orbit_size=3, dim=1, seed=0)


def test_an_unknown_canonical_is_rejected() -> None:
    with pytest.raises(OrbitLensError, match="did you mean 'random'"):
        toy(canonical="randm", seed=0)


def test_a_seed_is_a_whole_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`seed`: expected a whole number"):
        toy(seed="a")  # type: ignore[arg-type]
