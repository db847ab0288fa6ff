"""Similarities of functions on a group: those that do not ask how each input stands, and rivals.

    max    s(a, b) = max_g <a, g b>
    soft   s(a, b) = T log mean_g exp(<a, g b> / T)
    pool   s(a, b) = cos(max_g a, max_g b)
    mean   s(a, b) = mean_g <a, g b>
    plain  s(a, b) = <a, b>

with a and b of norm 1. max >= soft >= mean, and max >= plain. All but the last stay the same if a
and b are moved by two independent elements.

Source: Mukuta & Harada 2023, arXiv 2303.04427, whose abstract asks for a contrastive loss that
absorbs a transformation of each input. These forms are derived here.
"""

import math

from jaxtyping import Float
from torch import Tensor

from orbitlens.groups import Group, as_group
from orbitlens.symmetry.pretext._functions import (
    as_positive,
    check_nonzero,
    functions_on,
    moved_by_all,
    unit_functions,
)

_Rows = Float[Tensor, "n dim"]
_Others = Float[Tensor, "m dim"]
_Pairs = Float[Tensor, "n m"]


def max_similarity(a: _Rows, b: _Others, group: Group | str) -> _Pairs:
    """Return the cosine of each pair in the relative pose that fits best.

        s(a, b) = max_g <a, g b> / (|a| |b|)

    Args:
        a: Functions on the group, shape [n, f * |G|].
        b: Functions on the group, shape [m, f * |G|].
        group: Any finite group, or its name.

    Returns:
        One similarity for each pair, shape [n, m].

    Raises:
        OrbitLensError: If the last axis is no multiple of |G|, or a row is zero.

    Example:
        >>> import torch
        >>> max_similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), "C2")
        tensor([[1.]])
    """
    return _products(a, b, as_group(group)).amax(0)


def soft_similarity(
    a: _Rows, b: _Others, group: Group | str, *, temperature: float = 0.05
) -> _Pairs:
    """Return a smooth maximum over relative poses: near the maximum if T is small, else the mean.

        s(a, b) = T log mean_g exp(<a, g b> / (T |a| |b|))

    Args:
        a: Functions on the group, shape [n, f * |G|].
        b: Functions on the group, shape [m, f * |G|].
        group: Any finite group, or its name.
        temperature: T, above 0; default 0.05.

    Returns:
        One similarity for each pair, shape [n, m].

    Raises:
        OrbitLensError: As `max_similarity`, and if the temperature is not above 0.

    Example:
        >>> import torch
        >>> soft_similarity(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]]), "C2")
        tensor([[0.9653]])
    """
    group, scale = as_group(group), as_positive("temperature", temperature)
    products = _products(a, b, group) / scale
    return scale * (products.logsumexp(0) - math.log(group.order))


def pooled_similarity(a: _Rows, b: _Others, group: Group | str) -> _Pairs:
    """Return the cosine of the maxima over the group of each pair.

        s(a, b) = cos(max_g a[., g], max_g b[., g])

    Args:
        a: Functions on the group, shape [n, f * |G|].
        b: Functions on the group, shape [m, f * |G|].
        group: Any finite group, or its name.

    Returns:
        One similarity for each pair, shape [n, m].

    Raises:
        OrbitLensError: If the last axis is no multiple of |G|, or all maxima of a row are zero.

    Example:
        >>> import torch
        >>> pooled_similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), "C2")
        tensor([[1.]])
    """
    group = as_group(group)
    a, b = (functions_on(name, z, group).amax(2) for name, z in (("a", a), ("b", b)))
    check_nonzero("a", a)
    check_nonzero("b", b)
    return (a / a.norm(dim=1, keepdim=True)) @ (b / b.norm(dim=1, keepdim=True)).T


def mean_similarity(a: _Rows, b: _Others, group: Group | str) -> _Pairs:
    """Return the mean over relative poses: a baseline that sees the trivial representation alone.

        s(a, b) = mean_g <a, g b> / (|a| |b|)

    Args:
        a: Functions on the group, shape [n, f * |G|].
        b: Functions on the group, shape [m, f * |G|].
        group: Any finite group, or its name.

    Returns:
        One similarity for each pair, shape [n, m].

    Raises:
        OrbitLensError: As `max_similarity`.

    Example:
        >>> import torch
        >>> mean_similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), "C2")
        tensor([[0.5000]])
    """
    return _products(a, b, as_group(group)).mean(0)


def plain_similarity(a: _Rows, b: _Others, group: Group | str) -> _Pairs:
    """Return the ordinary cosine: a baseline that asks both inputs to stand alike.

        s(a, b) = <a, b> / (|a| |b|)

    Args:
        a: Functions on the group, shape [n, f * |G|].
        b: Functions on the group, shape [m, f * |G|].
        group: Any finite group, or its name.

    Returns:
        One similarity for each pair, shape [n, m].

    Raises:
        OrbitLensError: As `max_similarity`.

    Example:
        >>> import torch
        >>> plain_similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), "C2")
        tensor([[0.]])
    """
    group = as_group(group)
    a, b = unit_functions("a", a, group).flatten(1), unit_functions("b", b, group).flatten(1)
    return a @ b.T


def _products(a: _Rows, b: _Others, group: Group) -> Float[Tensor, "order n m"]:
    """Return <a, g b> for every element and every pair, of rows of norm 1."""
    rows = unit_functions("a", a, group).flatten(1)
    moved = moved_by_all(unit_functions("b", b, group), group)
    return rows @ moved.mT
