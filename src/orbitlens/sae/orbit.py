"""The orbit SAE: a dictionary tied over the group, codes over (element, atom).

    a[g, c] = E_c(rho(g)^-1 (x - b)),   z = TopK(relu(a))
    x_hat = b + sum_{g, c} z[g, c] rho(g) d_c

With an exact transport z(rho(h) x)[hg, c] = z(x)[g, c]: equivariant by construction, with no
canonical sample and no knowledge of the element that moved an input.
"""

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch

from orbitlens.checks import as_count, as_switch, as_text
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name
from orbitlens.groups import Group, as_group
from orbitlens.kernels import steady
from orbitlens.reps import IsotypicBasis, Representation, isotypic_basis
from orbitlens.sae._stabilisers import TOLERANCE
from orbitlens.sae.bias_adaptation import BiasAdaptation
from orbitlens.sae.builders import compose
from orbitlens.sae.dictionaries.base import TransposedEncoder
from orbitlens.sae.dictionaries.free import FreeDictionary
from orbitlens.sae.dictionaries.orbit import OrbitDictionary
from orbitlens.sae.model import SAE
from orbitlens.sae.sparsity import SPARSITY_RULES, OnePose, Sparsity
from orbitlens.transport import Transport

_EXACT = 1e-3
_STEERING = tuple(
    name
    for name in signature(BiasAdaptation).parameters
    if name not in ("atoms", "orientations")  # they follow from the dictionary
)


