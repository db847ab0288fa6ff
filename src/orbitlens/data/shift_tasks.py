"""Linear tasks that share a symmetry: filters on a line, whole or in parts, and turned filters.

Source: Zhou, Knowles & Finn 2021, arXiv 2007.02933, *Meta-Learning Symmetries by
Reparameterization*, and the code of its synthetic experiments.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import as_count, as_seed, as_switch, check_memory
from orbitlens.data.task_families import Episodes, HeldTasks
from orbitlens.errors import out_of_range
from orbitlens.groups import cyclic, dihedral
from orbitlens.reps import Representation, direct_sum, permutation, regular

_CHUNK = 256  # tasks whose weights are held at once
_SIDE = 3  # taps of a kernel in each direction


@dataclass(frozen=True, eq=False)
class ShiftTasks:
    """Linear maps on a line that share filters, and the space in which they lie.

    Args:
        tasks: The examples, inputs [tasks, examples, length] and targets [tasks, examples, places].
        basis: Spans the space of the weight matrices of all tasks, shape [places * length, dim],
            the rows of a matrix one after the other; None if the tasks share nothing.
    """

    tasks: HeldTasks
    basis: Float[Tensor, "weights dim"] | None


def shift_tasks(
    n_tasks: int,
    *,
    rank: int | None = 1,
    examples: int = 20,
    length: int = 70,
    width: int = 3,
    seed: int = 0,
) -> ShiftTasks:
    """Draw tasks whose weights repeat along a line, wholly or in part.

        y_i = sum_t (S F)_it x_(i+t),   S = softmax(N(0, 1)) over its rows,   F ~ N(0, 1)

    S, one row for each place, is drawn once for all tasks; F, `rank` filters, for each task. With
    rank 1 every task is a convolution. With more, places mix filters of their own, so a convolution
    cannot do it, though the weights still lie in a space of rank * width dimensions. There is no
    padding and no noise. Without a rank, every task draws a matrix of its own with the variance of
    rank 1: a family that shares nothing.

    Source: Zhou et al. 2021, arXiv 2007.02933, and the code of its one-dimensional experiments.

    Args:
        n_tasks: Number of tasks.
        rank: Filters of a task; None for tasks that share nothing.
        examples: Examples of each task.
        length: Length of an input.
        width: Width of a filter, at most the length.
        seed: The same seed gives the same tasks.

    Returns:
        The tasks, float32, and the space of their weights.

    Raises:
        OrbitLensError: If a number is below 1, or the filter wider than the input.

    Example:
        >>> drawn = shift_tasks(10, rank=2)
        >>> drawn.tasks.y.shape, drawn.basis.shape
        (torch.Size([10, 20, 68]), torch.Size([4760, 6]))
    """
    sizes = {"n_tasks": n_tasks, "examples": examples, "length": length}
    n_tasks, examples, length = (as_count(name, value) for name, value in sizes.items())
    width = as_count("width", width, most=length)
    rank = None if rank is None else as_count("rank", rank)
    places = length - width + 1
    subject = f"{n_tasks} tasks with {examples} examples"
    check_memory(subject, 8 * n_tasks * examples * length, "choose fewer tasks or examples")
    generator = torch.Generator().manual_seed(as_seed(seed))
    x = torch.randn(n_tasks, examples, length, generator=generator)
    basis = None
    if rank is not None:
        mixing = torch.randn(places, rank, generator=generator).softmax(1)
        basis = _basis(mixing, length, width)
    targets = []
    for part in x.split(_CHUNK):
        if basis is None:
            weights = torch.randn(len(part), places, length, generator=generator)
            weights *= (width / length) ** 0.5
        else:
            filters = torch.randn(len(part), basis.shape[1], generator=generator)
            weights = (filters @ basis.T).view(-1, places, length)
        targets.append(part @ weights.mT)
    name = f"shift tasks of rank {rank}" if rank else "tasks that share nothing"
    return ShiftTasks(HeldTasks(name, x, torch.cat(targets)), basis)


def _basis(mixing: Float[Tensor, "places rank"], length: int, width: int) -> Tensor:
    """Return the weights that each tap of each filter gives, as columns."""
    places, rank = mixing.shape
    basis = torch.zeros(places, length, rank, width)
    for tap in range(width):
        rows = torch.arange(places)
        basis[rows, rows + tap, :, tap] = mixing
    return basis.view(places * length, rank * width)


@dataclass(frozen=True, eq=False)
class TurnedFields:
    """Convolutions from images to fields of turned filters, drawn when they are asked for.

        y[f, g] = x * (g w_f),   w_f ~ N(0, 1/9) on 3 x 3 taps

    g shifts the eight outer taps along their ring by steps of 45 degrees; with flips it also
    mirrors them. Channel f |G| + g of the output belongs to element g. Images are standard normal,
    with one channel; there is no padding and no noise.

    Source: Zhou et al. 2021, arXiv 2007.02933, whose two-dimensional targets are made by e2cnn; the
    shift of the ring, exact on the grid, stands in for it.

    Args:
        fields: Filters of a task.
        side: Height and width of the images, at least 3.
        flips: Whether the group has the mirror images as well, 16 elements instead of 8.

    Raises:
        OrbitLensError: If there is no field, or images are smaller than a filter.

    Example:
        >>> drawn = TurnedFields(side=6).draw(
        ...     2, support=1, query=4, generator=torch.Generator()
        ... )
        >>> drawn.query_y.shape
        torch.Size([2, 4, 24, 4, 4])
    """

    fields: int = 3
    side: int = 32
    flips: bool = False

    def __post_init__(self) -> None:
        as_count("fields", self.fields)
        as_switch("flips", self.flips)
        if as_count("side", self.side) < _SIDE:
            raise out_of_range("side", f"at least {_SIDE} pixels, as a filter", self.side)

    @property
    def identity(self) -> str:
        """The settings, which determine all tasks."""
        return f"{self.fields} fields of {self.taps.group.name} on {self.side} pixels"

    @cached_property
    def taps(self) -> Representation:
        """How the group moves the nine taps, row by row: a permutation of the ring."""
        group = dihedral(len(_RING)) if self.flips else cyclic(len(_RING))
        steps = [_on_taps([(i + 1) % len(_RING) for i in range(len(_RING))])]
        # Left and right change places: corner 0 goes to corner 2 of the ring.
        steps += [_on_taps([(2 - i) % len(_RING) for i in range(len(_RING))])] if self.flips else []
        return permutation(group, steps)

    @cached_property
    def channels(self) -> Representation:
        """How the group moves the channels of the output: one regular representation per field."""
        return direct_sum(*[regular(self.taps.group)] * self.fields)

    def draw(
        self, n_tasks: int, *, support: int, query: int, generator: torch.Generator
    ) -> Episodes:
        """Draw new tasks with new examples.

        Args:
            n_tasks: Number of tasks.
            support: Examples of each to adapt on.
            query: Examples of each to be tested on.
            generator: All random numbers come from it.

        Raises:
            OrbitLensError: If a number is below 1.
        """
        sizes = {"n_tasks": n_tasks, "support": support, "query": query}
        n_tasks, support, query = (as_count(name, value) for name, value in sizes.items())
        shape = (n_tasks, support + query, 1, self.side, self.side)
        x = torch.randn(shape, generator=generator)
        filters = torch.randn(n_tasks, self.fields, _SIDE**2, generator=generator) / _SIDE
        turned = torch.einsum("gij,nfj->nfgi", self.taps.matrices.float(), filters).flatten(1, 2)
        patches = x[:, :, 0].unfold(2, _SIDE, 1).unfold(3, _SIDE, 1).flatten(-2)
        y = torch.einsum("nehwi,nci->nechw", patches, turned)
        return Episodes(x[:, :support], y[:, :support], x[:, support:], y[:, support:])


# The outer taps of a 3 x 3 kernel in the order of the ring, by their number row by row.
_RING = (0, 1, 2, 5, 8, 7, 6, 3)


def _on_taps(images: list[int]) -> list[int]:
    """Return a permutation of the ring as one of all taps; the tap in the middle stays."""
    moved = list(range(_SIDE**2))
    for place, image in enumerate(images):
        moved[_RING[place]] = _RING[image]
    return moved
