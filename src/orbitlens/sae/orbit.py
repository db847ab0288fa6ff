"""The orbit SAE: a dictionary tied over the group, codes over (element, atom).

    a[g, c] = E_c(rho(g)^-1 (x - b)),   z = TopK(relu(a))
    x_hat = b + sum_{g, c} z[g, c] rho(g) d_c

With an exact transport z(rho(h) x)[hg, c] = z(x)[g, c]: equivariant by construction, with no
canonical sample and no knowledge of the element that moved an input.
"""

import torch

from orbitlens.errors import OrbitLensError, out_of_range, unknown_name
from orbitlens.groups import Group
from orbitlens.reps import IsotypicBasis, Representation, isotypic_basis
from orbitlens.sae.dictionaries import OrbitDictionary
from orbitlens.sae.dictionaries.orbit import TOLERANCE
from orbitlens.sae.model import SAE
from orbitlens.sae.orbit_encoders import OrbitLinearEncoder, OrbitMLPEncoder
from orbitlens.sae.sparsity import SPARSITY_RULES, OnePose, Sparsity
from orbitlens.transport import Transport

_EXACT = 1e-3


def orbit_sae(
    d_in: int,
    n_atoms: int,
    k: int,
    transport: Transport,
    *,
    group: Group | None = None,
    hidden: int | None = None,
    sparsity: str = "topk",
    one_pose: bool = False,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> SAE:
    """Build an orbit SAE.

    Args:
        d_in: Width of the activations.
        n_atoms: Number of atoms; the codes have |G| latents for each.
        k: Pairs (element, atom) kept per sample.
        transport: An exact transport of the layer ("exact", "spatial", "low_rank" or "lie").
        group: Group to tie the dictionary over: that of the transport (default), a subgroup of it,
            or for a transport by "lie" equal turns, however fine, such as C16.
        hidden: Width of the encoder's hidden layer; None (default) for a linear encoder.
        sparsity: "topk" or "batchtopk", over all pairs.
        one_pose: Whether all pairs of a sample share one element, the one that answers most.
        tolerance: See `OrbitDictionary`.
        seed: Seed of all weights, default 0.

    Returns:
        The untrained SAE. A linear encoder starts as the transpose of the dictionary.

    Raises:
        OrbitLensError: If the transport is of another width, is not exact, does not have the group,
            or moves tokens by matrices of their own; if k exceeds the number of pairs, or with one
            pose that of atoms; if a number is out of range or the sparsity rule is unknown.

    Example:
        >>> import orbitlens as ol
        >>> toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=500, seed=0)
        >>> store = ol.store_from_array(toy.orbits, group=toy.group)
        >>> rho = ol.fit_transport(store, "exact")
        >>> sae = orbit_sae(d_in=16, n_atoms=8, k=3, transport=rho)
        >>> codes, turned = (sae.encode(store.orbits()[:, g]) for g in (0, 1))
        >>> before, after = (sae.dictionary.by_element(z) for z in (codes, turned))
        >>> torch.allclose(after, before.roll(1, dims=1), atol=1e-4)
        True
    """
    if d_in != transport.dim:
        raise OrbitLensError(
            "`d_in`",
            expected=f"{transport.dim}, the width of the transport of {transport.source}",
            received=d_in,
            remedy="fit the transport on activations of this layer",
        )
    if sparsity not in SPARSITY_RULES:
        raise unknown_name("`sparsity`", sparsity, SPARSITY_RULES)
    if hidden is not None and hidden < 1:
        raise out_of_range("hidden", "at least 1, or None for a linear encoder", hidden)
    if one_pose and k > n_atoms >= 1:
        raise out_of_range("k", f"at most the number of atoms, {n_atoms}, which share a pose", k)
    basis = _basis(transport, transport.group if group is None else group)
    rule: Sparsity = SPARSITY_RULES[sparsity](k)
    if one_pose:
        rule = OnePose(rule, basis.group.order)
    dictionary = OrbitDictionary(
        n_atoms, basis, tolerance=tolerance, source=transport.source, seed=seed
    )
    return compose_orbit(rule, dictionary, hidden=hidden, seed=seed)


def compose_orbit(
    sparsity: Sparsity, dictionary: OrbitDictionary, *, hidden: int | None, seed: int
) -> SAE:
    """Put an orbit encoder before a sparsity rule and an orbit dictionary.

    Args:
        sparsity: Pre-activations to codes.
        dictionary: Codes to reconstructions; its basis and widths are the encoder's.
        hidden: Width of the encoder's hidden layer; None for a linear encoder, which starts as the
            transpose of the dictionary.
        seed: Seed of the encoder's weights.

    Returns:
        The untrained SAE.

    Raises:
        OrbitLensError: If k exceeds the number of pairs.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import isotypic_basis, regular
        >>> from orbitlens.sae import TopK
        >>> dictionary = OrbitDictionary(3, isotypic_basis(regular(cyclic(4))))
        >>> compose_orbit(TopK(2), dictionary, hidden=16, seed=0).encoder.hidden
        16
    """
    n_atoms, tied = dictionary.n_atoms, dictionary.tied
    if hidden is not None:
        return SAE(OrbitMLPEncoder(n_atoms, hidden, tied, seed=seed), sparsity, dictionary)
    encoder = OrbitLinearEncoder(n_atoms, tied, seed=seed)
    with torch.no_grad():
        encoder.W_enc.copy_(dictionary.atoms)
    return SAE(encoder, sparsity, dictionary)


def _basis(transport: Transport, group: Group) -> IsotypicBasis:
    """The isotypic basis of a transport that is a representation."""
    if not transport.relation_error < _EXACT:
        raise OrbitLensError(
            f"`transport` fitted by {transport.method} for an orbit SAE",
            expected="a true representation, relation error 0",
            received=f"a relation error of {transport.relation_error:.3g}",
            remedy='fit it with method="exact" ("spatial" for maps, "lie" for angles)',
        )
    if transport.motion.tokens is not None:
        raise OrbitLensError(
            "`transport` of an orbit SAE",
            expected="one matrix for all positions",
            received="tokens before the places that have their own",
            remedy="harvest positions cls or a feature map, or fit the transport exact",
        )
    return isotypic_basis(Representation(group, transport.under(group).double(), transport.source))
