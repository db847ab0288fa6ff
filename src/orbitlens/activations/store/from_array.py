"""A store from activations that exist already."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int, Shaped
from torch import Tensor

from orbitlens.activations.store._claim import check_free
from orbitlens.activations.store._on_disk import check_dtype, check_finite, to_float32
from orbitlens.activations.store._open_store import describe
from orbitlens.activations.store._write_store import check_labels, write_store
from orbitlens.activations.store.activation_store import ActivationStore
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group


def store_from_array(
    array: Shaped[np.ndarray, "..."] | Shaped[Tensor, "..."],
    *,
    group: Group,
    out: Path | str | None = None,
    labels: Int[np.ndarray, " n"] | None = None,
    class_names: tuple[str, ...] = (),
    model: str = "array",
    layer: str = "array",
    action: str = "given",
    digest: str | None = None,
    dtype: str = "float32",
) -> ActivationStore:
    """Build a store from an array whose entry [i, g] is psi(g x_i).

    Args:
        array: [n, |G|, dim], or [n, |G|, positions, dim] with positions already aligned over the
            group; numpy or torch, any floating type.
        group: The group; element g of the array's second axis is its element g.
        out: Folder or URL to write; None (the default) keeps the store in memory.
        labels: One class index per sample.
        class_names: The names of the classes.
        model: Recorded name of the network.
        layer: Recorded name of the layer.
        action: Recorded name of the action.
        digest: Fingerprint of the inputs; by default one of the activations.
        dtype: The type on disk: "float32" (the default), "float16" or "bfloat16".

    Returns:
        The store.

    Raises:
        OrbitLensError: If the array has another shape, is not floating or is empty; if it holds
            NaN, infinity or a number too large for `dtype` (says where); if labels do not fit; if
            `out` exists.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> store = store_from_array(torch.ones(2, 6, 3, dtype=torch.float16), group=cyclic(6))
        >>> store.n, store.dim, store.orbits().dtype
        (2, 3, torch.float32)
    """
    _check_shape(array, group)
    check_dtype(dtype)
    check_free(out)
    check_labels(labels, class_names, len(array))
    values = _as_float32(array)
    check_finite(values, start=0)
    return write_store(
        [values],
        n=len(values),
        out=out,
        labels=labels,
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


def _check_shape(array: Shaped[np.ndarray, "..."] | Shaped[Tensor, "..."], group: Group) -> None:
    shape = tuple(array.shape)
    if len(shape) not in (3, 4) or shape[1] != group.order or 0 in shape:
        raise OrbitLensError(
            "`array`",
            expected=f"shape [n, {group.order}, dim] or [n, {group.order}, positions, dim] for "
            f"{group}, no axis empty",
            received=f"shape {list(shape)}",
            remedy="put the activation of g applied to sample i at [i, g]",
        )
    floating = (
        array.is_floating_point()
        if isinstance(array, Tensor)
        else np.issubdtype(array.dtype, np.floating)
    )
    if not floating:
        raise OrbitLensError(
            "`array`",
            expected="floating numbers",
            received=str(array.dtype),
            remedy="convert it to float32",
        )


def _as_float32(
    array: Shaped[np.ndarray, "..."] | Shaped[Tensor, "..."],
) -> Float32[np.ndarray, "n group *rest"]:
    if isinstance(array, Tensor):
        held = array.detach().cpu()
        array = (held if held.dtype == torch.float64 else held.float()).numpy()
    return to_float32(array, 0)
