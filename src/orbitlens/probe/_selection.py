"""Selection of latents: those whose codes differ most between the classes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.checks import as_axes, as_count, as_flags
from orbitlens.errors import OrbitLensError
from orbitlens.typing import Numbers


def rank_latents(codes: Numbers, labels: Numbers) -> Int[Tensor, "tasks latents"]:
    """Rank the latents for many binary tasks at once, by their absolute class-mean difference.

    difference[task, j] = |mean of z_j over positives - mean of z_j over negatives|

    Source: the Shapes probes of Erdogan & Lucic, arXiv 2511.09432.

    Args:
        codes: Codes of the training samples, shape [n, latents].
        labels: One column per task, shape [n, tasks].

    Returns:
        All latents of each task, the largest difference first, ties in the order of the latents.
        A task without positives or without negatives has no difference and keeps that order.

    Example:
        >>> codes = torch.tensor([[1.0, 0.0], [1.0, 5.0]])
        >>> rank_latents(codes, torch.tensor([[True], [False]])).tolist()
        [[1, 0]]
    """
    codes = as_axes("codes", codes, "n latents")
    labels = as_flags("labels", labels, "n tasks", size=len(codes)).to(codes.device)
    values, positive = codes.detach().double(), labels.double()
    positives = positive.sum(dim=0)[:, None]
    negatives = len(codes) - positives
    sums = positive.T @ values
    difference = sums / positives - (values.sum(dim=0) - sums) / negatives
    constant = (positives == 0) | (negatives == 0)
    return _largest_first(torch.where(constant, 0.0, difference.abs()))


def largest_mean_difference(codes: Numbers, labels: Numbers, t: int) -> Int[Tensor, " t"]:
    """Return the t latents with the largest absolute class-mean difference.

    Source: the Shapes probes of Erdogan & Lucic, arXiv 2511.09432.

    Args:
        codes: Codes of the training samples, shape [n, latents].
        labels: The positives, shape [n].
        t: How many to keep, from 1 to `latents`.

    Returns:
        Indices, the largest difference first, ties in the order of the latents, shape [t].

    Raises:
        OrbitLensError: If `t` is out of range.

    Example:
        >>> codes = torch.tensor([[0.0, 3.0, 1.0], [0.0, 1.0, 9.0]])
        >>> largest_mean_difference(codes, torch.tensor([True, False]), t=2).tolist()
        [2, 1]
    """
    codes = as_axes("codes", codes, "n latents")
    t = as_kept_count("`t`", t, codes.shape[1])
    positives = as_flags("labels", labels, "n", size=len(codes))
    return rank_latents(codes, positives[:, None])[0, :t]


def largest_between_class_variance(codes: Numbers, labels: Numbers, t: int) -> Int[Tensor, " t"]:
    """Return the t latents whose class means differ most, for any number of classes.

    variance[j] = sum_c (n_c / n) (mean of z_j over class c - mean of z_j)^2

    Source: the GalaxyMNIST and MLL23 probes of Erdogan & Lucic, arXiv 2511.09432.

    Args:
        codes: Codes of the training samples, shape [n, latents].
        labels: The class of each sample, shape [n]; any integers.
        t: How many to keep, from 1 to `latents`.

    Returns:
        Indices, the largest variance first, ties in the order of the latents, shape [t].

    Raises:
        OrbitLensError: If `t` is out of range.

    Example:
        >>> codes = torch.tensor([[0.0, 3.0], [0.0, 1.0], [5.0, 1.0]])
        >>> largest_between_class_variance(codes, torch.tensor([7, 7, 9]), t=1).tolist()
        [0]
    """
    codes = as_axes("codes", codes, "n latents", least=1)
    labels = as_classes("labels", labels, len(codes)).to(codes.device)
    t = as_kept_count("`t`", t, codes.shape[1])
    values = codes.detach().double()
    _, classes, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = values.new_zeros(len(counts), values.shape[1]).index_add_(0, classes, values)
    deviations = sums / counts[:, None] - values.mean(dim=0)
    return _largest_first((counts[:, None] * deviations.square()).sum(dim=0) / len(values))[:t]


def as_kept_count(name: str, kept: int, latents: int) -> int:
    """Return `kept`, which the caller calls `name`, from 1 to `latents`."""
    count = as_count(name.strip("`"), kept, least=0)
    if not 1 <= count <= latents:
        raise OrbitLensError(
            name,
            expected=f"from 1 to {latents} latents",
            received=kept,
            remedy="keep as many as there are, or fewer",
        )
    return count


def as_classes(name: str, labels: Numbers, n: int) -> Int[Tensor, " n"]:
    """Return the class of each of n samples, any whole numbers."""
    classes = as_axes(name, labels, "n", dtype=torch.float64, sizes={"n": n})
    if not torch.equal(classes, classes.round()):
        raise OrbitLensError(
            f"`{name}`",
            expected="classes, whole numbers",
            received="fractions",
            remedy="number the classes",
        )
    return as_axes(name, labels, "n", dtype=torch.int64)  # float64 merges those above 2^53


def _largest_first(values: Float[Tensor, "*tasks latents"]) -> Int[Tensor, "*tasks latents"]:
    """Sort indices by decreasing value; a stable sort keeps ties in the order of the latents."""
    return values.argsort(dim=-1, descending=True, stable=True)
