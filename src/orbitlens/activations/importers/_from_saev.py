"""Activations that saev cached: raw float32 shards beside JSON; nothing is unpickled.

A folder holds metadata.json, shards.json and acts000000.bin, acts000001.bin, ..., each
[examples, layers, tokens, dim]; a class token is token 0. The field `data` of the metadata is a
pickle and is never read. Versions of the protocol (1.0.0 to 2.1) differ only in names of fields.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from orbitlens.activations.importers._cache import Cache, Shard, choose_layer, damage_errors
from orbitlens.errors import OrbitLensError
from orbitlens.files import read_json

_PROTOCOLS = ("1", "2")
_NAMES = {
    "ckpt": ("ckpt", "vit_ckpt"),
    "tokens": ("content_tokens_per_example", "patches_per_ex", "n_patches_per_img"),
    "dim": ("d_model", "d_vit"),
    "examples": ("n_examples", "n_ex", "n_imgs"),
}


def read_saev(path: Path, layer: str | int | None) -> Cache:
    """Open a folder of shards that saev wrote as a cache.

    `layer` is the number of a block in `layers` of the metadata; None if there is only one. A row
    is [tokens, dim], or [dim] if there is one token.
    """
    metadata = path / "metadata.json"
    record = read_json(metadata)
    with damage_errors(metadata, "the fields that saev writes"):
        layers = [str(int(number)) for number in record["layers"]]
        tokens = int(_field(record, "tokens")) + bool(record["cls_token"])
        dim, examples = int(_field(record, "dim")), int(_field(record, "examples"))
        model = str(_field(record, "ckpt"))
        if tokens < 1 or dim < 1 or not layers:
            raise ValueError(f"{len(layers)} layers, {tokens} tokens, width {dim}")
    if str(record.get("protocol", "1.0.0")).split(".")[0] not in _PROTOCOLS:
        raise OrbitLensError(
            str(metadata),
            expected=f"`protocol` {' or '.join(_PROTOCOLS)}, of which the files are known",
            received=repr(record["protocol"]),
            remedy="save the activations as .npy or .safetensors",
        )
    if record.get("dtype", "float32") != "float32":
        raise OrbitLensError(
            str(metadata),
            expected="`dtype` float32, the one that saev writes",
            received=repr(record["dtype"]),
            remedy="save the activations as .npy or .safetensors",
        )
    chosen = choose_layer(path, layer, layers)
    stored = (len(layers), tokens, dim)
    counts = _counts(path)
    if sum(counts.values()) != examples:
        raise OrbitLensError(
            str(path),
            expected=f"{examples} examples, as metadata.json says",
            received=f"{sum(counts.values())} in the {len(counts)} files of shards.json",
            remedy="shards are missing; copy the folder again, or let saev finish it",
        )
    shards = [_shard(path / name, n, stored, layers.index(chosen)) for name, n in counts.items()]
    return Cache.of(model, chosen, shards, place=path)


def _field(record: Mapping[str, Any], name: str) -> Any:
    for known in _NAMES[name]:
        if known in record:
            return record[known]
    raise KeyError(f"no {_NAMES[name][0]}")


def _counts(path: Path) -> dict[str, int]:
    """Return the number of examples in each shard."""
    file = path / "shards.json"
    remedy = "copy the folder again, or let saev finish it"
    with damage_errors(file, "the list of shards that saev writes", remedy):
        entries = json.loads(file.read_text())
        return {Path(entry["name"]).name: int(_field(entry, "examples")) for entry in entries}


def _shard(file: Path, examples: int, stored: tuple[int, int, int], layer: int) -> Shard:
    """Return one file; saev may have reserved more room at its end than it filled."""
    needed = 4 * examples * int(np.prod(stored))
    held = file.stat().st_size if file.is_file() else None
    if held is None or held < needed:
        raise OrbitLensError(
            str(file),
            expected=f"{examples} examples, {needed} bytes at least",
            received="no such file" if held is None else f"{held} bytes, it is truncated",
            remedy="copy the shard again",
        )
    row = stored[1:] if stored[1] > 1 else stored[2:]

    def read(start: int, stop: int) -> Float32[np.ndarray, "_ *row"]:
        offset, shape = 4 * start * int(np.prod(stored)), (stop - start, *stored)
        with damage_errors(file, "a whole shard"):
            mapped = np.memmap(file, dtype="<f4", mode="r", offset=offset, shape=shape)
        return np.array(mapped[:, layer], dtype=np.float32).reshape(stop - start, *row)

    return Shard(file, examples, row, "float32", read)
