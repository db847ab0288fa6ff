"""What a transport of a wide layer would cost, said before hours are spent."""

from collections.abc import Sized

import torch

from orbitlens.activations import ActivationStore
from orbitlens.checks import check_memory
from orbitlens.errors import warn

_REMEDY = (
    'fit the transport "low_rank" with a smaller rank, or keep fewer directions of the layer '
    "(`max_dim` of `harvest_layers`)"
)
_LONG = 600.0
"""Seconds from which on a fit is worth a warning."""
_PER_PRODUCT = 1e-10
"""Seconds of a multiplication in a product of matrices in float64, in one thread."""
_PER_DECOMPOSITION = 5e-10
"""Seconds per cube of the width that each element takes, mostly for singular values."""
_COPIES = 4
"""Matrices in float64 for each element that a fit holds at once."""


def check_cost(
    store: ActivationStore,
    train: Sized,
    *,
    width: int | None = None,
    height: int | None = None,
    passes: int = 1,
) -> None:
    """Refuse a fit whose matrices exceed the memory, and warn of one that takes long.

    The fit sums matrices [height, width], for each element one, in so many passes over the orbits,
    and decomposes matrices of this width; both are the width of the store by default.
    """
    width = width or store.dim
    height, order = height or width, store.group.order
    subject = f"a transport of layer {store.layer!r} under {store.group.name}, {width} wide"
    check_memory(subject, _COPIES * 8 * order * height * width, _REMEDY)
    sums = passes * len(train) * store.positions * order**2 * height * width
    seconds = _seconds(sums, order, width)
    if seconds > _LONG:
        warn(subject, found=f"it takes {_duration(seconds)} or longer", remedy=_REMEDY)


def _seconds(sums: int, order: int, width: int) -> float:
    """Return roughly the time of so many multiplications, and of all that follows from the sums."""
    products = sums + order**2 * width**3
    decompositions = _PER_DECOMPOSITION * order * width**3
    return _PER_PRODUCT * products / torch.get_num_threads() + decompositions


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return f"about {hours:.0f} hours" if hours >= 1.5 else f"about {seconds / 60:.0f} minutes"
