"""The activation store: whole orbits on disk, read by sample.

A store is a Zarr 3 group. It holds the array `activations`, [n, |G|, dim] or
[n, |G|, positions, dim], in shards of whole orbits; every chunk of a shard has a checksum. It also
holds the arrays `labels` and `files`, if there are labels and names of files, and attributes that
describe where the activations come from. The array is float32, float16, or the bits of bfloat16;
readers get float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import zarr
from jaxtyping import Float, Float32, Int, Shaped
from torch import Tensor

from orbitlens.activations.store._checksums import Checksums, read_samples, read_span
from orbitlens.activations.store._on_disk import (
    DAMAGE,
    REMAKE,
    Samples,
    describe_damage,
    from_disk,
    never_written,
    shards_of,
)
from orbitlens.activations.store._shard_reader import ShardFiles, as_slice
from orbitlens.checks import as_count, as_samples
from orbitlens.errors import DamageError, OrbitLensError, one_line, without_credentials
from orbitlens.groups import Group

_HELD_OUT_SHARE = 0.2
_DENSE = 2


@final
@dataclass(frozen=True, eq=False, repr=False)
class ActivationStore:
    """The activations of one layer over the orbits of n inputs.

    Args:
        path: Its folder or URL; None for a store in memory.
        group: The group that moved the inputs.
        action: The name of the action that moved them, such as "images".
        action_config: Settings of that action, such as the interpolation.
        model: The name of the network.
        layer: The dotted name of the layer.
        digest: Fingerprint of the inputs.
        labels: One class index per sample, or None.
        class_names: The names of the classes; empty if they have none.
        moves: `moves[g, p]` is the position to which position p moves under element g; None if
            positions stay, or if there is only one.
        array: The activations as they are stored, [n, |G|, dim] or [n, |G|, positions, dim].
        dtype: The type on disk: "float32" (the default), "float16" or "bfloat16".
        mean: Mean map that is subtracted when activations are read, shape [positions, dim]; None
            (the default) for nothing. See `about`.
        checksums: The checksum of every chunk as it was written; None in memory, and for stores of
            earlier versions.
        fingerprint: Digits that change with any stored number; empty where there are no checksums.
        layout: The axes of the layer's output: "axes" in letters such as "n 1+l c", "channels",
            "places", and how many of these come "first" and are none. None for given arrays and
            stores of earlier versions.
        files: The file, or another name, of each sample; empty (the default) where there are none.

    Example:
        >>> from orbitlens.activations import store_from_array
        >>> from orbitlens.groups import cyclic
        >>> store = store_from_array(np.zeros((5, 3, 7), dtype=np.float32), group=cyclic(3))
        >>> store
        ActivationStore(in memory, n=5, group=C3, positions=1, dim=7)
        >>> store.orbits(np.array([0, 4])).shape
        torch.Size([2, 3, 7])
    """

    path: Path | str | None
    group: Group
    action: str
    action_config: dict[str, Any]
    model: str
    layer: str
    digest: str
    labels: Int[np.ndarray, " n"] | None
    class_names: tuple[str, ...]
    moves: Int[np.ndarray, "group position"] | None
    array: zarr.Array[Any]
    dtype: str = "float32"
    mean: Float[Tensor, "position dim"] | None = None
    checksums: Checksums | None = None
    fingerprint: str = ""
    layout: dict[str, Any] | None = None
    files: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Number of samples, that is, of orbits per position."""
        return int(self.array.shape[0])

    @property
    def positions(self) -> int:
        """Positions per sample: tokens or places of a map; 1 for vectors."""
        return int(self.array.shape[2]) if self.array.ndim == 4 else 1

    @property
    def dim(self) -> int:
        """Width of an activation."""
        return int(self.array.shape[-1])

    @property
    def shard_samples(self) -> int:
        """Samples per shard; a disk reads them together at full speed."""
        return shards_of(self.array).samples

    def orbits(self, indices: Samples | None = None) -> Float[Tensor, "rows group dim"]:
        """Return the orbits of the given samples, positions aligned.

        Row i * positions + p holds, for each g, the activation at the place to which p moves under
        g, so that psi(gx) at gp stands beside psi(x) at p.

        Args:
            indices: Samples, in any order, or a boolean mask; all of them by default.

        Returns:
            One row per sample and position, shape [rows, |G|, dim], float32.

        Raises:
            OrbitLensError: If an index is out of range, or a shard of the store is damaged.
        """
        if indices is None:
            return self._read(slice(None))
        return self._read(as_samples(indices, self.n, "indices"))

    def chunks(
        self, indices: Samples | None = None, size: int = 4096
    ) -> Iterator[Float[Tensor, "rows group dim"]]:
        """Yield the rows of `orbits` in order, about `size` at a time.

        Args:
            indices: Samples, in any order, or a boolean mask; all of them by default.
            size: Rows per piece, default 4096; a piece holds whole samples, at least one.

        Raises:
            OrbitLensError: If an index is out of range, or a shard of the store is damaged.
        """
        samples = max(1, size // self.positions)
        stored = int(self.array.chunks[0])
        if indices is not None:
            chosen = as_samples(indices, self.n, "indices")
            for start in range(0, len(chosen), samples):
                yield self._read(chosen[start : start + samples])
            return
        if samples > stored:
            samples -= samples % stored  # read each stored chunk once
        for start in range(0, self.n, samples):
            yield self._read(slice(start, start + samples))

    def about(self, mean: Float[Tensor, "..."] | None) -> "ActivationStore":
        """Return a view of the store that reads activations as deviations from a mean map.

        orbits[i, p, g] = psi(g x_i)[gp] - mean[gp]

        The part of a map that is the same for every input, such as a position embedding, does not
        turn with the input. A spatial transport moves maps about their mean map, and the codes of
        an orbit SAE trained about it follow the transport. Nothing on disk changes.

        Args:
            mean: The mean map, shape [positions, dim], such as `rho.motion.mean`; None for the
                activations as they are.

        Returns:
            The view. Its mean replaces that of an earlier view.

        Raises:
            OrbitLensError: If the mean is of another shape, or holds NaN or infinity.

        Example:
            >>> from orbitlens.activations import store_from_array
            >>> from orbitlens.groups import cyclic
            >>> store = store_from_array(np.ones((5, 3, 2, 7), dtype=np.float32), group=cyclic(3))
            >>> store.about(torch.full((2, 7), 0.25)).orbits().unique().tolist()
            [0.75]
        """
        shape = (self.positions, self.dim)
        if mean is not None and not (mean.shape == shape and mean.isfinite().all()):
            raise OrbitLensError(
                "`mean`",
                expected=f"finite numbers of shape {list(shape)}, one row for each position",
                received=f"shape {list(mean.shape)}" if mean.shape != shape else "NaN or infinity",
                remedy="give the mean map of a spatial transport of this store, `rho.motion.mean`",
            )
        return replace(self, mean=None if mean is None else mean.detach().cpu().float())

    def split(self) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " held_out"]]:
        """Return the samples to fit on and the samples to measure on, see `split_samples`."""
        return split_samples(self.n)

    def require(
        self, *, group: Group | None = None, model: str | None = None, layer: str | None = None
    ) -> None:
        """Check that the store has the group, network and layer that something was fitted on.

        Args:
            group: The group expected; None accepts any.
            model: The name of the network expected; None accepts any.
            layer: The layer expected; None accepts any.

        Raises:
            OrbitLensError: If the store is of another group, model or layer; names both.
        """
        if group is not None:
            group.check_same_elements(self.group, f"{self}")
        pairs = (
            ("group", group, self.group),
            ("model", model, self.model),
            ("layer", layer, self.layer),
        )
        other = [(word, want, have) for word, want, have in pairs if want not in (None, have)]
        if other:
            raise OrbitLensError(
                f"store of another {' and '.join(word for word, _, _ in other)}",
                expected=", ".join(f"{word} {_name(want)}" for word, want, _ in other),
                received=", ".join(f"{word} {_name(have)}" for word, _, have in other),
                remedy="use the store that belongs to it, or fit it again on this one",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready summary, without the numbers."""
        return {
            "path": None if self.path is None else without_credentials(str(self.path)),
            "group": self.group.name,
            "order": self.group.order,
            "action": self.action,
            "action_config": self.action_config,
            "model": self.model,
            "layer": self.layer,
            "digest": self.digest,
            "n": self.n,
            "positions": self.positions,
            "dim": self.dim,
            "dtype": self.dtype,
            "layout": self.layout,
            "labelled": self.labels is not None,
            "class_names": list(self.class_names),
            "with_files": bool(self.files),
        }

    def __repr__(self) -> str:
        place = "in memory" if self.path is None else without_credentials(str(self.path))
        return (
            f"ActivationStore({place}, n={self.n}, group={self.group.name}, "
            f"positions={self.positions}, dim={self.dim})"
        )

    def _read(self, samples: slice | Int[np.ndarray, " n"]) -> Float[Tensor, "rows group dim"]:
        with self._naming_damage(samples):
            found = self._stored(as_slice(samples))
            if never_written(found):
                raise ValueError("a shard is missing")
        return torch.from_numpy(self._rows(found))

    def _read_to(
        self, rows: Float[Tensor, "rows group dim"], samples: Int[np.ndarray, " n"], scale: float
    ) -> None:
        """Read samples, in rising order, into rows, multiplied by a scale."""
        into = rows.numpy().reshape(len(samples), -1)
        if self._files is None:
            first, end = int(samples[0]), int(samples[-1]) + 1
            block = self._read(slice(first, end)).numpy().reshape(end - first, -1)
            np.take(block, samples - first, axis=0, out=into, mode="clip")
            np.multiply(into, np.float32(scale), out=into)
            return
        with self._naming_damage(samples):
            for begin, chunk, wanted in self._files.pieces(samples):
                # The chunk lies in the processor's cache: scale it there, then copy to memory.
                block = self._rows(chunk).reshape(len(chunk), -1)
                np.multiply(block, np.float32(scale), out=block)
                part = into[begin : begin + len(wanted)]
                np.take(block, wanted, axis=0, out=part, mode="clip")

    def _rows(
        self, stored: Shaped[np.ndarray, "n group *_"]
    ) -> Float32[np.ndarray, "rows group dim"]:
        """Return the rows of stored samples: deviations from the mean, positions aligned."""
        block = from_disk(stored, self.dtype)
        if self.mean is not None:
            block = block - (self.mean if block.ndim == 4 else self.mean[0]).numpy()
        if block.ndim == 4:
            places = np.arange(self.positions)[:, None] if self.moves is None else self.moves.T
            aligned = block[:, np.arange(self.group.order), places]  # [n, positions, |G|, dim]
            block = aligned.reshape(-1, self.group.order, self.dim)
        return block

    @cached_property
    def _files(self) -> ShardFiles | None:
        return ShardFiles.of(self.array, self.checksums)

    def _stored(self, samples: slice | Int[np.ndarray, " n"]) -> Shaped[np.ndarray, "n group *_"]:
        if self._files is not None:
            if isinstance(samples, slice):
                samples = np.arange(*samples.indices(self.n))
            return self._files.read(samples)
        if isinstance(samples, slice):
            start, stop, _ = samples.indices(self.n)
            return read_span(self.array, self.checksums, start, max(start, stop))
        if len(samples) and (np.diff(samples) > 0).all():
            first, end = int(samples[0]), int(samples[-1]) + 1
            if end - first <= _DENSE * len(samples):
                # Reading all and dropping some is several times faster than picking.
                return read_span(self.array, self.checksums, first, end)[samples - first]
        return read_samples(self.array, self.checksums, samples)

    @contextmanager
    def _naming_damage(self, samples: slice | Int[np.ndarray, " n"]) -> Iterator[None]:
        """Turn errors of reading samples into one line that names the damaged shards."""
        try:
            yield
        except DAMAGE as error:
            self._check_is_there()
            touched = np.arange(self.n)[samples] // self.shard_samples
            damaged = describe_damage(self.array, np.unique(touched).tolist(), self.checksums)
            raise DamageError(
                f"store {self.path}",
                expected="shards as they were written",
                received=damaged or one_line(error),
                remedy=REMAKE,
            ) from error
        except Exception as error:
            self._check_is_there()
            # The libraries of URLs raise errors of their own.
            lost = isinstance(error, OSError) or isinstance(self.path, str)
            if not lost or isinstance(error, MemoryError):
                raise
            denied = isinstance(error, PermissionError)
            raise OrbitLensError(
                f"store {self.path}",
                expected="a disk, or a network, that can be read",
                received=one_line(error),
                remedy="get the rights to it" if denied else "try again, or look into the disk",
            ) from error

    def _check_is_there(self) -> None:
        """Check that the folder was not moved or removed since the store was opened."""
        if isinstance(self.path, Path) and not self.path.exists():
            raise OrbitLensError(
                f"store {self.path}",
                expected="its folder, which was there when it was opened",
                received="no such folder any more",
                remedy="move it back, or open the store where it lies now",
            )


def split_samples(
    n: int,
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " held_out"]]:
    """Return the samples to fit on and the samples to measure on, always the same for one n.

    The last 20 % of one fixed permutation (seed 0), at least one sample, are held out. Both parts
    are in rising order, which is read fastest.

    Args:
        n: Number of samples.

    Returns:
        Training samples and held-out samples.

    Raises:
        OrbitLensError: If there are fewer than two samples.

    Example:
        >>> train, held_out = split_samples(10)
        >>> len(train), len(held_out)
        (8, 2)
    """
    if as_count("n", n, least=0) < 2:
        raise OrbitLensError(
            "samples", expected="at least 2 to split", received=n, remedy="add samples"
        )
    order = np.random.default_rng(0).permutation(n)
    first_held_out = n - max(1, round(_HELD_OUT_SHARE * n))
    return np.sort(order[:first_held_out]), np.sort(order[first_held_out:])


def _name(value: object) -> str:
    return value.name if isinstance(value, Group) else repr(value)
