"""Weights tied over a group: products with one vector per atom in every orientation.

In isotypic coordinates (`orbitlens.reps.isotypic_basis`) a group acts on each copy of an irrep
separately, by a matrix irrep_i(g) that all copies share. Products with all |G| orientations of a
weight are then a Fourier transform on the group: one product of matrices for each irrep, and a
small sum over irreps. For D4 that takes 12 multiplications for each copy of the regular
representation instead of 64.

With few coordinates a dense product with the moved weights is faster. Both ways agree to rounding;
shapes alone decide between them.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise, product
from typing import NamedTuple, final

import numpy as np
import torch
from torch import nn

from orbitlens.checks import as_count
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.kernels import Form, matrix_product, tiled_products, tiled_sums
from orbitlens.reps import Representation, character_norm, irreps, irreps_in_basis
from orbitlens.typing import Float, StackedActivations, StackedCodes, Tensor

_FEW = 64
"""Coordinates below which the dense way is faster: measured on a CPU, C4, D4 and C16 alike."""


class _Block(NamedTuple):
    """One irrep: its coordinates [component, copy], its entries in the kernel, its quarter turn."""

    own: slice
    shape: tuple[int, int]
    entries: slice
    turned: slice


@final
class Tied(nn.Module):
    """Inner products with every orientation of some weights, and their adjoint sums.

    Both follow from one trilinear form, T(y, w, z) = sum_{g, c} z[g, c] <rho(g) w_c, y>.
    Activations y and weights w are in isotypic coordinates; z has all atoms of the first element,
    then of the next. `multiplicities` are those of `IsotypicBasis`.
    """

    kernel: Tensor

    def __init__(self, group: Group, multiplicities: tuple[int, ...]) -> None:
        super().__init__()
        group, kinds_known = as_group(group), len(irreps(group))
        given: object = multiplicities
        copies_of = given if isinstance(given, Sequence | np.ndarray) else ()
        multiplicities = tuple(as_count("multiplicities", m, least=0) for m in copies_of)
        if len(multiplicities) != kinds_known or not any(multiplicities):
            raise OrbitLensError(
                "`multiplicities`",
                expected=f"{kinds_known} numbers, one for each irrep of {group.name}, not all 0",
                received=list(multiplicities),
                remedy="take those of `reps.isotypic_basis`",
            )
        self.group, self.multiplicities = group, multiplicities
        kinds = [(r, m) for r, m in zip(irreps(group), multiplicities, strict=True) if m]
        shapes = [(irrep.dim, copies) for irrep, copies in kinds]
        owns = _cut(dim * copies for dim, copies in shapes)
        entries = _cut(dim**2 for dim, _ in shapes)
        planes = [irrep.dim == 2 and character_norm(irrep) == 2 for irrep, _ in kinds]
        turned = _cut(
            (2 * copies * plane for (_, copies), plane in zip(shapes, planes, strict=True)),
            after=owns[-1].stop,
        )
        self._blocks = tuple(map(_Block, owns, shapes, entries, turned))
        terms = [term for block in self._blocks for term in _terms(block)]
        self._rows = [row for row, _, _ in terms]
        self._pairs = tuple((left, right) for _, left, right in terms)
        self.register_buffer("kernel", _kernel(r for r, _ in kinds), persistent=False)

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self._blocks[-1].own.stop

    @property
    def generators(self) -> Float[Tensor, "entries generator"]:
        """The matrices of the group's generators in each irrep that occurs, entry by entry.

        They say in which basis the isotypic coordinates are.
        """
        return self.kernel[:, list(self.group.generators)]

    def in_basis_(self, generators: Float[Tensor, "entries generator"]) -> None:
        """Take the irreps in the bases in which the generators have these matrices.

        Raises:
            OrbitLensError: If there are no such bases.
        """
        given = iter(generators.split([block.shape[0] ** 2 for block in self._blocks]))
        every, own = irreps(self.group), list(self.group.generators)
        wanted = [
            next(given).T.unflatten(1, (irrep.dim, irrep.dim)) if copies else irrep.matrices[own]
            for irrep, copies in zip(every, self.multiplicities, strict=True)
        ]
        found = irreps_in_basis(self.group, wanted)
        occurring = (r for r, m in zip(found, self.multiplicities, strict=True) if m)
        self.kernel = _kernel(occurring).to(self.kernel)

    def products(
        self, y: StackedActivations, weights: Float[Tensor, "*stack atoms dim"]
    ) -> StackedCodes:
        """Return <rho(g) w_c, y> for every element g and atom c, shape [batch, |G| * atoms].

            F_i[a, e, c] = sum_j y[i, a, j] w_c[i, e, j]
            product[g, c] = sum_i sum_{a, e} irrep_i(g)[a, e] F_i[a, e, c]

        An irrep of two rotating components, irrep_i(g) = cos I + sin J, has two coefficients
        instead of four, <y, w_c> and <J^T y, w_c>.
        """
        if self._dense(y):
            return matrix_product(y, self.orbits(weights).flatten(-3, -2).mT)
        y_turned = _stacked(self._with_turned(y))
        products = tiled_products(self._form, y_turned, _stacked(weights))
        return products.view(*y.shape[:-1], self.group.order * weights.shape[-2])

    def sums(
        self, codes: StackedCodes, weights: Float[Tensor, "*stack atoms dim"]
    ) -> StackedActivations:
        """Return sum_{g, c} z[g, c] rho(g) w_c, shape [batch, dim].

        Z_i[a, e, c] = sum_g irrep_i(g)[a, e] z[g, c]
        y[i, a, j] = sum_{e, c} Z_i[a, e, c] w_c[i, e, j]
        """
        if self._dense(codes):
            return matrix_product(codes, self.orbits(weights).flatten(-3, -2))
        z = _stacked(codes).unflatten(-1, (self.group.order, weights.shape[-2]))
        width = self._blocks[-1].turned.stop
        sums = tiled_sums(self._form, z, _stacked(weights), width)
        return self._turned_back(sums.view(*codes.shape[:-1], width))

    def orbits(
        self, weights: Float[Tensor, "*stack atoms dim"]
    ) -> Float[Tensor, "*stack group atoms dim"]:
        """Return rho(g) w_c for every element and atom, in the same coordinates."""
        return torch.cat(
            [
                torch.einsum(
                    "...aeg,...cem->...gcam",
                    self.kernel[..., block.entries, :].unflatten(-2, (block.shape[0], -1)),
                    weights[..., block.own].unflatten(-1, block.shape),
                ).flatten(-2)
                for block in self._blocks
            ],
            dim=-1,
        )

    def _dense(self, tensor: Tensor) -> bool:
        """Whether the dense way is faster; on a GPU it always is, as it starts few operations."""
        return self.dim < _FEW or tensor.device.type != "cpu"

    @property
    def _form(self) -> Form:
        # All members of a stack have one group and one kernel.
        kernel = self.kernel if self.kernel.ndim == 2 else self.kernel[0]
        return Form(kernel[self._rows], self._pairs)

    def _with_turned(self, y: StackedActivations) -> Float[Tensor, "*stack batch coordinates"]:
        """Append J^T y for the irreps of two rotating components."""
        parts = [y]
        for block in self._blocks:
            if block.turned.start < block.turned.stop:
                first, second = y[..., block.own].chunk(2, dim=-1)
                parts += [second, -first]
        return y if len(parts) == 1 else torch.cat(parts, dim=-1)

    def _turned_back(self, sums: Float[Tensor, "*stack batch coordinates"]) -> StackedActivations:
        """Add J times the appended coordinates, the adjoint of `_with_turned`."""
        if sums.shape[-1] == self.dim:
            return sums
        parts = []
        for block in self._blocks:
            own = sums[..., block.own]
            if block.turned.start < block.turned.stop:
                first, second = sums[..., block.turned].chunk(2, dim=-1)
                own = own + torch.cat([-second, first], dim=-1)
            parts.append(own)
        return torch.cat(parts, dim=-1)


def _kernel(irreps_found: Iterable[Representation]) -> Float[Tensor, "entries group"]:
    """Return the irreps as a matrix whose entry [(i, a, e), g] is irrep_i(g)[a, e]."""
    rows = [irrep.matrices.permute(1, 2, 0).flatten(0, 1) for irrep in irreps_found]
    return torch.cat(rows).float()


def _terms(block: _Block) -> list[tuple[int, slice, slice]]:
    """Row of the kernel, coordinates of y and of w, for each coefficient of one irrep."""
    dim, copies = block.shape
    start = block.entries.start
    if block.turned.start < block.turned.stop:
        # Rows of irrep(g)[0, 0], the cosine, and of irrep(g)[1, 0], the sine.
        return [(start, block.own, block.own), (start + dim, block.turned, block.own)]
    components = [
        slice(begin, begin + copies) for begin in range(block.own.start, block.own.stop, copies)
    ]
    pairs = product(components, components)
    return [(start + index, left, right) for index, (left, right) in enumerate(pairs)]


def _stacked(tensor: Float[Tensor, "*stack rows width"]) -> Float[Tensor, "member rows width"]:
    return tensor if tensor.ndim == 3 else tensor.unsqueeze(0)


def _cut(sizes: Iterable[int], *, after: int = 0) -> list[slice]:
    """Lay out pieces one after the other."""
    return [slice(a, b) for a, b in pairwise(accumulate(sizes, initial=after))]
