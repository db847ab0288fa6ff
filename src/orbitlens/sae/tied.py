"""Weights tied over a group: one vector per atom, seen in every orientation, block by block.

In isotypic coordinates (`orbitlens.reps.isotypic_basis`) a group acts on each copy of an irrep
alone, by a matrix irrep_i(g) that all copies share. Products with all |G| orientations of a weight
are then a Fourier transform on the group: a product of matrices for each irrep, and a small sum
over irreps. For D4 that is 12 multiplications for each copy of the regular representation instead
of 64.
"""

from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import NamedTuple, final

import torch
from torch import nn

from orbitlens.groups import Group
from orbitlens.reps import irreps
from orbitlens.typing import Float, StackedActivations, StackedCodes, Tensor


class _Block(NamedTuple):
    """One irrep: its coordinates [component, copy], and its entries in the kernel."""

    own: slice
    shape: tuple[int, int]
    entries: slice


@final
class Tied(nn.Module):
    """Inner products with every orientation of some weights, and the sums that are their adjoint.

    Both come of one trilinear form, T(y, w, z) = sum_{g, c} z[g, c] <rho(g) w_c, y>.

    Args:
        group: The group.
        multiplicities: How often each of `irreps(group)` occurs; coordinates come as in
            `IsotypicBasis`.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> tied = Tied(cyclic(4), (2, 0, 1))
        >>> tied.products(torch.ones(3, 4), torch.ones(5, 4)).shape
        torch.Size([3, 20])
    """

    kernel: Tensor

    def __init__(self, group: Group, multiplicities: tuple[int, ...]) -> None:
        super().__init__()
        self.group, self.multiplicities = group, multiplicities
        kinds = [(r, m) for r, m in zip(irreps(group), multiplicities, strict=True) if m]
        shapes = [(irrep.dim, copies) for irrep, copies in kinds]
        owns = _cut(dim * copies for dim, copies in shapes)
        entries = _cut(dim**2 for dim, _ in shapes)
        self._blocks = tuple(map(_Block, owns, shapes, entries))
        # Entry [(i, a, e), g] is irrep_i(g)[a, e].
        kernel = [irrep.matrices.permute(1, 2, 0).flatten(0, 1) for irrep, _ in kinds]
        self.register_buffer("kernel", torch.cat(kernel).float(), persistent=False)

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self._blocks[-1].own.stop

    def products(
        self, y: StackedActivations, weights: Float[Tensor, "*stack atoms dim"]
    ) -> StackedCodes:
        """Return <rho(g) w_c, y> for every element g and atom c.

            F_i[a, e, c] = sum_j y[i, a, j] w_c[i, e, j]
            product[g, c] = sum_i sum_{a, e} irrep_i(g)[a, e] F_i[a, e, c]

        Args:
            y: Activations in isotypic coordinates, shape [batch, dim].
            weights: One vector per atom, in the same coordinates, shape [atoms, dim].

        Returns:
            Products, element after element, shape [batch, |G| * atoms].
        """
        F = torch.cat(
            [
                torch.einsum(
                    "...bam,...cem->...aebc",
                    y[..., own].unflatten(-1, shape),
                    weights[..., own].unflatten(-1, shape),
                ).flatten(-4, -3)
                for own, shape, _ in self._blocks
            ],
            dim=-3,
        )
        return torch.einsum("...kg,...kbc->...bgc", self.kernel, F).flatten(-2)

    def sums(
        self, codes: StackedCodes, weights: Float[Tensor, "*stack atoms dim"]
    ) -> StackedActivations:
        """Return sum_{g, c} z[g, c] rho(g) w_c.

            Z_i[a, e, c] = sum_g irrep_i(g)[a, e] z[g, c]
            y[i, a, j] = sum_{e, c} Z_i[a, e, c] w_c[i, e, j]

        Args:
            codes: z, element after element, shape [batch, |G| * atoms].
            weights: One vector per atom, in isotypic coordinates, shape [atoms, dim].

        Returns:
            Sums in the same coordinates, shape [batch, dim].
        """
        z = codes.unflatten(-1, (self.group.order, weights.shape[-2]))
        Z = torch.einsum("...kg,...bgc->...kbc", self.kernel, z)
        return torch.cat(
            [
                torch.einsum(
                    "...aebc,...cem->...bam",
                    Z[..., entries, :, :].unflatten(-3, (shape[0], shape[0])),
                    weights[..., own].unflatten(-1, shape),
                ).flatten(-2)
                for own, shape, entries in self._blocks
            ],
            dim=-1,
        )

    def orbits(
        self, weights: Float[Tensor, "*stack atoms dim"]
    ) -> Float[Tensor, "*stack group atoms dim"]:
        """Return rho(g) w_c for every element and atom.

        Args:
            weights: One vector per atom, in isotypic coordinates, shape [atoms, dim].

        Returns:
            Moved vectors in the same coordinates, shape [|G|, atoms, dim].
        """
        return torch.cat(
            [
                torch.einsum(
                    "...aeg,...cem->...gcam",
                    self.kernel[..., entries, :].unflatten(-2, (shape[0], shape[0])),
                    weights[..., own].unflatten(-1, shape),
                ).flatten(-2)
                for own, shape, entries in self._blocks
            ],
            dim=-1,
        )


def _cut(sizes: Iterable[int]) -> list[slice]:
    """Lay out pieces one after the other."""
    return [slice(a, b) for a, b in pairwise(accumulate(sizes, initial=0))]
