"""Where the entries of a sparse matrix are."""

from dataclasses import dataclass
from functools import cached_property

import torch

from orbitlens.kernels._choice import kernels_on
from orbitlens.typing import Int, Tensor

_WORTH_IT = 2**12
"""Entries from which on a CPU sorts them by a compiled loop."""


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where the entries of a sparse matrix are, row after row.

    `starts` counts the entries before each row, and all; `columns` is the column of each entry, and
    `width` the number of columns.
    """

    starts: Int[Tensor, " ends"]
    columns: Int[Tensor, " entries"]
    width: int

    @property
    def height(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    @cached_property
    def rows(self) -> Int[Tensor, " entries"]:
        """The row of each entry, shape [entries]."""
        rows = torch.arange(self.height, device=self.columns.device)
        return rows.repeat_interleave(self.starts.diff(), output_size=len(self.columns))

    @cached_property
    def across(self) -> tuple[Int[Tensor, " entries"], "Pattern"]:
        """The entries column after column, and the pattern of the transpose; sorted once."""
        if self.columns.is_cpu and len(self.columns) >= _WORTH_IT:
            kernels = kernels_on(self.columns.device)
            if kernels is not None:
                order, starts, rows = kernels.across(self.starts, self.columns, self.width)
                return order, Pattern(starts, rows, self.height)
        # Numbers half as long are sorted in little more than half the time.
        order = self.columns.int().argsort(stable=True)
        return order, Pattern(starts_of(self.columns, self.width), self.rows[order], self.height)

    @property
    def transposed(self) -> "Pattern":
        """The pattern of the transpose."""
        return self.across[1]


def starts_of(rows: Int[Tensor, " entries"], height: int) -> Int[Tensor, " ends"]:
    """Return the number of entries before each row, and in all; see `Pattern`."""
    # Like `bincount`, which makes the host wait for a GPU.
    counts = rows.new_zeros(height).scatter_add_(0, rows, torch.ones_like(rows))
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