@steady()
def orbit_sae(
    d_in: int,
    n_atoms: int,
    k: int | None,
    transport: Transport,
    *,
    group: Group | str | None = None,
    hidden: int | None = None,
    sparsity: str = "topk",
    one_pose: bool = False,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    **steering: Any,
) -> SAE:
    """Build an orbit SAE.

    Args:
        d_in: Width of the activations.
        n_atoms: Number of atoms; the codes have |G| latents for each.
        k: Pairs (element, atom) kept per sample; None with "bias-adaptation".
        transport: An exact transport of the layer ("exact", "spatial", "low_rank" or "lie");
            `transport.fit_exact` chooses and fits one.
        group: Group to tie the dictionary over, or its name: that of the transport (default), a
            subgroup of it, or for a transport by "lie" equal turns, however fine, such as C16.
        hidden: Width of the encoder's hidden layer; None (default) for a linear encoder.
        sparsity: "topk" or "batchtopk", over all pairs; or "bias-adaptation", with a target
            frequency for each atom.
        one_pose: Whether all pairs of a sample share one element, the one that answers most.
        tolerance: See `OrbitDictionary`.
        seed: Seed of all weights, default 0.
        steering: The settings of `BiasAdaptation`: groups, htf, ltf, jump, samples, gamma_minus,
            gamma_plus, centre, scale and features; with that rule alone.

    Returns:
        The untrained SAE. A linear encoder starts as the transpose of the dictionary.

    Raises:
        OrbitLensError: If the transport is of another width, is not exact, does not have the group,
            or moves tokens by matrices of their own; if k exceeds the number of pairs, or with one
            pose that of atoms; if a number is out of range or the sparsity rule is unknown; if bias
            adaptation is given a k, one pose, a hidden layer or a setting that it does not have, or
            lacks its targets.

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
    if not isinstance(transport, Transport):
        raise OrbitLensError(
            "`transport`",
            expected="an exact transport of the layer",
            received=type(transport).__name__,
            remedy="fit one with `transport.fit_exact(store)`",
        )
    n_atoms = as_count("n_atoms", n_atoms)
    if as_count("d_in", d_in) != transport.dim:
        raise OrbitLensError(
            "`d_in`",
            expected=f"{transport.dim}, the width of the transport of {transport.source}",
            received=d_in,
            remedy="fit the transport on activations of this layer",
        )
    one_pose = as_switch("one_pose", one_pose)
    steered = as_text("sparsity", sparsity) == BiasAdaptation.name
    if sparsity not in SPARSITY_RULES and not steered:
        raise unknown_name("`sparsity`", sparsity, (*SPARSITY_RULES, BiasAdaptation.name))
    if hidden is not None and as_count("hidden", hidden, least=0) < 1:
        raise out_of_range("hidden", "at least 1, or None for a linear encoder", hidden)
    if steered:
        _check_steered(k, steering, one_pose=one_pose)
    else:
        k = _checked_k(k, n_atoms, steering, one_pose=one_pose)
    basis = _basis(transport, transport.group if group is None else as_group(group))
    dictionary = OrbitDictionary(
        n_atoms, basis, tolerance=tolerance, source=transport.source, seed=seed
    )
    rule: Sparsity
    if k is None:
        settings = {"scale": BiasAdaptation.starting_scale(d_in, dictionary.d_sae), **steering}
        rule = BiasAdaptation(n_atoms, orientations=basis.group.order, **settings)
    else:
        rule = SPARSITY_RULES[sparsity](k)
    if one_pose:
        rule = OnePose(rule, basis.group.order)
    return compose(rule, dictionary, hidden=hidden, seed=seed)


@torch.no_grad()
def dense(sae: SAE) -> SAE:
    """Turn an orbit SAE, or one with tied weights, into an ordinary one with the same codes.

        W_dec[g c] = rho(g) d_c,   W_enc[:, g c] = T^-T rho'(g) e_c

    with the irreps rho' of isotypic coordinates y = T^-1 x. The result is |G| times larger and
    knows no group. SAELens reads it once it is saved, if the encoder is linear. A hidden layer has
    |G| * hidden units, and the second layer one block for each element. Directions have the length
    of rho(g) d_c, which is 1 where rho is orthogonal. Of bias adaptation biases and output scales
    are left, as a ReLU ("standard" in SAELens) or a JumpReLU ("jumprelu").

    Args:
        sae: The orbit SAE, with TopK, BatchTopK or bias adaptation, and no atom that an element
            leaves alone; or an ordinary SAE with bias adaptation.

    Returns:
        The SAE, in evaluation mode; its outputs are the same to rounding.

    Raises:
        OrbitLensError: If it is neither, has one pose for each input, or has atoms with a
            stabiliser: an ordinary SAE would let each of their equal orientations fire.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import isotypic_basis, regular
        >>> from orbitlens.sae import TopK, compose
        >>> atoms = OrbitDictionary(3, isotypic_basis(regular(cyclic(4))))
        >>> sae = compose(TopK(2), atoms)
        >>> x = torch.randn(5, 4)
        >>> torch.allclose(dense(sae).encode(x), sae.encode(x), atol=1e-6)
        True
    """
    dictionary = getattr(sae, "dictionary", sae)
    if isinstance(dictionary, OrbitDictionary):
        _check_moved(dictionary)
        T_inverse = dictionary.T_inverse
    elif isinstance(sae, SAE) and isinstance(sae.encoder, TransposedEncoder):
        T_inverse = torch.eye(sae.d_in).to(sae.b_dec)
    else:
        raise _refused(
            "an orbit SAE", f"one with a {type(dictionary).__name__}", "save it as it is"
        )
    if sae.sparsity.compares:
        raise _refused(
            "TopK or BatchTopK", type(sae.sparsity).__name__, "save the orbit SAE itself"
        )
    sae.check_ties()
    sae.sparsity.check()
    encoder = sae.encoder.dense(T_inverse)
    free = FreeDictionary(sae.d_sae, sae.d_in)
    free.W_dec.copy_(sae.W_dec)
    free.b_dec.copy_(sae.b_dec)
    return SAE(encoder, sae.sparsity.written_out(encoder), free).eval()


def _checked_k(k: int | None, n_atoms: int, steering: Mapping[str, Any], *, one_pose: bool) -> int:
    """Return the k of a rule that has one, and refuse settings of bias adaptation."""
    k = as_count("k", k)
    for name, value in steering.items():
        raise out_of_range(
            name, 'a setting of sparsity="bias-adaptation"', value, "leave it out with a k"
        )
    if one_pose and k > n_atoms:
        raise out_of_range("k", f"at most the number of atoms, {n_atoms}, which share a pose", k)
    return k


def _check_steered(k: int | None, steering: Mapping[str, Any], *, one_pose: bool) -> None:
    """Refuse what bias adaptation has no use for, and missing targets."""
    if k is not None:
        raise out_of_range(
            "k", "None: with bias adaptation as many fire as the targets say", k, "give None"
        )
    if one_pose:
        raise out_of_range("one_pose", "False with bias adaptation", one_pose, "leave it out")
    for name in steering:
        if name not in _STEERING:
            raise unknown_name("setting of bias adaptation", name, _STEERING)
    for name in ("groups", "htf", "ltf"):
        if name not in steering:
            raise out_of_range(
                name, "a setting of bias adaptation", "none", "give groups, htf and ltf"
            )


def _check_moved(dictionary: OrbitDictionary) -> None:
    """Refuse atoms that some element leaves alone."""
    alone = int(dictionary.stabilisers[1:].any(0).sum())
    if alone:
        raise _refused(
            "atoms that every element changes",
            f"{alone} of {dictionary.n_atoms} atoms that some element leaves alone",
            "save the orbit SAE itself, or build it with `tolerance=0`",
        )


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


def _refused(expected: str, received: str, remedy: str) -> OrbitLensError:
    return OrbitLensError("`sae` to write out", expected=expected, received=received, remedy=remedy)
