"""The directions of a wide layer, kept with its store: an array `basis`, [dim, channels]."""

from pathlib import Path

import numpy as np
import torch
import zarr
from jaxtyping import Float
from torch import Tensor
from zarr.codecs import Crc32cCodec

from orbitlens.activations.store._address import zarr_store

_KEPT = "kept_variance"


def save_basis(root: zarr.Group, basis: Float[Tensor, "dim channels"], kept: float) -> None:
    """Write the directions of a layer.

    Args:
        root: The group of its store.
        basis: Orthonormal, one per row.
        kept: The share of the power that they keep.
    """
    array = root.create_array(
        "basis",
        shape=tuple(basis.shape),
        chunks=tuple(basis.shape),
        dtype="float32",
        fill_value=float("nan"),
        compressors=[Crc32cCodec()],
        attributes={_KEPT: kept},
        overwrite=True,
    )
    array[:] = basis.cpu().numpy()


def saved_basis(address: Path | str | None) -> tuple[Float[Tensor, "dim channels"], float] | None:
    """Return what `save_basis` wrote to the store at an address, None where it did not, or not all.

    Args:
        address: The folder or URL of the store, whole or not.
    """
    try:
        root = zarr.open_group(zarr_store(address, read_only=True), mode="r", zarr_format=3)
        array = root["basis"]
    except (FileNotFoundError, KeyError):
        return None
    if not isinstance(array, zarr.Array):
        return None
    # A copy: in the memory of torch products round as they did where the directions were found.
    basis = torch.tensor(np.asarray(array[:]))
    return None if basis.isnan().any() else (basis, float(str(array.attrs[_KEPT])))
