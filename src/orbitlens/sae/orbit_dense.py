"""An orbit SAE written out: an ordinary SAE with one row of weights for each pair."""

import torch

from orbitlens.errors import OrbitLensError
from orbitlens.sae.dictionaries import FreeDictionary, OrbitDictionary
from orbitlens.sae.encoders import Encoder, LinearEncoder, MLPEncoder
from orbitlens.sae.model import SAE
from orbitlens.sae.orbit_encoders import OrbitLinearEncoder, OrbitMLPEncoder
from orbitlens.sae.sparsity import BatchTopK, Sparsity, TopK
from orbitlens.sae.tied import Tied
from orbitlens.typing import Float, Tensor


@torch.no_grad()
def dense(sae: SAE) -> SAE:
    """Turn an orbit SAE into an ordinary one with the same codes and reconstructions.

        W_dec[g c] = rho(g) d_c,   W_enc[:, g c] = T^-T rho'(g) e_c

    with the irreps rho' of isotypic coordinates y = T^-1 x. Nothing in it knows the group any more,
    and it is |G| times larger; with a linear encoder it is one that SAELens reads once it is saved.
    Of two layers, the hidden one has |G| * hidden units, and the second weights are one block for
    each element. Directions have the length of rho(g) d_c, which is 1 where rho is orthogonal.

    Args:
        sae: The orbit SAE, with TopK or BatchTopK, and no atom that an element leaves alone.

    Returns:
        The SAE, in evaluation mode; what it gives is the same to rounding.

    Raises:
        OrbitLensError: If it is no orbit SAE, has one pose for each input, or has atoms with a
            stabiliser: an ordinary SAE would let each of their equal orientations fire.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import isotypic_basis, regular
        >>> from orbitlens.sae.orbit import compose_orbit
        >>> atoms = OrbitDictionary(3, isotypic_basis(regular(cyclic(4))))
        >>> sae = compose_orbit(TopK(2), atoms, hidden=None, seed=0)
        >>> x = torch.randn(5, 4)
        >>> torch.allclose(dense(sae).encode(x), sae.encode(x), atol=1e-6)
        True
    """
    dictionary = sae.dictionary
    if not isinstance(dictionary, OrbitDictionary):
        raise _refused(
            "an orbit SAE", f"one with a {type(dictionary).__name__}", "save it as it is"
        )
    alone = int(dictionary.stabilisers[1:].any(0).sum())
    if alone:
        raise _refused(
            "atoms that every element changes",
            f"{alone} of {dictionary.n_atoms} atoms that some element leaves alone",
            "save the orbit SAE itself, or build it with `tolerance=0`",
        )
    free = FreeDictionary(dictionary.d_sae, dictionary.d_in)
    free.W_dec.copy_(dictionary.directions)
    free.b_dec.copy_(dictionary.b_dec)
    return SAE(_encoder(sae.encoder, dictionary), _rule(sae.sparsity), free).eval()


def _encoder(encoder: Encoder, dictionary: OrbitDictionary) -> Encoder:
    d_in, order = dictionary.d_in, dictionary.group.order
    if isinstance(encoder, OrbitLinearEncoder):
        linear = LinearEncoder(d_in, encoder.d_sae)
        linear.W_enc.copy_(_written_out(encoder.tied, encoder.W_enc, dictionary.T_inverse))
        linear.b_enc.copy_(encoder.b_enc.repeat(order))
        return linear
    if isinstance(encoder, OrbitMLPEncoder):
        layers = MLPEncoder(d_in, encoder.hidden * order, encoder.d_sae)
        layers.W_hidden.copy_(_written_out(encoder.tied, encoder.W_hidden, dictionary.T_inverse))
        layers.b_hidden.copy_(encoder.b_hidden.repeat(order))
        layers.W_enc.copy_(torch.block_diag(*[encoder.W_enc] * order))
        layers.b_enc.copy_(encoder.b_enc.repeat(order))
        return layers
    raise _refused("an orbit encoder", type(encoder).__name__, "write out an encoder of your own")


def _written_out(
    tied: Tied, weights: Float[Tensor, "to dim"], T_inverse: Float[Tensor, "dim dim"]
) -> Float[Tensor, "dim oriented"]:
    """The columns w with <w, x> = <rho'(g) e, T^-1 x>, element after element."""
    return T_inverse.mT @ tied.orbits(weights).flatten(0, 1).mT


def _rule(sparsity: Sparsity) -> Sparsity:
    if isinstance(sparsity, TopK):
        return TopK(sparsity.k)
    if isinstance(sparsity, BatchTopK):
        rule = BatchTopK(sparsity.k)
        rule.threshold.copy_(sparsity.threshold)
        return rule
    raise _refused("TopK or BatchTopK", type(sparsity).__name__, "save the orbit SAE itself")


def _refused(expected: str, received: str, remedy: str) -> OrbitLensError:
    return OrbitLensError("`sae` to write out", expected=expected, received=received, remedy=remedy)
