"""Activations in .npy or .safetensors files: one file, or a folder of them; nothing is unpickled.

The files of a folder form one cache, in the order of their names. A number in a name counts as a
number: acts-2 comes before acts-10.
"""

import re
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.lib.format import open_memmap
from safetensors import safe_open

from orbitlens.activations.importers._cache import Cache, Shard, choose_layer, damage_errors
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group

_FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_NPY, _SAFETENSORS = "a whole .npy file", "a whole .safetensors file"


def read_npy(path: Path, group: Group) -> Cache:
    """Open a .npy file, or a folder of them, as a cache.

    Arrays are [rows, dim], [n, |G|, dim] or [n, |G|, positions, dim]; for the group of one element
    also [n, positions, dim].
    """
    shards = [_npy_shard(file) for file in _files(path, ".npy")]
    return _cache(path, path.stem, shards, group)


def read_safetensors(path: Path, layer: str | int | None, group: Group) -> Cache:
    """Open a .safetensors file, or a folder of them, as a cache.

    Tensors have the shapes that `read_npy` takes, and may be bfloat16. `layer` names the tensor in
    each file; None if each holds only one.
    """
    files = _files(path, ".safetensors")
    name = choose_layer(files[0], layer, _tensors(files[0]))
    for file in files[1:]:
        choose_layer(file, name, _tensors(file))
    return _cache(path, name, [_tensor_shard(file, name) for file in files], group)


def _files(path: Path, suffix: str) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = [file for file in path.glob(f"*{suffix}") if not file.name.startswith(".")]
    if not files:
        raise OrbitLensError(
            str(path),
            expected=f"{suffix} files",
            received="none",
            remedy="give the folder that holds them, or another kind",
        )
    files.sort(key=_parts)
    _check_numbers(path, files)
    return files


def _parts(file: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", file.stem)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _check_numbers(path: Path, files: list[Path]) -> None:
    """Refuse files that are numbered in their names, if a number is missing.

    Missing rows would shift all later orbits, unless they are a whole number of orbits.
    """
    columns = list(zip(*map(_parts, files), strict=False))
    varying = [column for column in columns if len(set(column)) > 1]
    announced = re.search(r"-of-0*(\d+)\b", files[0].name)
    expected = int(announced[1]) if announced else len(files)
    if len(varying) == 1 and not any(text for _, text in varying[0]):
        numbers = [number for number, _ in varying[0]]
        expected = max(expected, numbers[-1] - numbers[0] + 1)
    if expected != len(files):
        raise OrbitLensError(
            str(path),
            expected=f"{expected} files, as their names count them",
            received=f"{len(files)}, from {files[0].name} to {files[-1].name}",
            remedy="copy the missing ones, or rename these so that no number is left out",
        )


def _cache(path: Path, layer: str, shards: list[Shard], group: Group) -> Cache:
    cache = Cache.of("array", layer, shards, place=path)
    row = cache.shards[0].row
    flat = len(row) == 1 or (len(row) == 2 and group.order == 1)
    if not flat and (len(row) > 3 or row[0] != group.order):
        axes = f"[n, {group.order}, dim] or [n, {group.order}, positions, dim] for {group}"
        raise OrbitLensError(
            str(cache.shards[0].path),
            expected=f"an array [rows, dim], {axes}",
            received=f"shape {[cache.shards[0].rows, *row]}",
            remedy="put the activation of g applied to sample i at [i, g], or name the group",
        )
    return Cache(cache.model, cache.layer, cache.shards, whole=not flat)


def _npy_shard(file: Path) -> Shard:
    with damage_errors(file, _NPY):
        with file.open("rb") as stream:
            start = stream.read(6)
        try:
            mapped = open_memmap(file, mode="r")
        except ValueError as error:
            # Python objects inside an array, or a pickle under the name of one.
            if "objects" in str(error) or start.startswith(b"\x80"):
                raise _pickled(file) from error
            raise
    if not np.issubdtype(mapped.dtype, np.floating) or mapped.ndim < 2:
        raise OrbitLensError(
            str(file),
            expected="floating numbers with at least two axes, [rows, dim]",
            received=f"{mapped.dtype.name} of shape {list(mapped.shape)}",
            remedy="save the activations, one row for each input",
        )

    def read(start: int, stop: int) -> Shaped[np.ndarray, "_ *row"]:
        with damage_errors(file, _NPY):
            return np.asarray(open_memmap(file, mode="r")[start:stop])

    return Shard(file, len(mapped), mapped.shape[1:], mapped.dtype.name, read)


def _pickled(file: Path) -> OrbitLensError:
    return OrbitLensError(
        str(file),
        expected="numbers",
        received="pickled Python objects, which are never loaded",
        remedy="save a plain floating array: np.save(path, array.astype(np.float32))",
    )


def _tensors(file: Path) -> list[str]:
    """Return the names of the tensors that may be activations."""
    with damage_errors(file, _SAFETENSORS), safe_open(file, framework="pt") as tensors:
        found = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
        described = {name: (item.get_dtype(), item.get_shape()) for name, item in found.items()}
    names = [
        name
        for name, (dtype, shape) in described.items()
        if dtype in _FLOATS and 2 <= len(shape) <= 4
    ]
    if not names:
        listed = ", ".join(f"{name} {kind} {shape}" for name, (kind, shape) in described.items())
        raise OrbitLensError(
            str(file),
            expected="a floating tensor with two to four axes, [rows, dim]",
            received=listed or "no tensors",
            remedy="save the activations, one row for each input",
        )
    return sorted(names)


def _tensor_shard(file: Path, name: str) -> Shard:
    with damage_errors(file, _SAFETENSORS), safe_open(file, framework="pt") as tensors:
        part = tensors.get_slice(name)
        dtype, shape = _FLOATS[part.get_dtype()], tuple(part.get_shape())

    def read(start: int, stop: int) -> Float[np.ndarray, "_ *row"]:
        with damage_errors(file, _SAFETENSORS), safe_open(file, framework="pt") as tensors:
            values = tensors.get_slice(name)[start:stop]
            return (values if values.dtype == torch.float64 else values.float()).numpy()

    return Shard(file, shape[0], shape[1:], dtype, read)
