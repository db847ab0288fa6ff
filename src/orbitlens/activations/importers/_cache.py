"""The cache of another library as a record: shards of rows. Every importer returns one.

Each read opens the file, copies its rows and closes it, so no more than one block is ever mapped
into memory.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32, Shaped
from safetensors import SafetensorError

from orbitlens.activations.store._on_disk import check_finite, to_float32
from orbitlens.errors import OrbitLensError, one_line, unknown_name
from orbitlens.files import TO_READ, place_error
from orbitlens.groups import Group
from orbitlens.typing import Progress

_BLOCK_BYTES = 16 * 2**20


@final
@dataclass(frozen=True, eq=False)
class Shard:
    """One file of a cache; `read` returns its rows from `start` to `stop`, of any floating type."""

    path: Path
    rows: int
    row: tuple[int, ...]
    dtype: str
    read: Callable[[int, int], Shaped[np.ndarray, "_ *row"]]


@final
@dataclass(frozen=True, eq=False)
class Cache:
    """All files of a cache that have rows, in their order.

    A row is the activation of one moved input; in a `whole` cache it is the orbit of an input,
    [|G|, (positions,) dim].
    """

    model: str
    layer: str
    shards: tuple[Shard, ...]
    whole: bool = False

    @classmethod
    def of(
        cls, model: str, layer: str, shards: Sequence[Shard], *, place: Path, whole: bool = False
    ) -> "Cache":
        """Return the cache of some files, after a check that they belong together."""
        filled = tuple(shard for shard in shards if shard.rows)
        if not filled or 0 in filled[0].row:
            raise OrbitLensError(
                str(place),
                expected="activations",
                received="no rows" if not filled else f"rows of shape {list(filled[0].row)}",
                remedy="cache the activations again",
            )
        first = filled[0]
        for shard in filled:
            if (shard.dtype, shard.row) != (first.dtype, first.row):
                raise OrbitLensError(
                    str(shard.path),
                    expected=f"rows of shape {list(first.row)} in {first.dtype}, as in "
                    f"{first.path.name}",
                    received=f"shape {list(shard.row)} in {shard.dtype}",
                    remedy="put files of one layer and one type alone into the folder",
                )
        return cls(model, layer, filled, whole)

    @property
    def rows(self) -> int:
        """Number of rows in all files."""
        return sum(shard.rows for shard in self.shards)

    def digest(self) -> str:
        """Return a fingerprint of shapes, types, and the first and last row of every file.

        The whole cache may be too large to read for this.
        """
        seen = hashlib.sha256(self.layer.encode())
        for shard in self.shards:
            seen.update(f"{shard.rows} {shard.row} {shard.dtype}".encode())
            for start in (0, shard.rows - 1):
                seen.update(np.ascontiguousarray(shard.read(start, start + 1)).tobytes())
        return seen.hexdigest()[:16]

    def orbits(
        self, group: Group, progress: Progress | None = None
    ) -> Iterator[Float32[np.ndarray, "_ group *rest"]]:
        """Yield the orbits in order as float32, [batch, |G|, (positions,) dim].

        Unless rows are orbits, |G| consecutive rows are one.
        """
        order = 1 if self.whole else group.order
        n, done = self.rows // order, 0
        pending: list[Shaped[np.ndarray, "_ *row"]] = []
        for block in self._blocks(order):
            pending.append(block)
            held = sum(map(len, pending))
            if held < order:
                continue
            rows = np.concatenate(pending) if len(pending) > 1 else block
            split = held - held % order
            # The start of an orbit that continues in the next file.
            pending = [rows[split:]]
            orbits = rows[:split]
            if not self.whole:
                orbits = orbits.reshape(-1, order, *orbits.shape[1:])
            orbits = to_float32(orbits, done)
            check_finite(orbits, start=done)
            yield orbits
            done += len(orbits)
            if progress is not None:
                progress(done, n)

    def _blocks(self, order: int) -> Iterator[Shaped[np.ndarray, "_ *row"]]:
        for shard in self.shards:
            size = max(1, _BLOCK_BYTES // (4 * int(np.prod(shard.row)) * order)) * order
            for start in range(0, shard.rows, size):
                # A copy, so that the file can be closed.
                yield np.array(shard.read(start, min(start + size, shard.rows)))


def choose_layer(place: Path, layer: str | int | None, known: Sequence[str]) -> str:
    """Return the layer to import: the one asked for, or the only one."""
    if layer is not None:
        if str(layer) not in known:
            raise unknown_name(f"`layer` of {place}", str(layer), known)
        return str(layer)
    if len(known) != 1:
        raise OrbitLensError(
            f"`layer` of {place}",
            expected=f"one of {', '.join(known)}",
            received="none",
            remedy="say which layer to import",
        )
    return known[0]


@contextmanager
def damage_errors(
    path: Path, expected: str, remedy: str = "the file is missing or truncated; copy it again"
) -> Iterator[None]:
    """Turn the errors of reading a file into one line."""
    try:
        yield
    except OrbitLensError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        # Safetensors reports every file that it cannot open as missing.
        if isinstance(error, PermissionError) or (path.exists() and not os.access(path, os.R_OK)):
            denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            raise place_error(path, denied, TO_READ) from error
        raise OrbitLensError(
            str(path),
            expected=expected,
            received="no such file"
            if isinstance(error, FileNotFoundError)
            else f"damage ({one_line(error)})",
            remedy=remedy,
        ) from error
