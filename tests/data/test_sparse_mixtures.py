"""Sparse mixtures: unit sums of known directions, in the promised numbers."""

import jaxtyping
import pytest
import torch

from orbitlens.data import sparse_mixtures
from orbitlens.errors import OrbitLensError


def test_samples_are_sums_of_the_present_directions_scaled_to_norm_one() -> None:
    data = sparse_mixtures(200, n_features=12, dim=6, active=(1, 4), seed=0)
    sums = data.present.float() @ data.features
    torch.testing.assert_close(
        data.values, sums / sums.norm(dim=1, keepdim=True), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(data.features.norm(dim=1), torch.ones(12))


def test_samples_take_the_numbers_of_directions_in_turn() -> None:
    data = sparse_mixtures(9, n_features=12, active=(1, 4, 12), seed=0)
    assert data.present.sum(1).tolist() == [1, 4, 12] * 3


def test_every_direction_is_equally_frequent() -> None:
    data = sparse_mixtures(10_000, n_features=32, dim=4, active=(3,), seed=0)
    assert data.frequency == pytest.approx(3 / 32)
    deviation = (3 / 32 * 29 / 32 / 10_000) ** 0.5
    assert (data.present.double().mean(0) - 3 / 32).abs().max() < 4.5 * deviation


def test_directions_depend_on_the_seed_alone_and_the_seed_decides_all_bits() -> None:
    first, again, other = (sparse_mixtures(50, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.values, again.values)
    assert not torch.equal(first.values, other.values)
    assert torch.equal(first.features, sparse_mixtures(60, seed=0).features)


def test_numbers_out_of_range_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`active`: expected from 1 to 12, received 13"):
        sparse_mixtures(5, n_features=12, active=(3, 13), seed=0)
    for nothing in ((), "3", 3):
        with pytest.raises(OrbitLensError, match=r"`active`: .*give a list such as \(3, 20\)"):
            sparse_mixtures(5, active=nothing, seed=0)  # type: ignore[arg-type]
    with pytest.raises(OrbitLensError, match="`dim`: expected at least 2"):
        sparse_mixtures(5, dim=1, seed=0)
    with pytest.raises(OrbitLensError, match="`n_samples`: expected at least 1"):
        sparse_mixtures(0, seed=0)
