"""The contrastive loss: its terms by hand, and what it does not depend on."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from orbitlens.symmetry.split import contrastive_loss, latent_distance


def latents(n: int, seed: int) -> Float[Tensor, "n 2 3"]:
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(n, 2, 3, generator=generator, dtype=torch.float64)


def test_the_distance_sums_over_numbers_and_averages_over_objects() -> None:
    u = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    assert latent_distance(u, 0 * u).tolist() == [5.0]  # (1 + 4) / 2 / (2 * 0.25)
    assert latent_distance(u, 0 * u, sigma=1.0).tolist() == [1.25]


def test_an_unrelated_state_is_pushed_away_up_to_the_margin() -> None:
    z = torch.zeros(3, 1, 1)
    other = torch.tensor([0.0, 0.5, 2.0]).reshape(3, 1, 1)
    assert contrastive_loss(z, z, z, other).far.tolist() == [1.0, 0.5, 0.0]
    assert contrastive_loss(z, z, z, other, margin=2.0).far.tolist() == [2.0, 1.5, 0.0]
    assert contrastive_loss(z, z + 1, z, other).near.tolist() == [2.0] * 3


@given(seed=st.integers(0, 100))
def test_objects_have_no_order(seed: int) -> None:
    parts = [latents(4, seed + i) for i in range(4)]
    swapped = [part.flip(1) for part in parts]
    for term, same in zip(contrastive_loss(*parts), contrastive_loss(*swapped), strict=True):
        assert torch.allclose(term, same)


def test_a_batch_repeated_has_the_same_mean() -> None:
    parts = [latents(4, i) for i in range(4)]
    one = contrastive_loss(*parts)
    ten = contrastive_loss(*(part.repeat(10, 1, 1) for part in parts))
    for term, repeated in zip(one, ten, strict=True):
        assert term.mean() == pytest.approx(repeated.mean())


def test_gradients_are_those_of_finite_differences() -> None:
    parts = [latents(2, i).requires_grad_() for i in range(4)]
    assert torch.autograd.gradcheck(lambda *z: torch.stack(contrastive_loss(*z)).sum(), parts)
