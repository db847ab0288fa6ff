"""Synthetic activations: sparse mixtures of a random dictionary, with noise."""

import torch
from peers import Settings
from torch import Tensor


def mixtures(settings: Settings, n: int, *, seed: int = 0) -> Tensor:
    """Sparse mixtures of unit vectors with noise, of mean square one.

    Args:
        settings: d_sae vectors of width d_in; each mixture has k of them.
        n: Number of mixtures.
        seed: Seed of the mixtures; the vectors are the same for all.

    Returns:
        Shape [n, d_in].
    """
    fixed, generator = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    vectors = torch.randn(settings.d_sae, settings.d_in, generator=fixed)
    vectors /= vectors.norm(dim=1, keepdim=True)
    active = torch.randint(settings.d_sae, (n, settings.k), generator=generator)
    codes = torch.rand(n, settings.k, generator=generator) + 0.5
    x = torch.nn.functional.embedding_bag(active, vectors, per_sample_weights=codes, mode="sum")
    x += 0.02 * torch.randn(x.shape, generator=generator)
    return x / x.square().mean().sqrt()
