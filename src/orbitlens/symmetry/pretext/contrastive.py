"""Contrastive losses that each input may be moved under.

Source: Mukuta & Harada 2023, arXiv 2303.04427, whose abstract asks for a contrastive loss that
absorbs a transformation of each input; Chen et al. 2020, arXiv 2002.05709, for NT-Xent; Chen & He
2020, arXiv 2011.10566, for SimSiam.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from orbitlens.groups import Group, as_group
from orbitlens.symmetry.pretext._functions import (
    as_positive,
    check_pairs,
    check_same_shape,
    functions_on,
    moved_by_all,
    unit_functions,
)
from orbitlens.symmetry.pretext.similarities import max_similarity

Similarity = Callable[[Tensor, Tensor, Group], Tensor]
_Views = Float[Tensor, "n dim"]


def nt_xent(
    first: _Views,
    second: _Views,
    group: Group | str,
    *,
    similarity: Similarity = max_similarity,
    temperature: float = 0.2,
) -> Float[Tensor, " views"]:
    """Return for each view how well its partner is told from the other views of the batch.

        l_i = -s(z_i, z_j) / T + log sum_{k != i} exp(s(z_i, z_k) / T)        j the partner of i

    With a similarity of `similarities` other than the plain one, no value changes if every view is
    moved by an element of its own.

    Source: Chen et al. 2020, arXiv 2002.05709, equation 1, with another similarity.

    Args:
        first: One view of each input, functions on the group, shape [n, f * |G|].
        second: The other view, same shape.
        group: Any finite group, or its name.
        similarity: From rows, other rows and the group to one number for each pair; default
            `max_similarity`.
        temperature: T, above 0; default 0.2.

    Returns:
        One loss for each view, those of `first` before those of `second`, shape [2 n].

    Raises:
        OrbitLensError: If the shapes differ, if there are fewer than 2 inputs, if the temperature
            is not above 0, or as the similarity.

    Example:
        >>> z = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
        >>> moved = z[:, [1, 0, 3, 2]]
        >>> nt_xent(z, moved, "C2").mean() < 0.02
        tensor(True)
    """
    scale = as_positive("temperature", temperature)
    own, partner = _among_views(first, second, as_group(group), similarity)
    return (own / scale).logsumexp(1) - partner / scale


def retrieval(
    first: _Views,
    second: _Views,
    group: Group | str,
    *,
    similarity: Similarity = max_similarity,
) -> Bool[Tensor, " views"]:
    """Return for each view whether its partner is the most similar of the other views.

        hit_i = [s(z_i, z_j) >= s(z_i, z_k) for all k != i]        j the partner of i

    Args:
        first: One view of each input, functions on the group, shape [n, f * |G|].
        second: The other view, same shape.
        group: Any finite group, or its name.
        similarity: As in `nt_xent`.

    Returns:
        One answer for each view, shape [2 n].

    Raises:
        OrbitLensError: As `nt_xent`.

    Example:
        >>> z = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
        >>> retrieval(z, z[:, [1, 0, 3, 2]], "C2").tolist()
        [True, True, True, True]
    """
    own, partner = _among_views(first, second, as_group(group), similarity)
    return partner >= own.amax(1)


def simsiam(predicted: _Views, target: _Views, group: Group | str) -> Float[Tensor, " n"]:
    """Return the squared distance of each prediction from its target, in the pose that fits best.

        d = min_g |p / |p| - g z / |z||^2 = 2 - 2 max_g <p, g z> / (|p| |z|)

    No gradient goes through the target. A loss is the mean of `simsiam(predictor(z1), z2, group)`
    and `simsiam(predictor(z2), z1, group)`. It is the known form, and it collapses: the distance is
    0 if the codes of all inputs lie in one orbit, and batch norm does not see that. Train with
    `barlow_twins` or `nt_xent`.

    Source: Chen & He 2020, arXiv 2011.10566, equation 1 and the stop-gradient of algorithm 1.

    Args:
        predicted: What a predictor says of one view, functions on the group, shape [n, f * |G|].
        target: The other view, same shape.
        group: Any finite group, or its name.

    Returns:
        One distance for each input, 0 to 4, shape [n].

    Raises:
        OrbitLensError: If the shapes differ, if the last axis is no multiple of |G|, or if a row is
            zero.

    Example:
        >>> simsiam(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), "C2")
        tensor([0.])
    """
    group = as_group(group)
    p = unit_functions("predicted", predicted, group).flatten(1)
    z = unit_functions("target", target.detach(), group)
    check_same_shape("target", target, predicted)
    cosines = (moved_by_all(z, group) * p).sum(-1)
    return 2 - 2 * cosines.amax(0)


def _among_views(
    first: _Views, second: _Views, group: Group, similarity: Similarity
) -> tuple[Float[Tensor, "views views"], Float[Tensor, " views"]]:
    """Return the similarities of all views, -inf to itself, and those of the partners."""
    functions_on("first", first, group)
    check_same_shape("second", second, first)
    n = len(first)
    check_pairs(n)
    views = torch.cat([first, second])
    found = similarity(views, views, group)
    partner = found[torch.arange(2 * n), torch.arange(2 * n).roll(n)]
    itself = torch.eye(2 * n, dtype=torch.bool, device=found.device)
    return found.masked_fill(itself, -torch.inf), partner
