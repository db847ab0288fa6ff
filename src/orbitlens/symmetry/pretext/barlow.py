"""Training without negatives: two views agree, and no two functions say the same.

Source: Zbontar et al. 2021, arXiv 2103.03230, for Barlow Twins; Mukuta & Harada 2023, arXiv
2303.04427, whose abstract asks for a loss that absorbs a transformation of each input. How both
meet is derived here.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.groups import Group, as_group
from orbitlens.symmetry.pretext._functions import (
    as_positive,
    moved_by_all,
    two_views,
)

_SMALL = 1e-5  # added to a variance, as batch norm does
_Functions = Float[Tensor, "n f order"]


def barlow_twins(
    first: Float[Tensor, "n dim"],
    second: Float[Tensor, "n dim"],
    group: Group | str,
    *,
    weight: float = 0.05,
) -> Float[Tensor, ""]:
    """Return how far the correlations of two views, in the pose that fits best, are from 1 and 0.

        z^[f]      = (z[f] - mean) / std           of each function, over inputs and elements
        b          = h z2^ with the h that makes <z1^, h z2^> largest, for each input
        C[f, f', k] = mean over inputs and a of z1^[f, a] b[f', a k]
        loss       = mean_f (1 - C[f, f, e])^2 + weight / F * (sum of all other C^2)

    F functions; e the neutral element. No value changes if every view is moved by an element of its
    own. Codes of all inputs in one orbit, which `simsiam` accepts, have C of rank |G| - 1 at most,
    so they cost weight * (F |G| / (|G| - 1) - 1) or more.

    Source: Zbontar et al. 2021, arXiv 2103.03230, equation 1, over F and with aligned views.

    Args:
        first: One view of each input, functions on the group, shape [n, F * |G|].
        second: The other view, same shape.
        group: Any finite group, or its name.
        weight: What all other correlations weigh, above 0; default 0.05.

    Returns:
        One loss for the batch.

    Raises:
        OrbitLensError: If the shapes differ, if the last axis is no multiple of |G|, if there are
            fewer than 2 inputs, or if the weight is not above 0.

    Example:
        >>> z = torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])
        >>> barlow_twins(z, z[:, [1, 0, 3, 2]], "C2", weight=0.1)
        tensor(0.1000)
    """
    group, scale = as_group(group), as_positive("weight", weight)
    a, b = (_standardised(z) for z in two_views(first, second, group))
    c = _correlations(a, _aligned(b, a, group), group)
    own = c[:, :, 0].diagonal()  # element 0 is the neutral one
    others = c.square().sum() - own.square().sum()
    return (1 - own).square().mean() + scale * others / len(c)


def _standardised(z: _Functions) -> _Functions:
    """Return functions of mean 0 and variance 1 over inputs and elements."""
    centred = z - z.mean((0, 2), keepdim=True)
    return centred / (centred.square().mean((0, 2), keepdim=True) + _SMALL).sqrt()


def _aligned(b: _Functions, a: _Functions, group: Group) -> _Functions:
    """Return the second views in the poses that fit the first ones best."""
    moved = moved_by_all(b, group)
    best = (moved * a.flatten(1)).sum(-1).argmax(0)
    return moved[best, torch.arange(len(b), device=b.device)].unflatten(1, (-1, group.order))


def _correlations(a: _Functions, b: _Functions, group: Group) -> Float[Tensor, "f f order"]:
    """Return C[f, f', k], the mean over inputs and elements of a[f, x] b[f', x k]."""
    steps = b[:, :, torch.from_numpy(group.table.copy()).to(b.device)]
    return torch.einsum("nfx,nhxk->fhk", a, steps) / (len(a) * group.order)
