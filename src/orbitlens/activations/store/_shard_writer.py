"""Writing whole shards of the stores of one or several layers, in any order."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import numpy as np
import zarr
from jaxtyping import Float32, Int
from zarr.codecs import Crc32cCodec

from orbitlens.activations.store._address import address_errors, inside, zarr_store
from orbitlens.activations.store._claim import Claim
from orbitlens.activations.store._damage import intact, shards_of
from orbitlens.activations.store._dtypes import ON_DISK, fill_value, rounded
from orbitlens.activations.store._resume_settings import check_same
from orbitlens.activations.store._shard_sizes import Shards, chunk_samples, plan_shards
from orbitlens.errors import OrbitLensError

Block = Mapping[str, Float32[np.ndarray, "_ group *_"]]


def begin(claim: Claim, record: dict[str, Any]) -> dict[str, Any]:
    """Write down what a place is to hold, before anything else.

    Args:
        claim: The place.
        record: The attributes of the store, or of the folder of several stores.

    Returns:
        The attributes that it has; if it was begun earlier, those of then.

    Raises:
        OrbitLensError: If it was begun with other settings, or cannot be written.
    """
    if claim.address is None:
        return record
    with address_errors(claim.target):
        return _root(claim.address, record).attrs.asdict()


@final
class ShardWriter:
    """Stores that take whole shards in any order; `finish` makes them whole.

    Args:
        claim: The place, which this writer has for itself.
        names: What each layer's store is called there; empty for the place itself.
        attributes: The attributes of each layer's store.
        shapes: The shape of an orbit in each layer, [|G|, (positions,) dim].
        n: Number of samples.
        together: Samples per forward pass, see `plan_shards`.
        labels: One class index per sample, or None.

    Raises:
        OrbitLensError: If what is there was begun with other settings, or the place cannot be
            written.
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
    ) -> None:
        self.claim, self.roots, self.arrays = claim, {}, {}
        self._dtypes = {layer: attributes[layer]["dtype"] for layer in names}
        self._of_many = claim.address is not None and "" not in names.values()
        plan = plan_shards(n, [shapes[layer] for layer in names], together)
        for layer, name in names.items():
            with address_errors(claim.target):
                root = self.roots[layer] = _root(inside(claim.address, name), attributes[layer])
                if labels is not None:
                    _write_labels(root, labels)
                if "activations" not in root:
                    in_memory = claim.address is None
                    _create(root, (n, *shapes[layer]), self._dtypes[layer], plan, in_memory)
                self.arrays[layer] = activations_of(root)
        # As it was begun, should a later version choose other shards.
        self.shards = shards_of(next(iter(self.arrays.values())))

    def missing(self) -> list[int]:
        """Return the shards still to be written; damaged ones are removed and count among them."""
        everything = range(self.shards.count)
        if not self.claim.found:
            return list(everything)
        with address_errors(self.claim.target):
            there = [intact(array) for array in self.arrays.values()]
        return [shard for shard in everything if not all(shard in part for part in there)]

    def write(self, shard: int, block: Block) -> None:
        """Write a shard of every layer.

        Raises:
            OrbitLensError: If a value is too large for the type on disk, or the place cannot be
                written.
        """
        for layer, array in self.arrays.items():
            write_shard(array, self._dtypes[layer], shard, block[layer], layer, self.claim.target)
        self.claim.kept()

    def finish(self) -> dict[str, zarr.Group]:
        """Write, last of all, the mark that this is all."""
        with address_errors(self.claim.target):
            for root in self.roots.values():
                root.attrs["complete"] = True
            if self._of_many:
                whole = zarr.open_group(zarr_store(self.claim.address), mode="r+", zarr_format=3)
                whole.attrs["complete"] = True
        return self.roots


def write_shard(
    array: zarr.Array[Any],
    dtype: str,
    shard: int,
    block: Float32[np.ndarray, "_ group *_"],
    layer: str,
    target: Path | str | None,
) -> None:
    """Write one shard of one store.

    Args:
        array: The activations of the store.
        dtype: How they are stored.
        shard: Which shard.
        block: Its samples, which may change afterwards.
        layer: Whose activations they are, for messages.
        target: Where the store will be, for messages; None for memory.

    Raises:
        OrbitLensError: If a value is too large for the type on disk, or the place cannot be
            written.
    """
    start, stop = shards_of(array).span(shard)
    stored = rounded(block, dtype, start, subject_of(layer))
    if target is None:
        stored = stored.copy()  # a store in memory would keep the buffer itself
    with address_errors(target):
        array[start:stop] = stored


def in_shards(
    blocks: Iterable[Block], shards: Shards, wanted: Sequence[int]
) -> Iterator[tuple[int, Block]]:
    """Join blocks of any size, or cut them, into shards.

    Args:
        blocks: The samples of the shards wanted, in that order, layer by layer.
        shards: How the samples are divided.
        wanted: Which shards the blocks fill.

    Yields:
        A shard and its block; the arrays are used again for the next one.

    Raises:
        OrbitLensError: If blocks are not float32, or do not fill the shards.
    """
    buffers: dict[str, Float32[np.ndarray, "_ group *_"]] = {}
    filled, left = 0, list(wanted)
    for block in blocks:
        size, taken = len(next(iter(block.values()))), 0
        _check_float32(block)
        while taken < size and left:
            start, stop = shards.span(left[0])
            part = min(stop - start - filled, size - taken)
            for layer, values in block.items():
                if layer not in buffers:
                    buffers[layer] = np.empty((shards.samples, *values.shape[1:]), np.float32)
                buffers[layer][filled : filled + part] = values[taken : taken + part]
            filled, taken = filled + part, taken + part
            if filled == stop - start:
                yield left.pop(0), {layer: held[:filled] for layer, held in buffers.items()}
                filled = 0
        if taken < size:
            raise _wrong_number(shards, "more")
    if left:
        raise _wrong_number(shards, "fewer")


def subject_of(layer: str) -> str:
    """Return whose activations these are, for messages."""
    return f"activations of layer {layer!r}" if layer else "activations"


def activations_of(root: zarr.Group) -> zarr.Array[Any]:
    """Return the activations of a store.

    Raises:
        KeyError: If it has none.
    """
    array = root["activations"]
    if not isinstance(array, zarr.Array):
        raise KeyError("no array 'activations'")
    return array


def _root(address: Path | str | None, attributes: dict[str, Any]) -> zarr.Group:
    """Open a group that is there, after checking that it was begun like this; else make it."""
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
            compressors=[Crc32cCodec()],
            config={"write_empty_chunks": True},
        )
    array = root["labels"]
    if isinstance(array, zarr.Array):
        array[:] = labels


def _create(
    root: zarr.Group, shape: tuple[int, ...], dtype: str, shards: Shards, in_memory: bool
) -> None:
    together = (shards.samples, *shape[1:])
    chunk = (min(shards.samples, chunk_samples(shape[1:])), *shape[1:])
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
    kinds = {layer: str(values.dtype) for layer, values in block.items()}
    for layer, kind in kinds.items():
        if kind != "float32":
            raise OrbitLensError(
                subject_of(layer),
                expected="float32 in every block",
                received=f"one of {kind}",
                remedy="convert it to float32",
            )


def _wrong_number(shards: Shards, word: str) -> OrbitLensError:
    return OrbitLensError(
        "activations",
        expected=f"{shards.n} samples",
        received=f"{word} of them",
        remedy="give one orbit for each sample",
    )
