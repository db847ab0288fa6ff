"""Writing the stores of one or several layers, whole shards in any order.

Everything goes to the place that `claim_place` gives, and becomes a store only at the very end.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
import zarr
from jaxtyping import Float32, Int
from torch import Tensor
from zarr.codecs import Crc32cCodec

from orbitlens.activations.store._address import address_errors, address_of, inside, zarr_store
from orbitlens.activations.store._checksums import Checksums, checksums_in, create_checksums
from orbitlens.activations.store._claim import Claim, claim_place
from orbitlens.activations.store._files import write_files
from orbitlens.activations.store._on_disk import (
    ON_DISK,
    Shards,
    array_of,
    chunk_samples,
    drop_shards,
    fill_value,
    from_disk,
    incomplete_shards,
    plan_shards,
    shards_of,
    stored_shards,
    to_disk,
)
from orbitlens.activations.store._open_store import open_store, read_store
from orbitlens.activations.store._resume_settings import check_same
from orbitlens.activations.store._seal import seal_store
from orbitlens.activations.store.activation_store import ActivationStore
from orbitlens.errors import OrbitLensError, one_line

Block = Mapping[str, Float32[np.ndarray, "_ group *_"]]


def write_store(
    blocks: Iterable[Float32[np.ndarray, "_ group *rest"]],
    *,
    n: int,
    out: Path | str | None,
    labels: Int[np.ndarray, " n"] | None,
    files: Sequence[str] = (),
    attributes: dict[str, Any],
) -> ActivationStore:
    """Write blocks of orbits [batch, |G|, (positions,) dim], n samples in all, to a store."""
    target, named = address_of(out), ({"": block} for block in blocks)
    first, record = next(named), {**attributes, "labelled": labels is not None}
    memory = nullcontext(Claim(None, None))
    with memory if target is None else claim_place(target, resume=False) as claim:
        begin(claim, record)
        shapes = {"": first[""].shape[1:]}
        beside: dict[str, Any] = {"labels": labels, "files": files}
        writer = ShardWriter(claim, {"": ""}, {"": record}, shapes, n=n, together=1, **beside)
        for shard, block in in_shards(chain([first], named), writer.shards, writer.missing()):
            writer.write(shard, block)
        roots = writer.finish()
    return open_written(roots[""], target)


def open_written(root: zarr.Group, address: Path | str | None) -> ActivationStore:
    """Open a store that was just written; its group is all there is of one in memory."""
    return read_store(root, None) if address is None else open_store(address)


def begin(claim: Claim, record: dict[str, Any]) -> dict[str, Any]:
    """Write the attributes of a store, or of a folder of stores, and return them.

    If an earlier run began the place, its attributes are checked and returned instead.
    """
    if claim.address is None:
        return record
    with part_errors(claim):
        return _root(claim.address, record).attrs.asdict()


@contextmanager
def part_errors(claim: Claim) -> Iterator[None]:
    """Turn the errors of a place, and of a damaged part that an earlier run left, into one line."""
    with address_errors(claim.target):
        try:
            yield
        except (OrbitLensError, OSError):
            raise
        except Exception as error:  # a record that was changed can raise almost anything
            if not claim.found:
                raise
            raise OrbitLensError(
                f"store {claim.target}",
                expected="an intact part of it, to go on from",
                received=one_line(error),
                remedy=f"remove {claim.address} and begin again",
            ) from error


@final
class ShardWriter:
    """Stores that take whole shards in any order; `finish` completes them.

    Each layer's store has a name, attributes and the shape of an orbit, [|G|, (positions,) dim]. An
    empty name stands for the claimed place itself. See `plan_shards` for `together`.
    """

    def __init__(
        self,
        claim: Claim,
        names: Mapping[str, str],
        attributes: Mapping[str, dict[str, Any]],
        shapes: Mapping[str, tuple[int, ...]],
        *,
        n: int,
        together: int,
        labels: Int[np.ndarray, " n"] | None,
        files: Sequence[str] = (),
    ) -> None:
        self.claim, self.roots, self.arrays = claim, {}, {}
        self._dtypes = {layer: attributes[layer]["dtype"] for layer in names}
        self._of_many = claim.address is not None and "" not in names.values()
        plan = plan_shards(n, [shapes[layer] for layer in names], together)
        for layer, name in names.items():
            with part_errors(claim):
                root = self.roots[layer] = _root(inside(claim.address, name), attributes[layer])
                if labels is not None:
                    _write_labels(root, labels)
                if files:
                    write_files(root, files)
                if "activations" not in root:
                    in_memory = claim.address is None
                    _create(root, (n, *shapes[layer]), self._dtypes[layer], plan, in_memory)
                self.arrays[layer] = arrays_of(root)
                found = tuple(self.arrays[layer].activations.shape)
                if found != (n, *shapes[layer]):
                    raise ValueError(f"activations of shape {list(found)}")
        # The stored cut counts: another version may have begun the stores with other shards.
        self.shards = shards_of(next(iter(self.arrays.values())).activations)

    def drop_incomplete(self) -> None:
        """Delete the damaged shards of an earlier run."""
        if self.claim.found:
            with part_errors(self.claim):
                for array, checksums in self.arrays.values():
                    drop_shards(array, incomplete_shards(array, checksums))

    def missing(self) -> list[int]:
        """Return the shards that some layer lacks."""
        everything = range(self.shards.count)
        if not self.claim.found:
            return list(everything)
        with part_errors(self.claim):
            stored = [stored_shards(arrays.activations) for arrays in self.arrays.values()]
            there = set.intersection(*stored)
        return [shard for shard in everything if shard not in there]

    def first_orbits(self) -> dict[str, Float32[Tensor, "1 group *rest"]]:
        """Return the orbit of the first sample in every layer, if an earlier run wrote it."""
        if 0 in self.missing():
            return {}
        with part_errors(self.claim):
            return {
                layer: first_orbit(root, self._dtypes[layer]) for layer, root in self.roots.items()
            }

    def write(self, shard: int, block: Block) -> None:
        """Write a shard of every layer."""
        for layer, arrays in self.arrays.items():
            write_shard(arrays, self._dtypes[layer], shard, block[layer], layer, self.claim.target)
        self.claim.keep = True

    def finish(self) -> dict[str, zarr.Group]:
        """Mark the stores as complete, the very last step, and return their groups."""
        with part_errors(self.claim):
            for root in self.roots.values():
                seal_store(root)
            if self._of_many:
                whole = zarr.open_group(zarr_store(self.claim.address), mode="r+", zarr_format=3)
                whole.attrs["complete"] = True
        return self.roots


def first_orbit(root: zarr.Group, dtype: str) -> Float32[Tensor, "1 group *rest"]:
    """Return the orbit of the first sample as the network put it out: positions not aligned."""
    return torch.from_numpy(from_disk(np.asarray(array_of(root)[:1]), dtype))


class Arrays(NamedTuple):
    """The arrays of a store that are written shard by shard."""

    activations: zarr.Array[Any]
    checksums: Checksums | None


def arrays_of(root: zarr.Group) -> Arrays:
    """Return the arrays of a store that takes shards."""
    return Arrays(array_of(root), checksums_in(root))


def write_shard(
    arrays: Arrays,
    dtype: str,
    shard: int,
    block: Float32[np.ndarray, "_ group *_"],
    layer: str,
    target: Path | str | None,
) -> None:
    """Write one shard of one store; the block may change afterwards."""
    array, checksums = arrays
    start, stop = shards_of(array).span(shard)
    stored = to_disk(block, dtype, start, _subject(layer))
    if target is None:
        stored = stored.copy()  # a store in memory would keep the buffer itself
    with address_errors(target):
        if checksums is not None:
            checksums.write(shard, stored, array)
        array[start:stop] = stored


def in_shards(
    blocks: Iterable[Block], shards: Shards, wanted: Sequence[int]
) -> Iterator[tuple[int, Block]]:
    """Join or cut blocks of any size into the shards wanted; each is valid until the next one."""
    buffers: dict[str, Float32[np.ndarray, "_ group *_"]] = {}
    filled, left = 0, list(wanted)
    for block in blocks:
        size, used = len(next(iter(block.values()))), 0
        _check_float32(block)
        while used < size and left:
            start, stop = shards.span(left[0])
            part = min(stop - start - filled, size - used)
            for layer, values in block.items():
                if layer not in buffers:
                    buffers[layer] = np.empty((shards.samples, *values.shape[1:]), np.float32)
                buffers[layer][filled : filled + part] = values[used : used + part]
            filled, used = filled + part, used + part
            if filled == stop - start:
                yield left.pop(0), {layer: held[:filled] for layer, held in buffers.items()}
                filled = 0
        if used < size:
            raise _wrong_number(shards, "more")
    if left:
        raise _wrong_number(shards, "fewer")


def _root(address: Path | str | None, attributes: dict[str, Any]) -> zarr.Group:
    """Open a group that was begun with the same settings, or create it."""
    if address is not None:
        with suppress(FileNotFoundError):
            root = zarr.open_group(zarr_store(address), mode="r+", zarr_format=3)
            check_same(root.attrs.asdict(), attributes)
            return root
    return zarr.create_group(zarr_store(address), attributes=attributes, zarr_format=3)


def _write_labels(root: zarr.Group, labels: Int[np.ndarray, " n"]) -> None:
    if "labels" not in root:
        root.create_array(
            "labels",
            shape=labels.shape,
            chunks=labels.shape,
            dtype="int64",
            # No label is negative, so that labels that are all zero are written as well.
            fill_value=-1,
            compressors=[Crc32cCodec()],
        )
    array_of(root, "labels")[:] = labels


def _create(
    root: zarr.Group, shape: tuple[int, ...], dtype: str, shards: Shards, in_memory: bool
) -> None:
    together = (shards.samples, *shape[1:])
    chunk = (min(shards.samples, chunk_samples(shape[1:])), *shape[1:])
    if not in_memory:
        # Before the activations, whose presence says that everything is there.
        create_checksums(root, shards.count, together[0] // chunk[0])
    root.create_array(
        "activations",
        shape=shape,
        # Floating numbers barely compress, and would take twice the time to read.
        compressors=None if in_memory else [Crc32cCodec()],
        chunks=(min(together[0], shape[0]), *shape[1:]) if in_memory else chunk,
        shards=None if in_memory else together,
        dtype=ON_DISK[dtype],
        fill_value=fill_value(dtype),
        config={"write_empty_chunks": True},
        chunk_key_encoding={"name": "default", "separator": "."},
    )


def _check_float32(block: Mapping[str, np.ndarray]) -> None:
    for layer, values in block.items():
        if values.dtype != np.float32:
            raise OrbitLensError(
                _subject(layer),
                expected="float32 in every block",
                received=f"one of {values.dtype}",
                remedy="convert it to float32",
            )


def _subject(layer: str) -> str:
    return f"activations of layer {layer!r}" if layer else "activations"


def _wrong_number(shards: Shards, word: str) -> OrbitLensError:
    return OrbitLensError(
        "activations",
        expected=f"{shards.n} samples",
        received=f"{word} of them",
        remedy="give one orbit for each sample",
    )
