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

from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.symmetry.pretext._functions import (
    as_positive,
    functions_on,
    moved_by_all,
    near_one,
    of_one_type,
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
        OrbitLensError: If the last axis is no multiple of |G|, if a and b have different ones, or
            if a row is zero or not finite.

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
        OrbitLensError: As `max_similarity`, and if all maxima of a row are zero.

    Example:
        >>> import torch
        >>> pooled_similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), "C2")
        tensor([[1.]])
    """
    group = as_group(group)
    a, b = (
        near_one(name, functions_on(name, z, group).amax(2)) for name, z in (("a", a), ("b", b))
    )
    a, b = _alike(a, b)
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
    a, b = _alike(unit_functions("a", a, group), unit_functions("b", b, group))
    return a.flatten(1) @ b.flatten(1).T


def _products(a: _Rows, b: _Others, group: Group) -> Float[Tensor, "order n m"]:
    """Return <a, g b> for every element and every pair, of rows of norm 1."""
    a, b = _alike(unit_functions("a", a, group), unit_functions("b", b, group))
    return a.flatten(1) @ moved_by_all(b, group).mT


def _alike(
    a: Float[Tensor, "n f *order"], b: Float[Tensor, "m f2 *order"]
) -> tuple[Float[Tensor, "n f *order"], Float[Tensor, "m f2 *order"]]:
    """Return rows and other rows in one type; refuse other numbers of functions."""
    if a.shape[1] != b.shape[1]:
        raise OrbitLensError(
            "`b`",
            expected=f"as many functions as `a` has, {a.shape[1]}",
            received=b.shape[1],
            remedy="compare outputs of one network",
        )
    return of_one_type(a, b)
