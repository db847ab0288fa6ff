"""Contrastive losses that each input may be moved under.

Source: Mukuta & Harada 2023, arXiv 2303.04427, whose abstract asks for a contrastive loss that
absorbs a transformation of each input; Chen et al. 2020, arXiv 2002.05709, for NT-Xent; Chen & He
2020, arXiv 2011.10566, for SimSiam.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from orbitlens.checks import usual_torch
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.symmetry.pretext._functions import (
    as_positive,
    check_same_shape,
    moved_by_all,
    of_one_type,
    two_views,
    unit_functions,
)
from orbitlens.symmetry.pretext.similarities import max_similarity

Similarity = Callable[[Tensor, Tensor, Group], Tensor]
_Views = Float[Tensor, "n dim"]
# Units of the last place of 1, by which equal cosines of d numbers may differ: 8, or sqrt(d) / 2.
_ROUNDING, _MORE = 8, 0.5


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
        similarity: From rows, other rows and the group to one number for each pair, about as large
            as a cosine; default `max_similarity`.
        temperature: T, above 0; default 0.2.

    Returns:
        One loss for each view, those of `first` before those of `second`, shape [2 n]; train with
        their mean.

    Raises:
        OrbitLensError: If the shapes differ, if there are fewer than 2 inputs, if the temperature
            is not above 0, if the similarity is no function that returns a number for each pair, or
            as the similarity.

    Example:
        >>> z = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
        >>> moved = z[:, [1, 0, 3, 2]]
        >>> nt_xent(z, moved, "C2").mean() < 0.02
        tensor(True)
    """
    scale = as_positive("temperature", temperature)
    group = as_group(group)
    views = torch.cat(two_views(first, second, group)).flatten(1)
    own, partner = _among_views(views, group, similarity)
    return (own / scale).logsumexp(1) - partner / scale


def retrieval(
    first: _Views,
    second: _Views,
    group: Group | str,
    *,
    similarity: Similarity = max_similarity,
) -> Bool[Tensor, " views"]:
    """Return for each view whether its partner is more similar than all other views.

        hit_i = [s(z_i, z_j) > s(z_i, z_k) for all k != i, j]        j the partner of i

    A tie is a miss, so a network that gives the same code to all inputs finds nothing. Similarities
    are computed in float32 at least; those that differ by their rounding alone are a tie.

    Args:
        first: One view of each input, functions on the group, shape [n, f * |G|].
        second: The other view, same shape.
        group: Any finite group, or its name.
        similarity: As in `nt_xent`.

    Returns:
        One answer for each view, shape [2 n].

    Raises:
        OrbitLensError: As `nt_xent`, and if a similarity is NaN.

    Example:
        >>> z = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
        >>> retrieval(z, z[:, [1, 0, 3, 2]], "C2").tolist()
        [True, True, True, True]
    """
    group = as_group(group)
    with usual_torch(), torch.no_grad():
        views = torch.cat(two_views(first, second, group)).flatten(1)
        views = views.to(torch.promote_types(views.dtype, torch.float32))
        own, partner = _among_views(views, group, similarity)
        if own.isnan().any():
            raise _no_similarity("one number for each pair", "NaN")
        others = own.scatter(1, _partners(len(own), own.device)[:, None], -torch.inf).amax(1)
        units = max(_ROUNDING, _MORE * views.shape[1] ** 0.5)
        rounding = units * torch.finfo(own.dtype).eps * partner.abs().clamp(min=1)
        return partner > others + rounding


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
            zero or not finite.

    Example:
        >>> simsiam(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), "C2")
        tensor([0.])
    """
    group = as_group(group)
    p = unit_functions("predicted", predicted, group)
    z = unit_functions("target", target, group).detach()
    check_same_shape("target", z, p)
    p, z = of_one_type(p, z)
    cosines = (moved_by_all(z, group) * p.flatten(1)).sum(-1)
    return (2 - 2 * cosines.amax(0)).clamp(0, 4)


def _among_views(
    views: Float[Tensor, "views dim"], group: Group, similarity: Similarity
) -> tuple[Float[Tensor, "views views"], Float[Tensor, " views"]]:
    """Return the similarities of all views, -inf to itself, and those of the partners."""
    n = len(views)
    if not callable(similarity):
        raise _no_similarity("a function, such as max_similarity", repr(similarity))
    found = similarity(views, views, group)
    if not isinstance(found, Tensor) or found.shape != (n, n) or not found.is_floating_point():
        got = f"shape {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise _no_similarity(f"floats of shape [{n}, {n}] for {n} views", got)
    partner = found.gather(1, _partners(n, found.device)[:, None]).squeeze(1)
    itself = torch.eye(n, dtype=torch.bool, device=found.device)
    return found.masked_fill(itself, -torch.inf), partner


def _partners(views: int, device: torch.device) -> Int[Tensor, " views"]:
    """Return the number of the other view of the same input, for each view."""
    return torch.arange(views, device=device).roll(views // 2)


def _no_similarity(expected: str, received: str) -> OrbitLensError:
    return OrbitLensError(
        "`similarity`",
        expected=expected,
        received=received,
        remedy="take one of orbitlens.symmetry.pretext, such as max_similarity",
    )
