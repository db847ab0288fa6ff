"""A store from activations that exist already."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from orbitlens.activations.store._claim import check_free
from orbitlens.activations.store._files import as_files
from orbitlens.activations.store._on_disk import (
    Labels,
    check_dtype,
    check_finite,
    to_float32,
)
from orbitlens.activations.store._open_store import describe
from orbitlens.activations.store._write_store import write_store
from orbitlens.activations.store.activation_store import ActivationStore
from orbitlens.checks import as_labels, as_tensor, as_texts
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group


def store_from_array(
    array: Shaped[np.ndarray, "..."] | Shaped[Tensor, "..."] | Sequence[Any],
    *,
    group: Group | str,
    out: Path | str | None = None,
    labels: Labels | None = None,
    class_names: tuple[str, ...] = (),
    files: Sequence[str | Path] = (),
    model: str = "array",
    layer: str = "array",
    action: str = "given",
    digest: str | None = None,
    dtype: str = "float32",
) -> ActivationStore:
    """Build a store from an array whose entry [i, g] is psi(g x_i).

    Args:
        array: [n, |G|, dim], or [n, |G|, positions, dim] with positions already aligned over the
            group; numpy, torch or nested lists, of any type of number.
        group: The group, or its name; element g of the array's second axis is its element g.
        out: Folder or URL to write; None (the default) keeps the store in memory.
        labels: One class index per sample.
        class_names: The names of the classes.
        files: The file, or another name, of each sample; default none.
        model: Recorded name of the network.
        layer: Recorded name of the layer.
        action: Recorded name of the action.
        digest: Fingerprint of the inputs; by default one of the activations.
        dtype: The type on disk: "float32" (the default), "float16" or "bfloat16".

    Returns:
        The store.

    Raises:
        OrbitLensError: If the array has another shape, is empty or not of numbers; if it holds
            masked entries, NaN, infinity or a number too large for `dtype` (says where); if its
            numbers are too small for `dtype`; if labels or files do not fit; if `out` exists.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> store = store_from_array(torch.ones(2, 6, 3, dtype=torch.float16), group=cyclic(6))
        >>> store.n, store.dim, store.orbits().dtype
        (2, 3, torch.float32)
    """
    group, held = as_group(group), _as_array(array)
    _check_shape(held.shape, group)
    check_dtype(dtype)
    class_names = as_texts("class_names", class_names)
    files = as_files(files, len(held))
    check_free(out)
    if labels is not None:
        labels = as_labels(labels, len(held), class_names)
    values = to_float32(held, 0)
    check_finite(values, start=0)
    return write_store(
        [values],
        n=len(values),
        out=out,
        labels=labels,
        files=files,
        attributes=describe(
            group=group,
            action=action,
            model=model,
            layer=layer,
            digest=digest or hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()[:16],
            class_names=class_names,
            dtype=dtype,
        ),
    )


def _as_array(
    array: Shaped[np.ndarray, "..."] | Shaped[Tensor, "..."] | Sequence[Any],
) -> Shaped[np.ndarray, "..."]:
    """Return numbers of any kind as a floating array, without a copy if they are one."""
    plain = array if isinstance(array, np.ndarray) else np.empty(0, int)
    if np.issubdtype(plain.dtype, np.floating) and not isinstance(plain, np.ma.MaskedArray):
        return plain
    values = as_tensor("array", array, dtype=None, finite=False).detach().cpu()
    return (values if values.dtype == torch.float64 else values.float()).numpy()


def _check_shape(shape: tuple[int, ...], group: Group) -> None:
    if len(shape) not in (3, 4) or shape[1] != group.order or 0 in shape:
        raise OrbitLensError(
            "`array`",
            expected=f"shape [n, {group.order}, dim] or [n, {group.order}, positions, dim] for "
            f"{group}, no axis empty",
            received=f"shape {list(shape)}",
            remedy="put the activation of g applied to sample i at [i, g]",
        )
