"""Activations that SAELens cached: a Hugging Face data set of Arrow files; nothing is unpickled.

`CacheActivationsRunner` writes a folder with state.json, which lists the files, dataset_info.json
and data-00000-of-000NN.arrow. A column is named after its hook; each row holds the activations of
one context, [context, d_in]. The column token_ids stands beside it.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from orbitlens.activations.importers._cache import Cache, Shard, choose_layer, damage_errors
from orbitlens.errors import OrbitLensError, missing_extra
from orbitlens.files import read_json
from orbitlens.groups import Group

# The end of every Arrow stream; without it, later batches may be lost with no other trace.
_END = b"\xff\xff\xff\xff\0\0\0\0"
_SETTINGS = "cache_activations_runner_cfg.json"
_ARROW = "a whole Arrow file of a data set"


def read_saelens(path: Path, layer: str | int | None, group: Group) -> Cache:
    """Open the folder `new_cached_activations_path` of SAELens as a cache.

    `layer` is the column, such as "blocks.3.hook_resid_post"; None if there is only one. A row is
    [d_in], or [context, d_in] if contexts are longer than 1.
    """
    _pyarrow()
    _check_order(path, group)
    files = [path / name for name in _listed(path)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise OrbitLensError(
            str(path),
            expected=f"the {len(files)} files that state.json lists",
            received=f"{len(missing)} missing, the first {missing[0]}",
            remedy="copy the whole folder again",
        )
    hook = choose_layer(path, layer, _hooks(files[0]))
    return Cache.of("saelens", hook, [_shard(file, hook) for file in files], place=path)


def _check_order(path: Path, group: Group) -> None:
    """Refuse rows that are known to be in another order than that of the inputs."""
    settings = path / _SETTINGS
    shuffled = settings.is_file() and read_json(settings).get("shuffle") is not False
    if shuffled and group.order > 1:
        raise OrbitLensError(
            str(settings),
            expected="`shuffle` false, so that the rows of an orbit lie together",
            received=repr(read_json(settings).get("shuffle")),
            remedy="cache the activations again without it, or leave out the group",
        )
    if read_json(path / "state.json").get("_indices_data_files"):
        raise OrbitLensError(
            str(path / "state.json"),
            expected="no `_indices_data_files`, which give the rows another order",
            received="some",
            remedy="save the data set again after `flatten_indices()`",
        )


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise missing_extra("pyarrow", extra="arrow") from None
    return pyarrow


def _listed(path: Path) -> list[str]:
    state = read_json(path / "state.json")
    with damage_errors(path / "state.json", "the list `_data_files`"):
        names = [Path(entry["filename"]).name for entry in state["_data_files"]]
        if not names:
            raise ValueError("it lists no files")
    return names


def _hooks(file: Path) -> list[str]:
    """Return the columns that hold activations."""
    pa = _pyarrow()
    with damage_errors(file, _ARROW), pa.memory_map(str(file)) as source:
        schema = pa.ipc.open_stream(source).schema
    hooks = [field.name for field in schema if _is_activation(field.type)]
    if not hooks:
        raise OrbitLensError(
            str(file),
            expected="a column of vectors, [d_in] or [context, d_in] in each row",
            received=f"the columns {', '.join(schema.names)}",
            remedy="give the folder that SAELens cached activations in",
        )
    return hooks


def _is_activation(kind: Any) -> bool:
    depth, number = _nested(kind)
    return depth in (1, 2) and bool(_pyarrow().types.is_floating(number))


def _nested(kind: Any) -> tuple[int, Any]:
    """Return the depth of nested lists in a type, and the type of their numbers."""
    types = _pyarrow().types
    # With the library `datasets` imported, a column is an extension type over such lists.
    kind, depth = getattr(kind, "storage_type", kind), 0
    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind, depth = kind.value_type, depth + 1
    return depth, kind


def _shard(file: Path, hook: str) -> Shard:
    with damage_errors(file, _ARROW):
        with file.open("rb") as stream:
            stream.seek(-len(_END), 2)
            if stream.read() != _END:
                raise ValueError("its end is missing")
        column = _column(file, hook)
        depth, number = _nested(column.type)
        if depth not in (1, 2):
            raise TypeError(f"column {hook} is {column.type}")
        row = _row_shape(column, depth)
        row = row[-1:] if row[0] == 1 else row

    def read(start: int, stop: int) -> Shaped[np.ndarray, "_ *row"]:
        with damage_errors(file, _ARROW):
            chunks = _column(file, hook).slice(start, stop - start).chunks
            parts = [_flat(chunk, depth).to_numpy(zero_copy_only=True) for chunk in chunks]
            values = parts[0] if len(parts) == 1 else np.concatenate(parts)
            return values.reshape(stop - start, *row)

    dtype = np.dtype(number.to_pandas_dtype()).name
    return Shard(file, len(column), row, dtype, read)


def _column(file: Path, hook: str) -> Any:
    """Return a column, mapped into memory as long as something refers to it."""
    pa = _pyarrow()
    with pa.memory_map(str(file)) as source:
        return pa.ipc.open_stream(source).read_all().column(hook)


def _row_shape(column: Any, depth: int) -> tuple[int, ...]:
    """Return the one shape that all rows have."""
    shapes = {tuple(_lengths(chunk, depth)) for chunk in column.chunks if len(chunk)}
    if len(shapes) > 1:
        raise ValueError(f"rows of the shapes {sorted(shapes)}")
    return next(iter(shapes), (0,) * depth)


def _lengths(chunk: Any, depth: int) -> list[int]:
    import pyarrow.compute as pc

    lengths = []
    for level in range(depth):
        lists = _flat(chunk, level)
        least, most = pc.min_max(pc.list_value_length(lists)).as_py().values()
        if least != most:
            raise ValueError(f"lists of {least} to {most} numbers in one column")
        lengths.append(int(most))
    return lengths


def _flat(chunk: Any, depth: int) -> Any:
    """Return the values inside `depth` nested lists, end to end."""
    values = getattr(chunk, "storage", chunk)
    for _ in range(depth):
        if values.null_count:
            raise ValueError("rows without a value")
        values = values.flatten()
    if values.null_count:
        raise ValueError("numbers without a value")
    return values
