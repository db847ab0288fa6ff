"""Symmetry labels: the action of the group on each latent of an SAE.

Labels follow from the cosines of a direction with its own orbit,

    c(g) = <rho(g) d, d> / <d, d>,   <u, v> = u^T B v,   B = mean_g rho(g)^T rho(g)

in the inner product that the group keeps. They show which elements leave the direction unchanged.
As a function on the group they hold the direction's share in every irrep.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import as_axes, as_number, as_texts
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.groups import Group, as_group
from orbitlens.metrics._sentences import symmetry_sentence
from orbitlens.metrics.sparsity import firing_rates
from orbitlens.reps import character_norm, homomorphism_errors, irreps
from orbitlens.sae._stabilisers import TOLERANCE, cosets, stabilisers
from orbitlens.sae.model import SAE, orbit_dictionary
from orbitlens.typing import Numbers

_EXACT = 1e-3


@dataclass(frozen=True)
class SymmetryLabel:
    """The action of the group on one direction.

    Args:
        irrep_shares: Share of the direction in each of `irreps(group)`, from 0 to 1, with sum 1.
            The first is the invariant part.
        stabiliser: Indices of the elements that leave the direction unchanged, in rising order.
        orbit_size: Number of its orientations, |G| / |stabiliser|.
        firing_rates: Share of samples on which it fires, for each element; None without codes. The
            element moves the samples of a latent, but the atom of an orbit SAE.
        sentence: The same in words.
    """

    irrep_shares: tuple[float, ...]
    stabiliser: tuple[int, ...]
    orbit_size: int
    firing_rates: tuple[float, ...] | None
    sentence: str


def symmetry_labels(
    directions: Numbers,
    group: Group | str,
    matrices: Numbers,
    codes: Numbers | None = None,
    *,
    tolerance: float = TOLERANCE,
    words: Sequence[str] = (),
) -> list[SymmetryLabel]:
    """Label each direction with its irreps and its stabiliser.

        share_i = <P_i d, d> / <d, d> = dim_i / (<chi_i, chi_i> |G|) sum_g chi_i(g) c(g)
        stabiliser = {h : hS = S},   S = {h : 1 - c(h) <= tolerance}

    with the cosines c of the module. The stabiliser is S where that is a subgroup, else part of it.

    Source: Serre, *Linear Representations of Finite Groups*, sections 2.6 and 13.2.

    Args:
        directions: One per latent, such as `sae.W_dec`, of any length but 0, shape [latents, dim].
        group: The group, or its name.
        matrices: A representation of it, such as `transport.matrices`, shape [|G|, dim, dim]; it
            need not be orthogonal.
        codes: z(gx) along the orbits of samples, shape [n, |G|, latents]; None (default) for labels
            without firing rates.
        tolerance: Largest change of a direction, 1 - c, by an element of its stabiliser; default
            0.1.
        words: What each element does, for the sentences, such as
            `actions.describe_elements(group, "images")`; default none.

    Returns:
        One label per direction.

    Raises:
        OrbitLensError: If shapes do not fit, a direction is 0 or not finite, the matrices are no
            representation, there are not as many words as elements, or the tolerance is not between
            0 and 1 or merges everything.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import regular
        >>> ends = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
        >>> label, = symmetry_labels(ends, cyclic(4), regular(cyclic(4)).matrices)
        >>> [round(share, 2) for share in label.irrep_shares], label.stabiliser, label.sentence
        ([0.5, 0.5, 0.0], (0, 2), 'two-fold: unchanged by r^2')
    """
    group = as_group(group)
    directions = as_axes("directions", directions, "latents dim", finite=False)
    matrices = as_axes("matrices", matrices, "group dim dim", finite=False)
    _check_directions(directions)
    _check_matrices(matrices, group, directions.shape[1])
    rates = None
    if codes is not None:
        codes = as_axes("codes", codes, "n group latents")
        _check_codes(codes, (group.order, len(directions)), "[n, elements, latents] along orbits")
        rates = firing_rates(codes.detach().cpu().flatten(1)).unflatten(0, codes.shape[1:])
    rows = directions.detach().cpu().double()
    cosines = _cosines(rows, matrices.detach().cpu().double())
    return _labels(group, cosines, rates, tolerance, words)


def atom_labels(
    sae: SAE, codes: Numbers | None = None, *, words: Sequence[str] = ()
) -> list[SymmetryLabel]:
    """Label each atom of an orbit SAE, with one label for all its orientations.

    Args:
        sae: The SAE; group, transport and tolerance are those of its dictionary.
        codes: Its codes of some samples, shape [n, |G| * n_atoms]; None (default) for labels
            without firing rates. Give the samples of the data set: along whole orbits each
            orientation is equally frequent.
        words: As for `symmetry_labels`.

    Returns:
        One label per atom. Firing rates are for each orientation of the atom. Equal orientations
        share the rate at which any of them fires.

    Raises:
        OrbitLensError: If the SAE is no orbit SAE, an atom is 0 or not finite, the codes are of
            another width, there are not as many words as elements, or the tolerance merges
            everything.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import isotypic_basis, regular
        >>> from orbitlens.sae import OrbitDictionary, TopK, compose
        >>> atoms = OrbitDictionary(2, isotypic_basis(regular(cyclic(4))))
        >>> sae = compose(TopK(2), atoms)
        >>> [label.orbit_size for label in atom_labels(sae)]
        [4, 4]
    """
    dictionary = orbit_dictionary(sae)
    rates = None
    if codes is not None:
        codes = as_axes("codes", codes, "n latents")
        _check_codes(codes, (dictionary.d_sae,), "[n, elements * atoms]")
        fires = (orientation_codes(sae, codes) != 0).flatten(1)
        rates = firing_rates(fires.double()).unflatten(0, (dictionary.group.order, -1))
    # In isotypic coordinates the group keeps the ordinary inner product.
    atoms = dictionary.atoms.detach()
    _check_directions(atoms, "atoms of the SAE")
    cosines = (dictionary.tied.orbits(atoms) * atoms).sum(-1) / atoms.square().sum(-1)
    return _labels(dictionary.group, cosines.cpu().double(), rates, dictionary.tolerance, words)


@torch.no_grad()
def orientation_codes(sae: SAE, codes: Numbers) -> Float[Tensor, "*axes group atoms"]:
    """Return the strength of each atom of an orbit SAE in each orientation.

        s[g, c] = max over h in the stabiliser of atom c of z[gh, c]

    The orientations gh are the same, and only one of them fires, by chance.

    Args:
        sae: The SAE.
        codes: Its codes, shape [..., |G| * n_atoms].

    Returns:
        Strengths, on the CPU, shape [..., |G|, n_atoms].

    Raises:
        OrbitLensError: If the SAE is no orbit SAE, or the codes are of another width.
    """
    dictionary = orbit_dictionary(sae)
    codes = as_axes("codes", codes, "... latents", sizes={"latents": dictionary.d_sae})
    by_element = dictionary.by_element(codes.detach().cpu())
    coset = cosets(dictionary.group, dictionary.stabilisers.cpu()).expand_as(by_element)
    lowest = torch.full_like(by_element, -torch.inf)
    return lowest.scatter_reduce(-2, coset, by_element, "amax").gather(-2, coset)


def _cosines(
    rows: Float[Tensor, "latents dim"], matrices: Float[Tensor, "group dim dim"]
) -> Float[Tensor, "group latents"]:
    metric = torch.einsum("gki,gkj->ij", matrices, matrices) / len(matrices)
    lowered = rows @ metric
    products = torch.stack([(rows @ rho.T * lowered).sum(-1) for rho in matrices])
    return products / (rows * lowered).sum(-1)


def _labels(
    group: Group,
    cosines: Float[Tensor, "group latents"],
    rates: Float[Tensor, "group latents"] | None,
    tolerance: float,
    words: Sequence[str],
) -> list[SymmetryLabel]:
    words = as_texts("words", words)
    if words and len(words) != group.order:
        raise OrbitLensError(
            "`words`",
            expected=f"one for each of the {group.order} elements",
            received=len(words),
            remedy="give `actions.describe_elements` of this group",
        )
    span = "from 0 to below 1, which merges everything"
    if not 0 <= as_number("tolerance", tolerance, span) < 1:
        raise out_of_range("tolerance", span, tolerance)
    alone = stabilisers(group, cosines, tolerance).T
    moved = (1 - cosines).max().item() if cosines.numel() else 0.0
    if alone.all() and moved > TOLERANCE:
        raise OrbitLensError(
            "`tolerance`",
            expected=f"below {moved:.3g}, the most by which an element changes a direction",
            received=f"{tolerance:g}, with which every element leaves every direction unchanged",
            remedy=f"lower it; {TOLERANCE:g} is the default",
        )
    weights = [irrep.character * irrep.dim / character_norm(irrep) for irrep in irreps(group)]
    shares = (torch.stack(weights) @ cosines / group.order).T.clamp(0, 1).tolist()
    labels = []
    for i, parts in enumerate(shares):
        left = tuple(alone[i].nonzero().flatten().tolist())
        fired = None if rates is None else tuple(rates[:, i].tolist())
        sentence = symmetry_sentence(group, left, parts, words)
        label = SymmetryLabel(tuple(parts), left, group.order // len(left), fired, sentence)
        labels.append(label)
    return labels


def _check_directions(directions: Tensor, name: str = "`directions`") -> None:
    lengths = directions.norm(dim=-1)
    bad = (~(lengths.isfinite() & (lengths > 0))).sum().item()
    if bad:
        raise OrbitLensError(
            name,
            expected="finite rows, none of them 0",
            received=f"{bad} of {len(directions)} rows with zeros, NaN or infinity",
            remedy="leave these rows out, or check that the training has not diverged",
        )


def _check_matrices(matrices: Tensor, group: Group, dim: int) -> None:
    if matrices.shape != (group.order, dim, dim):
        raise OrbitLensError(
            "`matrices`",
            expected=f"one for each element of {group.name} that moves directions, "
            f"shape {[group.order, dim, dim]}",
            received=f"shape {list(matrices.shape)}",
            remedy="take SAE, group and transport of one layer",
        )
    exact = matrices.detach().cpu().double()
    drift = (exact[0] - torch.eye(dim)).norm() / dim**0.5
    error = max(drift.item(), homomorphism_errors(group, exact).max().item())
    if not error < _EXACT:
        raise OrbitLensError(
            "`matrices`",
            expected=f"a representation of {group.name}, relation error 0",
            received=f"a relation error of {error:.3g}",
            remedy='fit the transport with fit_transport(store, method="exact")',
        )


def _check_codes(codes: Tensor, axes: tuple[int, ...], meaning: str) -> None:
    if len(codes) == 0 or codes.shape[1:] != axes:
        sizes = ", ".join(map(str, axes))
        raise OrbitLensError(
            "`codes`",
            expected=f"shape [n, {sizes}] with n at least 1, that is {meaning}",
            received=f"shape {list(codes.shape)}",
            remedy="encode samples with this SAE",
        )
