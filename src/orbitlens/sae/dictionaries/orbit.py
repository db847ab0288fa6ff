"""The orbit dictionary: one direction per atom, moved into every orientation by the transport."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import nn
from torch.nn.functional import pad

from orbitlens.checks import (
    as_count,
    as_number,
    as_seed,
    as_tensor,
    as_text,
    check_kind,
    check_weights,
    usual_torch,
)
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.groups import Group
from orbitlens.kernels import SparseCodes, branches, matrix_product
from orbitlens.reps import IsotypicBasis, irreps
from orbitlens.sae._stabilisers import TOLERANCE, cosets, stabilisers
from orbitlens.sae.dictionaries.base import Dictionary
from orbitlens.sae.encoders import Encoder
from orbitlens.sae.orbit_encoders import OrbitLinearEncoder, OrbitMLPEncoder
from orbitlens.sae.tied import Tied
from orbitlens.typing import Bool, Float, StackedActivations, StackedCodes, Tensor


@final
class OrbitDictionary(Dictionary):
    """Directions tied over a group, one for each pair of an element and an atom.

        x_hat = b + sum_{g, c} z[g, c] rho(g) d_c,   rho(g) b = b

    Latent g * n_atoms + c is atom c in orientation g, so the first n_atoms directions are the
    atoms. They live in isotypic coordinates, where rho is block-diagonal and orthogonal, and have
    unit length there; in activations, mean_g ||rho(g) d_c||^2 = 1. The number of parameters does
    not grow with the group.

    Some elements may leave an atom unchanged, its stabiliser H: rho(h) d = d. Orientations g and gh
    are then the same, and only the larger of their codes is kept.

    Args:
        n_atoms: Number of atoms.
        basis: The isotypic basis of the transport.
        tolerance: Largest change of an atom, 1 - cos(rho(h) d, d), by an element of its stabiliser;
            default 0.1.
        source: Model and layer of the transport, as in "shapes-mlp:encoder".
        seed: Seed of the atoms.

    Raises:
        OrbitLensError: If there are no atoms, or the tolerance is not between 0 and 1.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import isotypic_basis, regular
        >>> dictionary = OrbitDictionary(3, isotypic_basis(regular(cyclic(4))))
        >>> dictionary.directions.shape, dictionary(torch.zeros(2, 12)).shape
        (torch.Size([12, 4]), torch.Size([2, 4]))
    """

    name = "orbit"
    encoders = (OrbitLinearEncoder, OrbitMLPEncoder)
    has_coordinates = True
    compares = True
    group: Group
    T_inverse: Tensor
    T: Tensor
    coset: Tensor

    @usual_torch()
    def __init__(
        self,
        n_atoms: int,
        basis: IsotypicBasis,
        *,
        tolerance: float = TOLERANCE,
        source: str = "",
        seed: int = 0,
    ) -> None:
        super().__init__()
        n_atoms, source = as_count("n_atoms", n_atoms), as_text("source", source)
        check_kind("basis", basis, IsotypicBasis, "see `reps.isotypic_basis`")
        span = "from 0 to below 1, which merges everything"
        tolerance = as_number("tolerance", tolerance, span)
        if not 0 <= tolerance < 1:
            raise out_of_range("tolerance", span, tolerance)
        self.group, self.n_atoms, self.source = basis.group, n_atoms, source
        self.tolerance = tolerance
        self.d_sae, self.d_in = n_atoms * basis.group.order, len(basis.T_inverse)
        check_weights(n_atoms, max(self.d_in, basis.group.order))
        self.tied = Tied(basis.group, basis.multiplicities)
        generator = torch.Generator().manual_seed(as_seed(seed))
        self.atoms = nn.Parameter(torch.randn(n_atoms, self.d_in, generator=generator))
        # The trivial irrep comes first: the group leaves a bias in it unchanged.
        self.bias = nn.Parameter(torch.zeros(basis.multiplicities[0]))
        self.register_buffer("T_inverse", basis.T_inverse.float())
        self.register_buffer("T", basis.T.float())
        orientations = torch.arange(basis.group.order)[:, None].repeat(1, n_atoms)
        self.register_buffer("coset", orientations, persistent=False)
        self._known = self.coset
        self._symmetric = False
        self.project_()
        self.settle_()

    def settings(self) -> dict[str, Any]:
        """Return atoms, group, multiplicities of the irreps, tolerance and source."""
        return {
            **super().settings(),
            "n_atoms": self.n_atoms,
            "group": self.group.to_dict(),
            "multiplicities": list(self.tied.multiplicities),
            "tolerance": self.tolerance,
            "source": self.source,
        }

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "OrbitDictionary":
        """Build the dictionary on a placeholder; the basis is in the file."""
        group = Group.from_dict(settings["group"])
        multiplicities = tuple(settings["multiplicities"])
        copies = zip(irreps(group), multiplicities, strict=True)
        dim = sum(irrep.dim * count for irrep, count in copies)
        placeholder = torch.zeros(dim, dim, dtype=torch.float64)
        return cls(
            settings["n_atoms"],
            IsotypicBasis(group, multiplicities, placeholder, placeholder),
            tolerance=settings["tolerance"],
            source=settings["source"],
        )

    def make_encoder(self, *, hidden: int | None, seed: int) -> Encoder:
        """Build an orbit encoder: linear, starting as the transpose, or with a hidden layer."""
        if hidden is not None:
            return OrbitMLPEncoder(self.n_atoms, hidden, self.tied, seed=seed)
        encoder = OrbitLinearEncoder(self.n_atoms, self.tied, seed=seed)
        with torch.no_grad():
            encoder.W_enc.copy_(self.atoms)
        return encoder

    @property
    def directions(self) -> Float[Tensor, "*stack latents dim"]:
        """The atoms in every orientation, rho(g) d_c, shape [|G| * n_atoms, d_in]."""
        return self.oriented @ self.T.mT

    @property
    def oriented(self) -> Float[Tensor, "*stack latents dim"]:
        """The same in isotypic coordinates, shape [|G| * n_atoms, d_in]."""
        return self.tied.orbits(self.atoms).flatten(-3, -2)

    @property
    def b_dec(self) -> Float[Tensor, "*stack dim"]:  # type: ignore[override]  # follows from `bias`
        """The reconstruction of an empty code; the group leaves it unchanged, shape [d_in]."""
        fixed = self.T[..., : self.bias.shape[-1]]
        return (fixed @ self.bias.unsqueeze(-1)).squeeze(-1)

    @property
    def bias_weights(self) -> nn.Parameter:
        """The bias in the trivial irrep, which `b_dec` follows from."""
        return self.bias

    @property
    def centre(self) -> Float[Tensor, "*stack dim"]:
        """The bias in isotypic coordinates, shape [d_in]."""
        return pad(self.bias, (0, self.d_in - self.bias.shape[-1]))

    def coordinates(self, x: StackedActivations) -> StackedActivations:
        """Return the isotypic coordinates of activations, y = T^-1 x, shape [batch, d_in]."""
        return matrix_product(x, self.T_inverse.mT)

    def shares_coordinates(self, other: Dictionary) -> bool:
        """Say whether another orbit dictionary has the same isotypic basis."""
        return isinstance(other, OrbitDictionary) and torch.equal(self.T_inverse, other.T_inverse)

    def forward(self, codes: StackedCodes) -> StackedActivations:
        """Return reconstructions, shape [batch, d_in]."""
        y_hat = self.tied.sums(codes, self.atoms) + self.centre.unsqueeze(-2)
        return y_hat @ self.T.mT

    def sums(self, *codes: SparseCodes) -> list[Float[Tensor, "member batch dim"]]:
        """Return sum_{g, c} z[g, c] rho(g) d_c of each, shape [member, batch, d_in] each."""
        oriented = branches(self.oriented, len(codes))
        y_hats = [each.sums(own) for each, own in zip(codes, oriented, strict=True)]
        return [matrix_product(y_hat, self.T.mT) for y_hat in y_hats]

    def by_element(
        self, latents: Float[Tensor, "*axes latents"]
    ) -> Float[Tensor, "*axes group atoms"]:
        """Lay out one value per latent by element and atom, shape [..., |G|, n_atoms]."""
        given: object = latents
        if not isinstance(given, Tensor):
            latents = as_tensor("codes", given, dtype=None)
        pairs = self.group.order * self.n_atoms
        if latents.ndim == 0 or latents.shape[-1] != pairs:
            raise OrbitLensError(
                "`codes`",
                expected=f"shape [..., {pairs}], {self.group.order} elements of {self.group.name} "
                f"times {self.n_atoms} atoms",
                received=f"shape {list(latents.shape)}",
                remedy="give codes of this SAE",
            )
        return latents.unflatten(-1, (self.group.order, self.n_atoms))

    def pooled(self, codes: StackedCodes) -> Float[Tensor, "*stack batch atoms"]:
        """The invariant readout, sum_g z[g, c], shape [batch, n_atoms]."""
        return self.by_element(codes).sum(-2)

    def pooled_sparse(self, codes: SparseCodes) -> Float[Tensor, "member batch atoms"]:
        """The same from selected codes of a stack, shape [member, batch, n_atoms]."""
        return codes.folded(self.n_atoms)

    def together(
        self, per_latent: Float[Tensor, "*stack latents"]
    ) -> Float[Tensor, "*stack latents"]:
        """Sum over the orientations of each atom, shape [|G| * n_atoms]."""
        by_element = self.by_element(per_latent)
        return by_element.sum(-2, keepdim=True).expand_as(by_element).flatten(-2)

    def admitted(self, pre: StackedCodes) -> StackedCodes:
        """Keep the largest of the equal orientations of an atom, -inf for the others."""
        if not self._any_symmetric():
            return pre
        answers = self.by_element(pre)
        coset = self.coset.unsqueeze(-3).expand_as(answers)
        lowest = torch.full_like(answers, -torch.inf)
        most = lowest.scatter_reduce(-2, coset, answers.detach(), "amax").gather(-2, coset)
        elements = torch.arange(self.group.order, device=pre.device)[:, None].expand_as(answers)
        # The first of equal answers, so that a feature is never counted twice.
        tied = torch.where(answers >= most, elements, self.group.order)
        first = torch.full_like(tied, self.group.order).scatter_reduce(-2, coset, tied, "amin")
        return torch.where(first.gather(-2, coset) == elements, answers, lowest).flatten(-2)

    @torch.no_grad()
    def settle_(self) -> None:
        """Find the stabilisers of the atoms, and make nearly symmetric atoms symmetric.

        d_c <- mean_{h in H} rho(h) d_c, of unit length again
        """
        alone = self.stabilisers
        self.coset = cosets(self.group, alone)
        orbits = self.tied.orbits(self.atoms) * alone.unsqueeze(-1)
        self.atoms.copy_(orbits.sum(-3) / alone.sum(-2).unsqueeze(-1))
        self.project_()

    def _any_symmetric(self) -> bool:
        """Whether two orientations of some atom are the same; asked once of each `coset`."""
        if self._known is not self.coset:
            elements = torch.arange(self.group.order, device=self.coset.device)[:, None]
            self._known, self._symmetric = self.coset, bool((self.coset != elements).any())
        return self._symmetric

    @property
    def stabilisers(self) -> Bool[Tensor, "*stack group atoms"]:
        """Whether each element leaves each atom unchanged, shape [|G|, n_atoms]."""
        atoms = self.atoms.detach()
        cosines = (self.tied.orbits(atoms) * atoms.unsqueeze(-3)).sum(-1)
        return stabilisers(self.group, cosines, self.tolerance)

    @torch.no_grad()
    def center_(self, orbit_means: Float[Tensor, "group dim"]) -> None:
        """Start the bias at the invariant part of the mean activation."""
        mean = self.coordinates(orbit_means.mean(0, keepdim=True))
        self.bias.copy_(mean[0, : len(self.bias)])

    @torch.no_grad()
    def project_(self) -> None:
        """Give every atom unit length again."""
        self.atoms.div_(self.atoms.norm(dim=-1, keepdim=True).clamp_min(1e-12))

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Scale the bias, so that D_new(factor z) = factor D_old(z)."""
        self.bias.mul_(factor)
