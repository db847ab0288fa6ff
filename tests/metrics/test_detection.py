"""Detection of true features by a few latents: planted cases."""

import pytest
import torch
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.metrics import feature_detection


def planted(n: int = 240, features: int = 4, seed: int = 0) -> Tensor:
    return torch.rand(n, features, generator=torch.Generator().manual_seed(seed)) < 0.3


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
def test_a_latent_for_each_feature_detects_all_at_any_scale(scale: float) -> None:
    present = planted()
    codes = scale * present.float()[:, [2, 0, 3, 1]]
    assert feature_detection(codes, present, m=1) == 1


def test_two_latents_see_what_one_cannot() -> None:
    a, b = planted(features=2).float().unbind(dim=1)
    codes = torch.stack([a + b, a - b], dim=1)
    present = torch.stack([a, b], dim=1) > 0
    assert feature_detection(codes, present, m=1) < 0.9
    assert feature_detection(codes, present, m=2) == 1


def test_codes_that_know_nothing_detect_little() -> None:
    codes = torch.rand(240, 8, generator=torch.Generator().manual_seed(1))
    assert feature_detection(codes, planted(), m=4) < 0.3
    assert feature_detection(torch.zeros(240, 8), planted(), m=4) == 0


def test_a_feature_without_both_cases_is_left_out() -> None:
    present = planted()
    never = torch.zeros(240, 1, dtype=torch.bool)
    once = never.clone()
    once[7] = True
    padded = torch.cat([present, never, ~never, once], dim=1)
    codes = (
        torch.rand(240, 6, generator=torch.Generator().manual_seed(2)) + present.repeat(1, 2)[:, :6]
    )
    assert feature_detection(codes, padded, m=2) == feature_detection(codes, present, m=2)


def test_scores_are_on_unseen_samples() -> None:
    # More latents than samples fit any labels; unseen samples show that nothing was learnt.
    codes = torch.randn(80, 200, generator=torch.Generator().manual_seed(3))
    assert feature_detection(codes, planted(80), m=200) < 0.6


def test_the_seed_decides_the_halves() -> None:
    present = planted()
    noise = torch.randn(240, 4, generator=torch.Generator().manual_seed(4))
    scores = [feature_detection(present + noise, present, m=2, seed=seed) for seed in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]


def test_bad_input_is_rejected() -> None:
    present = planted()
    with pytest.raises(OrbitLensError, match="`m`: expected from 1 to 4 latents, received 5"):
        feature_detection(present.float(), present, m=5)
    with pytest.raises(OrbitLensError, match="received none among 4 features of 240 samples"):
        feature_detection(present.float(), torch.ones_like(present), m=1)
