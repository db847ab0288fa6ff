"""Arrays at the door: lists, NumPy arrays and tensors, as one kind."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from orbitlens.errors import OrbitLensError, one_line


def as_tensor(
    name: str, value: object, *, dtype: torch.dtype | None = torch.float32, finite: bool = True
) -> Shaped[Tensor, "..."]:
    """Return numbers as a tensor of a type; None keeps a floating type, and makes others float32.

    A tensor of the right type is returned as it is. Masked entries, NaN and infinity are errors, as
    are complex numbers, objects and text.
    """
    tensor = _plain_tensor(name, value)
    if dtype is None:
        dtype = tensor.dtype if tensor.is_floating_point() else torch.float32
    converted = tensor.to(dtype)
    if finite and not bool(torch.isfinite(converted).all()):
        bad = int((~torch.isfinite(converted)).sum())
        raise OrbitLensError(
            f"`{name}`",
            expected=f"finite numbers that fit {str(dtype).removeprefix('torch.')}",
            received=f"{bad} NaN or infinite values",
            remedy="repair or leave out these samples",
        )
    return converted


def as_axes(
    name: str,
    value: object,
    axes: str,
    *,
    dtype: torch.dtype | None = None,
    sizes: Mapping[str, int] | None = None,
    least: int = 0,
    finite: bool = True,
) -> Shaped[Tensor, "..."]:
    """Return numbers as a tensor with the axes that a text names, such as "batch dim".

    `sizes` are those that some axes must have; the first axis has at least `least` entries. By
    default floating types are kept, and whole numbers become float32. Axes that begin with "..."
    stand for any number of them.
    """
    tensor = as_tensor(name, value, dtype=dtype, finite=finite)
    words, known = axes.split(), sizes or {}
    named = [word for word in words if word != "..."]
    enough = len(named) <= tensor.ndim if "..." in words else len(named) == tensor.ndim
    pairs = list(zip(reversed(named), reversed(tensor.shape), strict=False))
    shape = dict(pairs)
    if (
        not enough
        or any(shape[word] != size for word, size in (*pairs, *known.items()))
        or (least and len(tensor) < least)
    ):
        raise _other_shape(name, words, known, least, tensor)
    return tensor


def as_floats(name: str, value: object) -> Shaped[Tensor, "..."]:
    """Return a floating tensor as it is, and other numbers as one; made to be cheap in a loop.

    NaN is not looked for; it shows in what is computed. Nor are numbers needed: shapes can be tried
    on the device "meta".
    """
    if (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.layout == torch.strided
        and not value.is_nested
    ):
        return value
    return as_tensor(name, value, dtype=None, finite=False)


def as_indices(
    name: str, value: object, axes: str, *, most: int, size: int | None = None
) -> Int64[Tensor, "..."]:
    """Return whole numbers from 0 to `most`, as a tensor with the axes that a text names.

    Booleans and fractions are errors. The first axis has `size` entries, if that is given.
    """
    tensor, words = _plain_tensor(name, value), axes.split()
    if tensor.ndim != len(words) or (size is not None and len(tensor) != size):
        raise _other_shape(name, words, {} if size is None else {words[0]: size}, 0, tensor)
    if tensor.numel() == 0:
        return tensor.long()
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise OrbitLensError(
            f"`{name}`",
            expected=f"whole numbers in 0..{most}",
            received=str(tensor.dtype).removeprefix("torch."),
            remedy="give integers",
        )
    tensor = tensor.long()
    if not (int(tensor.min()) >= 0 and int(tensor.max()) <= most):
        raise OrbitLensError(
            f"`{name}`",
            expected=f"whole numbers in 0..{most}",
            received=f"numbers in {int(tensor.min())}..{int(tensor.max())}",
            remedy="count from 0",
        )
    return tensor


def as_flags(name: str, value: object, axes: str, *, size: int) -> Bool[Tensor, "..."]:
    """Return booleans, given as such or as zeros and ones; the first axis has `size` entries."""
    tensor, words = _plain_tensor(name, value), axes.split()
    if tensor.ndim != len(words) or len(tensor) != size:
        raise _other_shape(name, words, {words[0]: size}, 0, tensor)
    if tensor.dtype != torch.bool and not bool(((tensor == 0) | (tensor == 1)).all()):
        raise OrbitLensError(
            f"`{name}`",
            expected="booleans, or zeros and ones",
            received=f"{str(tensor.dtype).removeprefix('torch.')} of other values",
            remedy="compare with a threshold or a class first",
        )
    return tensor.bool()


_MOST_CLASSES = 2**20


def as_labels(labels: object, n: int, class_names: tuple[str, ...] = ()) -> Int64[np.ndarray, " n"]:
    """Return one class index per sample, from whole numbers of any type, or from booleans."""
    array = _plain_array("labels", labels)
    if array.ndim != 1 or len(array) != n:
        raise OrbitLensError(
            "`labels`",
            expected=f"one per sample, shape [{n}]",
            received=f"shape {list(array.shape)}",
            remedy="give one class index per sample (argmax of one-hot labels, a column flattened)",
        )
    if array.dtype.kind not in "iub":
        raise OrbitLensError(
            "`labels`",
            expected="class indices, whole numbers from 0",
            received=f"{array.dtype} such as {array[:1].tolist()[0] if len(array) else None!r}",
            remedy="number the classes, for example with numpy.unique(names, return_inverse=True)",
        )
    array = array.astype(np.int64)
    most = len(class_names) - 1 if class_names else None
    if len(array) and (array.min() < 0 or (most is not None and array.max() > most)):
        raise OrbitLensError(
            "`labels`",
            expected="0 or more" if most is None else f"indices into the {most + 1} class names",
            received=f"labels in {array.min()}..{array.max()}",
            remedy="number the classes from 0" if most is None else "name every class",
        )
    if len(array) and array.max() >= _MOST_CLASSES:
        raise OrbitLensError(
            "`labels`",
            expected=f"class indices below {_MOST_CLASSES}",
            received=int(array.max()),
            remedy="number the classes, for example with numpy.unique(labels, return_inverse=True)",
        )
    return array


def as_samples(samples: object, n: int, name: str = "samples") -> Int64[np.ndarray, " chosen"]:
    """Return the indices of samples, 0 to n - 1, given as such or as a boolean mask of length n."""
    array = _plain_array(name, samples)
    if array.dtype.kind == "b" and array.shape == (n,):
        return np.flatnonzero(array)
    if array.size == 0 and array.ndim == 1:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise OrbitLensError(
            f"`{name}`",
            expected=f"a list of indices, or a boolean mask of shape [{n}]",
            received=f"{array.dtype} of shape {list(array.shape)}",
            remedy="give for example numpy.flatnonzero(mask)",
        )
    if len(array) and not (array.min() >= 0 and array.max() < n):
        raise OrbitLensError(
            f"`{name}`",
            expected=f"indices in 0..{n - 1}",
            received=f"indices in {array.min()}..{array.max()}",
            remedy="choose among these, counted from 0",
        )
    return array.astype(np.int64)


def _plain_array(name: str, value: object) -> Shaped[np.ndarray, "..."]:
    if isinstance(value, Tensor):
        _check_dense(name, value)
        value = value.detach().cpu().resolve_conj().resolve_neg().numpy()
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise _not_numbers(name, f"a masked array with {int(value.mask.sum())} masked entries")
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise _not_numbers(name, one_line(error)) from None
    if array.dtype.kind == "O":
        raise _not_numbers(name, f"{type(value).__name__} of objects")
    return array


def _plain_tensor(name: str, value: Any) -> Shaped[Tensor, "..."]:
    if not isinstance(value, Tensor):
        array = _plain_array(name, value)
        if array.dtype.kind not in "fiub":
            raise _not_numbers(name, f"{type(value).__name__} of type {array.dtype}")
        try:
            native = array.astype(array.dtype.newbyteorder("="))
            value = torch.from_numpy(np.asarray(native, order="C"))
        except TypeError:
            value = torch.from_numpy(array.astype(np.float64))
    if value.is_complex():
        raise _not_numbers(name, f"complex numbers, {value.dtype}")
    _check_dense(name, value)
    # NumPy cannot read the imaginary part of a conjugate, which torch negates when it is read.
    return value.resolve_neg()


def _check_dense(name: str, tensor: Tensor) -> None:
    """Refuse tensors whose numbers cannot be read as they stand."""
    kind, remedy = "", "call .to_dense() first"
    if tensor.is_meta:
        kind, remedy = "a tensor of device meta, without numbers", "build it on another device"
    elif tensor.is_nested:
        kind, remedy = "a nested tensor", "call torch.nested.to_padded_tensor, or give parts alone"
    elif tensor.layout != torch.strided:
        kind = f"a tensor of layout {str(tensor.layout).removeprefix('torch.')}"
    elif tensor.is_quantized:
        kind, remedy = "a quantized tensor", "call .dequantize() first"
    if kind:
        raise _not_numbers(name, kind, remedy)


def _other_shape(
    name: str, words: list[str], sizes: Mapping[str, int], least: int, tensor: Tensor
) -> OrbitLensError:
    axes = ", ".join(f"{word} = {sizes[word]}" if word in sizes else word for word in words)
    return OrbitLensError(
        f"`{name}`",
        expected=f"shape [{axes}]" + (f" with {words[0]} at least {least}" if least else ""),
        received=f"shape {list(tensor.shape)}",
        remedy="bring its axes into this order",
    )


def _not_numbers(name: str, received: str, remedy: str = "convert them first") -> OrbitLensError:
    return OrbitLensError(
        f"`{name}`",
        expected="numbers: a tensor, an array or nested lists of one length",
        received=received,
        remedy=remedy,
    )
