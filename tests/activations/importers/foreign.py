"""Caches as other libraries write them, small; and what their rows are."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

HOOK = "blocks.3.hook_resid_post"


def values(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def nested(array: np.ndarray) -> pa.Array:
    """A column of lists of lists, as Array2D of the library `datasets` is stored."""
    lists = pa.array(array.reshape(-1))
    for axis in range(array.ndim - 1, 0, -1):
        count = math.prod(array.shape[:axis])
        offsets = np.arange(count + 1, dtype=np.int32) * array.shape[axis]
        lists = pa.ListArray.from_arrays(pa.array(offsets), lists)
    return lists


def arrow_file(
    path: Path, columns: dict[str, np.ndarray | pa.Array], extension: dict[bytes, bytes], batch: int
) -> None:
    arrays = {k: v if isinstance(v, pa.Array) else nested(v) for k, v in columns.items()}
    fields = [
        pa.field(name, array.type, metadata=extension if name != "token_ids" else None)
        for name, array in arrays.items()
    ]
    schema = pa.schema(fields, metadata={b"huggingface": b'{"info": {"features": {}}}'})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(pa.table(list(arrays.values()), schema=schema), max_chunksize=batch)


def array_2d(shape: Sequence[int], dtype: str) -> dict[bytes, bytes]:
    """What a field of this type carries in a file."""
    return {
        b"ARROW:extension:name": b"datasets.features.features.Array2DExtensionType",
        b"ARROW:extension:metadata": json.dumps([list(shape), dtype]).encode(),
    }


def saelens(
    folder: Path,
    shards: Sequence[np.ndarray],
    *,
    hooks: Sequence[str] = (HOOK,),
    extension: dict[bytes, bytes] | None = None,
    batch: int = 2,
) -> Path:
    """A folder of CacheActivationsRunner; the second hook holds the negatives of the first."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{len(shards):05d}.arrow" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        columns = {hook: shard * (-1) ** i for i, hook in enumerate(hooks)}
        tokens = np.arange(math.prod(shard.shape[:-1]), dtype=np.int32).reshape(shard.shape[:-1])
        kind = array_2d(shard.shape[1:], shard.dtype.name) if extension is None else extension
        arrow_file(folder / name, {**columns, "token_ids": tokens}, kind, batch)
    state = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "0123456789abcdef",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text('{"features": {}}')
    return folder


SAEV_2_1 = {
    "ckpt": "ckpt",
    "family": "family",
    "tokens": "content_tokens_per_example",
    "dim": "d_model",
    "examples": "n_examples",
    "room": "max_tokens_per_shard",
}
SAEV_1_0 = {
    "ckpt": "vit_ckpt",
    "family": "vit_family",
    "tokens": "n_patches_per_img",
    "dim": "d_vit",
    "examples": "n_imgs",
    "room": "max_patches_per_shard",
}


def saev(
    folder: Path,
    array: np.ndarray,
    *,
    layers: Sequence[int] = (5, 11),
    per_shard: int = 4,
    cls_token: bool = True,
    names: dict[str, str] = SAEV_2_1,
    protocol: str = "2.1",
) -> Path:
    """A folder of shards of [examples, layers, tokens, dim]; every file has room for a whole one.

    As its writer does, it opens another shard as soon as one is full.
    """
    n, n_layers, tokens, dim = array.shape
    assert n_layers == len(layers)
    folder.mkdir(parents=True)
    shards = []
    for i, start in enumerate(range(0, n + 1, per_shard)):
        part = array[start : start + per_shard]
        room = np.zeros((per_shard, *array.shape[1:]), dtype="<f4")
        room[: len(part)] = part
        room.tofile(folder / f"acts{i:06d}.bin")
        shards.append({"name": f"acts{i:06d}.bin", names["examples"]: len(part)})
    metadata = {
        names["family"]: "dinov2",
        names["ckpt"]: "dinov2_vitb14_reg",
        "layers": list(layers),
        names["tokens"]: tokens - cls_token,
        "cls_token": cls_token,
        names["dim"]: dim,
        names["examples"]: n,
        names["room"]: per_shard * n_layers * tokens,
        "data": "gASVBAAAAAAAAABLAS4=",
        "dtype": "float32",
        "protocol": protocol,
    }
    (folder / "metadata.json").write_text(json.dumps(metadata, indent=2))
    (folder / "shards.json").write_text(json.dumps(shards, indent=2))
    return folder
