"""The free dictionary: any unit directions."""

from typing import Any, final

import torch
from torch import nn

from orbitlens.checks import as_count, as_seed, check_weights, usual_torch
from orbitlens.sae.dictionaries.base import Dictionary
from orbitlens.typing import Float, Tensor


@final
class FreeDictionary(Dictionary):
    """Learned directions of unit length, ||D_i|| = 1.

    Args:
        d_sae: Number of latents.
        d_in: Width of the activations.
        seed: Seed of the directions, default 0.

    Raises:
        OrbitLensError: If a width is below 1.

    Example:
        >>> FreeDictionary(8, 4).directions.norm(dim=1).allclose(torch.ones(8))
        True
    """

    name = "free"

    @usual_torch()
    def __init__(self, d_sae: int, d_in: int, *, seed: int = 0) -> None:
        super().__init__()
        self.d_sae, self.d_in = as_count("d_sae", d_sae), as_count("d_in", d_in)
        check_weights(self.d_sae, self.d_in)
        generator = torch.Generator().manual_seed(as_seed(seed))
        self.W_dec = nn.Parameter(torch.randn(self.d_sae, self.d_in, generator=generator))
        self.b_dec = nn.Parameter(torch.zeros(self.d_in))
        self.project_()

    def settings(self) -> dict[str, Any]:
        """Return no field: this is the dictionary that SAELens knows."""
        return {}

    @property
    def directions(self) -> Float[Tensor, "*stack latents dim"]:
        """The rows of W_dec, shape [d_sae, d_in]."""
        return self.W_dec

    @torch.no_grad()
    def project_(self) -> None:
        """Give every direction unit length again."""
        self.W_dec.div_(self.W_dec.norm(dim=-1, keepdim=True).clamp_min(1e-12))
