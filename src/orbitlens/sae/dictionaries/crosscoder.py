"""The group crosscoder: one block of directions per group element.

Gorton 2024, "Group Crosscoders for Mechanistic Analysis of Symmetry", arXiv 2410.24184.
"""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import nn
from torch.nn.functional import pad

from orbitlens.checks import as_count, as_seed, check_weights, usual_torch
from orbitlens.errors import OrbitLensError
from orbitlens.kernels.sparse_codes import SparseCodes
from orbitlens.sae.dictionaries.base import Dictionary
from orbitlens.typing import Float, StackedCodes, Tensor


@final
class CrosscoderDictionary(Dictionary):
    """One block of directions per group element, all for the code of the canonical sample.

        psi(g x) ~ x_hat_g = z B_g + b_g,   z = z(psi(x)),   mean_g ||B_g,i||^2 = 1

    Nothing ties the blocks: the action of the group is learned for each latent, with |G| times the
    parameters. As an ordinary dictionary it is the block of the identity: `directions` is B_e,
    `b_dec` is b_e, and decoding gives x_hat_e. `offsets` are the differences of the other biases
    from b_e. Only the length of all blocks of a latent together is fixed, which limits nothing, as
    codes are free to grow. Its share for each element is learned; it is 1 where the network turns
    activations without changing their length. Source: Gorton, arXiv 2410.24184.

    Args:
        d_sae: Number of latents.
        d_in: Width of the activations.
        group_order: Number of group elements, |G|; element 0 is the identity.
        seed: Seed of the blocks, default 0.

    Raises:
        OrbitLensError: If the order is below 1.

    Example:
        >>> dictionary = CrosscoderDictionary(8, 5, 4)
        >>> dictionary.orbit(torch.zeros(3, 8)).shape, dictionary(torch.zeros(3, 8)).shape
        (torch.Size([3, 4, 5]), torch.Size([3, 5]))
    """

    name = "crosscoder"

    @usual_torch()
    def __init__(self, d_sae: int, d_in: int, group_order: int, *, seed: int = 0) -> None:
        super().__init__()
        if as_count("group_order", group_order, least=0) < 1:
            raise OrbitLensError(
                "`group_order`",
                expected="at least 1",
                received=group_order,
                remedy="give the number of elements of the group, `store.group.order`",
            )
        self.d_sae, self.d_in = as_count("d_sae", d_sae), as_count("d_in", d_in)
        self.group_order = int(group_order)
        check_weights(self.group_order, self.d_sae, self.d_in)
        generator = torch.Generator().manual_seed(as_seed(seed))
        shape = (self.group_order, self.d_sae, self.d_in)
        self.blocks = nn.Parameter(torch.randn(shape, generator=generator))
        self.b_dec = nn.Parameter(torch.zeros(self.d_in))
        self.offsets = nn.Parameter(torch.zeros(self.group_order - 1, self.d_in))
        self.project_()

    def settings(self) -> dict[str, Any]:
        """Return the order of the group."""
        return {**super().settings(), "group_order": self.group_order}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "CrosscoderDictionary":
        """Build the dictionary from its widths and the order of the group."""
        return cls(settings["d_sae"], settings["d_in"], settings["group_order"])

    @property
    def directions(self) -> Float[Tensor, "*stack latents dim"]:
        """The block of the identity, B_e, shape [d_sae, d_in]."""
        return self.blocks[..., 0, :, :]

    @property
    def orbit_order(self) -> int:
        """All elements of the group, |G|."""
        return self.group_order

    @property
    def biases(self) -> Float[Tensor, "*stack group dim"]:
        """One bias per element, b_g, shape [|G|, d_in]; the first is `b_dec`."""
        return self.b_dec.unsqueeze(-2) + pad(self.offsets, (0, 0, 1, 0))

    def orbit(self, codes: StackedCodes) -> Float[Tensor, "*stack batch group dim"]:
        """Reconstruct whole orbits, x_hat_g = z B_g + b_g.

        Args:
            codes: Codes of canonical samples, shape [batch, d_sae].

        Returns:
            Reconstructions in the order of the group's elements, shape [batch, |G|, d_in].

        Example:
            >>> dictionary, codes = CrosscoderDictionary(8, 5, 4), torch.rand(3, 8)
            >>> dictionary.orbit(codes)[:, 0].allclose(dictionary(codes), atol=1e-6)
            True
        """
        return torch.einsum("...bl,...gld->...bgd", codes, self.blocks) + self.biases.unsqueeze(-3)

    def orbit_of_sparse(self, codes: SparseCodes) -> Float[Tensor, "member batch group dim"]:
        """Reconstruct whole orbits from selected codes of a stack; see `orbit`."""
        beside = self.blocks.transpose(-3, -2).flatten(-2)
        sums = codes.sums(beside).unflatten(-1, (self.group_order, self.d_in))
        return sums + self.biases.unsqueeze(-3)

    @torch.no_grad()
    def project_(self) -> None:
        """Give the blocks of every latent a root-mean-square length of one again."""
        lengths = self.blocks.norm(dim=-1, keepdim=True)
        together = lengths.square().mean(dim=-3, keepdim=True).sqrt()
        self.blocks.div_(together.clamp_min(1e-12))

    @torch.no_grad()
    def center_(self, orbit_means: Float[Tensor, "group dim"]) -> None:
        """Start every bias at the mean activation of its element, shape [|G|, d_in].

        Raises:
            OrbitLensError: If the group has another order.
        """
        if len(orbit_means) != self.group_order:
            raise OrbitLensError(
                "`store`",
                expected=f"orbits of {self.group_order} elements, as the crosscoder",
                received=f"{len(orbit_means)}",
                remedy="build the crosscoder with `group_order=store.group.order`",
            )
        self.b_dec.copy_(orbit_means[0])
        self.offsets.copy_(orbit_means[1:] - orbit_means[0])

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Scale all biases, so that D_new(factor z) = factor D_old(z)."""
        self.b_dec.mul_(factor)
        self.offsets.mul_(factor)
