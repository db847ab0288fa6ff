"""Inputs that are read when they are needed, so that a data set may be larger than memory.

They replace a tensor of all inputs: they have a length and a shape, and slices and indices give
tensors.
"""

import mmap
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor
from torch.utils.data import DataLoader

from orbitlens.checks import as_count
from orbitlens.data._digest import header_hash, numbers_of
from orbitlens.errors import OrbitLensError, one_line


@runtime_checkable
class Indexed(Protocol):
    """The type of everything with a length and items: lists, numpy.memmap, data sets of torch."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


@final
class LazyInputs:
    """Inputs of one shape and type, each read when it is needed and not kept.

    Args:
        read: `read(i)` returns input i, a tensor or an array [*axes], the same every time, in any
            byte order. It may return a tuple that begins with the input, such as (image, label).
        n: Number of inputs.
        content: The result of `content()` if it is known.
        rows: The result of `rows()` then.

    Raises:
        OrbitLensError: If the first input cannot be read. Later, if another one cannot, is of
            another shape or type, holds NaN or infinity, or if one that `content` has read has
            other numbers when it is read again.

    Example:
        >>> squares = LazyInputs(lambda i: torch.full((1, 2, 2), float(i * i)), n=10)
        >>> squares.shape, squares[2:4].amax((1, 2, 3)).tolist()
        (torch.Size([10, 1, 2, 2]), [4.0, 9.0])
    """

    def __init__(
        self, read: Callable[[int], Any], n: int, *, content: Any = None, rows: Sequence[int] = ()
    ) -> None:
        n = as_count("n", n, least=0)
        self._read, self._n, self._content = read, n, content
        self._rows = list(rows)
        self._labels: list[int | None] = []
        first = self._pair(0)[0] if n else torch.empty(0)
        self.shape, self.dtype = torch.Size((n, *first.shape)), first.dtype

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: Any) -> Shaped[Tensor, "..."]:
        """Read one input, or those of a slice or of indices, stacked."""
        if not isinstance(index, bool) and hasattr(index, "__index__") and np.ndim(index) == 0:
            return self._checked(range(self._n)[operator.index(index)])
        every = range(self._n)
        wanted = every[index] if isinstance(index, slice) else np.array(every)[index].tolist()
        if not wanted:
            return torch.empty((0, *self.shape[1:]), dtype=self.dtype)
        return torch.stack([self._checked(i) for i in wanted])

    @property
    def ndim(self) -> int:
        """Number of axes, including the axis of the inputs."""
        return len(self.shape)

    @property
    def device(self) -> torch.device:
        """Device of the inputs after reading: the CPU."""
        return torch.device("cpu")

    def content(self) -> Any:
        """Return the hash of shape, type and all numbers. The first call reads every input once."""
        if self._content is None:
            self._content = header_hash(
                str(numbers_of(torch.empty(0, dtype=self.dtype)).dtype), self.shape
            )
            rows, labels = [], []
            for i in range(self._n):
                item, label = self._pair(i)
                values = numbers_of(self._check(i, item))
                self._content.update(values.data)
                rows.append(hash(values.tobytes()))
                labels.append(label)
            self._rows, self._labels = rows, labels
        return self._content.copy()

    def labels(self) -> Int64[np.ndarray, " n"] | None:
        """Return the labels of (input, label) pairs, as `content` found them.

        None if nobody read them, or if an item has no label that is a whole number from 0.
        """
        labels = [label for label in self._labels if label is not None and 0 <= label < 2**63]
        return np.array(labels, dtype=np.int64) if 0 < len(labels) == self._n else None

    def rows(self) -> list[int]:
        """Return a hash of each input, as `content` found them; none if nobody told."""
        return list(self._rows)

    def _checked(self, index: int) -> Tensor:
        return self._check(index, self._pair(index)[0])

    def _check(self, index: int, item: Tensor) -> Tensor:
        if (item.shape, item.dtype) != (self.shape[1:], self.dtype):
            raise OrbitLensError(
                f"input {index}",
                expected=f"{list(self.shape[1:])} in {self.dtype}, as input 0",
                received=f"{list(item.shape)} in {item.dtype}",
                remedy="bring inputs to one shape and type",
            )
        if item.is_floating_point() and not bool(torch.isfinite(item).all()):
            raise OrbitLensError(
                f"input {index}",
                expected="finite numbers",
                received=f"{int((~torch.isfinite(item)).sum())} NaN or infinite values",
                remedy="repair the inputs, or leave out those that are damaged",
            )
        if self._rows and hash(numbers_of(item).tobytes()) != self._rows[index]:
            raise OrbitLensError(
                f"input {index}",
                expected="the same numbers every time it is read",
                received="other numbers the second time",
                remedy="leave random steps, such as augmentations, out of the data set, and change "
                "none of its files meanwhile",
            )
        return item

    def _pair(self, index: int) -> tuple[Tensor, int | None]:
        """Read an input, and its label if it comes with one."""
        try:
            item, label = self._read(index), None
            if isinstance(item, tuple):
                item, label = item[0], _label_in(item)
            if isinstance(item, Tensor):
                # Copied, since some data sets return one buffer that they fill each time.
                return item.detach().to("cpu", copy=True), label
            return torch.tensor(_array(item)), label
        except (OrbitLensError, MemoryError):
            raise
        except Exception as error:  # a user's reader may raise anything
            raise OrbitLensError(
                f"input {index}",
                expected="numbers, as a tensor or an array",
                received=f"{type(error).__name__}: {one_line(error)}",
                remedy="correct the function that reads it, or leave it out",
            ) from error


Rows = Shaped[Tensor, "n *axes"] | LazyInputs


def as_rows(inputs: object) -> Rows:
    """Return a tensor unchanged, and anything else with a length and items as lazy inputs."""
    if isinstance(inputs, Tensor | LazyInputs):
        return inputs
    if isinstance(inputs, DataLoader):
        raise OrbitLensError(
            "`inputs`",
            expected="inputs that can be read one by one",
            received="a DataLoader, which makes batches and may shuffle them",
            remedy="give the data set that it reads, `loader.dataset`",
        )
    if isinstance(inputs, str | bytes | Mapping) or not isinstance(inputs, Indexed):
        raise OrbitLensError(
            "`inputs`",
            expected="a tensor, or something with a length and items such as a list or a data set",
            received=type(inputs).__name__,
            remedy="make a list of it, or give LazyInputs(read, n)",
        )
    return LazyInputs(_reader_of(inputs), _length_of(inputs))


def _length_of(inputs: Indexed) -> int:
    try:
        return len(inputs)
    except Exception as error:  # a user's data set may raise anything
        raise OrbitLensError(
            "`inputs`",
            expected="a length, a whole number from 0",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="correct its __len__, or give LazyInputs(read, n)",
        ) from error


def copies_among(inputs: Rows) -> list[int]:
    """Return a hash of each input, the same for inputs of the same bytes; none if not known."""
    if isinstance(inputs, LazyInputs):
        return inputs.rows()
    return [hash(numbers_of(row).tobytes()) for row in inputs]


def _reader_of(inputs: Indexed) -> Callable[[int], Any]:
    """Return a function that reads an item and keeps no memory of it."""
    mapped: mmap.mmap | None = getattr(inputs, "_mmap", None)
    if mapped is None or not isinstance(inputs, np.memmap) or inputs.mode == "c":
        return inputs.__getitem__

    def read(i: int) -> Shaped[np.ndarray, "*axes"]:
        item = np.array(inputs[i])
        # Pages that were read would stay in memory. Mode "c" is exempt: its changes live there.
        mapped.madvise(mmap.MADV_DONTNEED)
        return item

    return read


def _label_in(item: tuple[Any, ...]) -> int | None:
    """Return the whole number that comes second in a tuple; None if there is another thing."""
    label = item[1] if len(item) > 1 else None
    if isinstance(label, Tensor | np.ndarray) and label.ndim == 0:
        label = label.item()
    if isinstance(label, int | np.integer) and not isinstance(label, bool):
        return int(label)
    return None


def _array(item: Any) -> Shaped[np.ndarray, "*axes"]:
    if isinstance(item, np.ma.MaskedArray) and np.ma.is_masked(item):
        raise TypeError(f"an array with {int(item.mask.sum())} masked entries")
    array = np.asarray(item)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{type(item).__name__} {item!r}")
    # Torch has the byte order of this machine alone; files such as FITS have the other one.
    return array.astype(array.dtype.newbyteorder("="), copy=False)
