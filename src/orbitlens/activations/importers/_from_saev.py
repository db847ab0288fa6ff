"""Activations that saev cached: raw float32 shards beside JSON, without unpickling.

A folder holds metadata.json, shards.json and acts000000.bin, acts000001.bin, ..., each
[examples, layers, tokens, dim]; the class token, where there is one, is token 0. The field `data`
of the metadata is a pickle and is not looked at. Versions of the protocol (1.0.0 to 2.1) differ in
the names of fields alone.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from orbitlens.activations.importers._cache import Cache, Shard, choose_layer, joined, readable
from orbitlens.errors import OrbitLensError, one_line
from orbitlens.files import TO_READ, place_error, read_json

_NAMES = {
    "ckpt": ("ckpt", "vit_ckpt"),
    "tokens": ("content_tokens_per_example", "patches_per_ex", "n_patches_per_img"),
    "dim": ("d_model", "d_vit"),
    "examples": ("n_examples", "n_ex", "n_imgs"),
}


def read_saev(path: Path, layer: str | int | None) -> Cache:
    """Look into a folder of shards that saev wrote.

    Args:
        path: The folder, with metadata.json.
        layer: The number of the block, one of `layers` of the metadata; None where there is one.

    Returns:
        The cache; a row is [tokens, dim], or [dim] where there is one token.

    Raises:
        OrbitLensError: If the metadata lack something, or a shard is missing or truncated.
    """
    metadata = path / "metadata.json"
    record = read_json(metadata)
    with readable(metadata, "the fields that saev writes"):
        layers = [str(int(number)) for number in record["layers"]]
        tokens = int(_field(record, "tokens")) + bool(record["cls_token"])
        dim, examples = int(_field(record, "dim")), int(_field(record, "examples"))
        model = str(_field(record, "ckpt"))
        if tokens < 1 or dim < 1 or not layers:
            raise ValueError(f"{len(layers)} layers, {tokens} tokens, width {dim}")
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
    return joined(model, chosen, shards, place=path)


def _field(record: Mapping[str, Any], name: str) -> Any:
    for known in _NAMES[name]:
        if known in record:
            return record[known]
    raise KeyError(f"no {_NAMES[name][0]}")


def _counts(path: Path) -> dict[str, int]:
    """Return how many examples each shard holds."""
    file = path / "shards.json"
    try:
        entries = json.loads(file.read_text())
        return {Path(entry["name"]).name: int(_field(entry, "examples")) for entry in entries}
    except PermissionError as error:
        raise place_error(file, error, TO_READ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OrbitLensError(
            str(file),
            expected="the list of shards that saev writes",
            received="no such file"
            if isinstance(error, FileNotFoundError)
            else f"damage ({one_line(error)})",
            remedy="copy the folder again, or let saev finish it",
        ) from None


def _shard(file: Path, examples: int, stored: tuple[int, int, int], layer: int) -> Shard:
    """Return one file; its last part may be room that saev took and did not fill."""
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
    return Shard(file, examples, row, "float32", partial(_read, file, stored, layer, row))


def _read(
    file: Path,
    stored: tuple[int, int, int],
    layer: int,
    row: tuple[int, ...],
    start: int,
    stop: int,
) -> Float32[np.ndarray, "_ *row"]:
    with readable(file, "a whole shard"):
        mapped = np.memmap(
            file,
            dtype="<f4",
            mode="r",
            offset=4 * start * int(np.prod(stored)),
            shape=(stop - start, *stored),
        )
    return np.array(mapped[:, layer], dtype=np.float32).reshape(stop - start, *row)
