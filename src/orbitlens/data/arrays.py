"""Inputs in a file of NumPy: a .npz file with what is known of them, or a .npy file of them alone.

Nothing is unpickled. What the headers of the arrays can tell is told before their numbers are read.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from numpy.lib import format as npy
from torch import Tensor

from orbitlens.checks import as_count, as_labels, as_seed
from orbitlens.data._array_headers import INPUTS, NPY, NPZ, read_headers, whole_file
from orbitlens.data.base import Inputs
from orbitlens.data.lazy import LazyInputs
from orbitlens.errors import OrbitLensError
from orbitlens.files import as_path

_HELD = 2**28  # bytes of numbers of a .npy file that are held in memory


def is_array_file(path: str | Path) -> bool:
    """Return whether a name is that of a .npz or .npy file, existing or not.

    Example:
        >>> is_array_file("data.npz"), is_array_file("images")
        (True, False)
    """
    return Path(path).suffix.lower() in (NPZ, NPY)


def array_shape(path: str | Path) -> tuple[int, ...]:
    """Return the shape of the inputs in a file; see `array_file`. Their numbers are not read.

    Raises:
        OrbitLensError: If the file is none that `array_file` reads, as far as its headers tell.

    Example:
        >>> array_shape("no/such.npz")
        Traceback (most recent call last):
        orbitlens.errors.OrbitLensError: no/such.npz: expected an existing .npz or .npy file, ...
    """
    return read_headers(_checked_path(path))[INPUTS].shape


def array_file(
    path: str | Path, *, images: bool = False, limit: int | None = None, seed: int = 0
) -> Inputs:
    """Read inputs of any kind from a .npz or .npy file.

    A .npz file, as `numpy.savez` writes it, holds `inputs` [n, ...]; and, if they are known,
    `labels` [n], whole numbers from 0; `class_names`, a text for each label; and `files` or
    `names`, a text for each input. A .npy file holds the inputs alone. If they need more than 256
    MiB, they are read from it when they are needed. Inputs become float32.

    Args:
        path: The file.
        images: Whether the inputs are images [n, channels, height, width]: numbers of uint8 are
            divided by 255, and others lie in [0, 1]. False (the default) takes any finite numbers.
        limit: Maximum number of inputs, chosen at random with `seed`; None (the default) for all.
        seed: The same seed chooses the same inputs.

    Returns:
        Inputs of shape [n, ...] with labels and names, if the file has them. Where some were
        chosen, their names are their numbers in the file, if they have no others.

    Raises:
        OrbitLensError: If the file cannot be read or holds other arrays, objects, or labels or
            names of another length; if the inputs are no finite real numbers; or, for images, lie
            outside [0, 1].

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "waves.npz"
        >>> np.savez(path, inputs=np.zeros((5, 2, 8)), labels=[0, 1, 0, 1, 0])
        >>> waves = array_file(path)
        >>> waves.values.shape, waves.class_names
        (torch.Size([5, 2, 8]), ('0', '1'))
    """
    path = _checked_path(path)
    headers = read_headers(path)
    n = headers[INPUTS].shape[0]
    chosen = np.arange(n)
    if limit is not None and as_count("limit", limit) < n:
        drawn = np.random.default_rng(as_seed(seed)).permutation(n)
        chosen = np.sort(drawn[:limit])
    few = len(chosen) < n
    with whole_file(path), _opened(path) as arrays:
        values = _values(path, arrays[INPUTS], chosen, images=images)
        others = {name: arrays[name][...] for name in headers if name != INPUTS}
    names = others.get("files", others.get("names"))
    files = [f"input {i}" for i in chosen] if few else []
    if names is not None:
        files = [str(names[i]) for i in chosen]
    labels, class_names = None, tuple[str, ...]()
    if "labels" in others:
        given = tuple(map(str, others.get("class_names", ())))
        labels = as_labels(others["labels"], n, given)
        class_names = given or tuple(map(str, range(int(labels.max()) + 1)))
        labels = labels[chosen]
    return Inputs(
        name=path.stem,
        values=values,
        labels=labels,
        class_names=class_names,
        files=tuple(files),
        passed_over=(f"{len(chosen)} of {n} inputs were chosen at random.",) if few else (),
    )


def _checked_path(path: str | Path) -> Path:
    found = as_path("path", path)
    if found.is_file() and is_array_file(found):
        return found
    raise OrbitLensError(
        str(path),
        expected="an existing .npz or .npy file, as numpy.savez or numpy.save writes it",
        received="a folder" if found.is_dir() else "another file" if found.exists() else "none",
        remedy="give the path of such a file",
    )


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix.lower() == NPY:
        yield {INPUTS: npy.open_memmap(path, mode="r")}
        return
    with np.load(path, allow_pickle=False) as arrays:
        yield arrays


def _values(
    path: Path,
    array: Shaped[np.ndarray, "n *axes"],
    chosen: Shaped[np.ndarray, " few"],
    *,
    images: bool,
) -> Float32[Tensor, "few *axes"] | LazyInputs:
    """Return the chosen inputs; those of a large .npy file are read when they are needed."""
    if path.suffix.lower() == NPZ or len(chosen) * 4 * array[0].size <= _HELD:
        numbers = _as_float(array[chosen], images=images)
        _check_numbers(path, numbers, chosen, images=images)
        return torch.from_numpy(numbers)

    def read(i: int) -> Float32[np.ndarray, "*axes"]:
        row = chosen[i : i + 1]
        numbers = _as_float(array[row], images=images)
        _check_numbers(path, numbers, row, images=images)
        return numbers[0]

    values = LazyInputs(read, len(chosen))
    values.content()  # every number is looked at before work begins
    return values


def _as_float(
    array: Shaped[np.ndarray, "n *axes"], *, images: bool
) -> Float32[np.ndarray, "n *axes"]:
    numbers = array.astype(np.float32)
    return numbers / np.float32(255) if images and array.dtype == np.uint8 else numbers


def _check_numbers(
    path: Path,
    numbers: Float32[np.ndarray, "n *axes"],
    chosen: Shaped[np.ndarray, " n"],
    *,
    images: bool,
) -> None:
    flat = numbers.reshape(len(numbers), -1)
    wrong = np.flatnonzero(~np.isfinite(flat).all(axis=1))
    if len(wrong):
        raise OrbitLensError(
            f"`{INPUTS}` of {path}",
            expected="finite numbers that float32 can hold",
            received=f"NaN or infinity in input {chosen[wrong[0]]}"
            + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""),
            remedy="repair the inputs, or leave out those that are damaged",
        )
    low, high = float(flat.min()), float(flat.max())
    if images and not (low >= 0 and high <= 1):
        raise OrbitLensError(
            f"images of {path}",
            expected="values in [0, 1], or numbers of uint8",
            received=f"values {low:.4g} to {high:.4g}",
            remedy="scale them to [0, 1], and give --normalise as in the training of the network; "
            "if they are no images, name the --action",
        )
