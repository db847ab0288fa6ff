"""The symmetry spectrum of a layer: how much of its energy is in each irrep."""

import torch

from orbitlens.groups import Group
from orbitlens.reps import character_norm, irreps
from orbitlens.typing import Float, Tensor


def symmetry_spectrum(
    group: Group, autocorrelation: Float[Tensor, " group"]
) -> Float[Tensor, " irreps"]:
    """Return the share of the variance along orbits that is in each irrep.

    s_i = dim_i / (<chi_i, chi_i> |G|) sum_g chi_i(g) a(g) / a(e),
    a(g) = sum_{x,h} <psi(ghx) - mu, psi(hx) - mu>

    An orbit of activations is a function on the group; s_i is the share of its isotypic part. Where
    psi(gx) = rho(g) psi(x) that is the energy of P_i psi(x), with P_i the isotypic projection of
    rho. No transport is fitted: the spectrum exists for any network. The first share is the
    invariant part; activations that have nothing to do with the group have the shares of the
    regular representation, (number of its dimensions of type i) / |G|.

    Source: Serre, *Linear Representations of Finite Groups*, section 2.6.

    Args:
        group: The group.
        autocorrelation: a(g) for every element, shape [|G|]; `CrossMoments.autocorrelation`.

    Returns:
        One share for each of `reps.irreps(group)`, shape [irreps]; they add up to 1. Without
        variance all is invariant.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> symmetry_spectrum(cyclic(2), torch.tensor([1.0, 0.5])).tolist()
        [0.75, 0.25]
    """
    found = irreps(group)
    if autocorrelation[0] <= 0:
        return torch.eye(len(found))[0].to(autocorrelation)
    weights = torch.stack(
        [i.dim / (character_norm(i) * group.order) * i.character.to(autocorrelation) for i in found]
    )
    return weights @ (autocorrelation / autocorrelation[0])
