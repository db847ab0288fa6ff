"""The interface of training data: orbits of some stores, and the batches that a stack sees.

`HeldData` keeps the orbits in memory; `StreamedData` reads them from disk in buffers.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from orbitlens.training._member import Member
from orbitlens.training._source import Source
from orbitlens.training._views import Batch
from orbitlens.typing import Float, StackedActivations, Tensor


class Feed(ABC):
    """The interface: the batches of a stack, one epoch after the other."""

    @abstractmethod
    def start_epoch(self, epoch: int) -> None:
        """Draw the order and the elements of an epoch, counted from 0."""

    @abstractmethod
    def batch(self, number: int) -> Batch:
        """Return a batch of the epoch; batches are requested in their order."""

    @abstractmethod
    def note(self, targets: StackedActivations) -> None:
        """Measure the targets of a batch, [member, batch, dim], while they are in cache."""

    @abstractmethod
    def variance(self) -> Float[Tensor, " member"]:
        """Sum of the targets' squared distances from their mean over the whole epoch, float64."""

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that `restore` needs to continue within the epoch."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue, after `start_epoch`, as if the batches so far had been seen."""
        del state


class TrainingData(ABC):
    """The interface: the scaled orbits of some stores, equally many of each.

    Attributes:
        sources: The scale and the means of each store.
        depends_on_memory: Whether the memory budget determines the order of the orbits.
    """

    sources: Sequence[Source]
    depends_on_memory: bool

    @abstractmethod
    def every(self, source: Source, stride: int) -> Float[Tensor, "rows dim"]:
        """Return the scaled rows of about every `stride`-th orbit of a source."""

    @abstractmethod
    def make_feed(self, members: Sequence[Member], batch_size: int, *, moved: bool) -> Feed:
        """Return the batches of a stack, whose targets are moved samples or canonical ones."""
