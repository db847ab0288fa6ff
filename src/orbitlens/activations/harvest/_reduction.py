"""The directions of wide layers: found in a trial before the harvest, and kept with the store.

The trial runs whole orbits of the first inputs, so that the group maps the trial to itself. A store
keeps its directions in an array `basis`, [dim, channels].
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import zarr
from jaxtyping import Float
from torch import Tensor
from zarr.codecs import Crc32cCodec

from orbitlens.activations.harvest._job import Job, run_to_layers
from orbitlens.activations.harvest._positions import Layout
from orbitlens.activations.store._address import address_errors, inside, zarr_store
from orbitlens.activations.store._on_disk import check_finite

_TRIAL_ROWS = 2048
_TRIAL_NUMBERS = 2**26  # of one layer: 256 MiB
_KEPT = "kept_variance"


def find_bases(job: Job, most: int) -> Job:
    """Find `most` principal directions for every wider layer that has none yet."""
    wide = {name: layout for name, layout in job.layouts.items() if layout.dim > most}
    if not wide:
        return job
    rows = _trial(job, wide, most)
    layouts = dict(job.layouts)
    for name, layout in wide.items():
        found = rows.pop(name)  # freed after this layer
        orbits = found.unflatten(0, (-1, job.order)).numpy()
        check_finite(orbits, 0, f"activations of layer {name!r}")
        basis, kept = principal_directions(found.flatten(0, -2), most)
        layouts[name] = replace(layout, basis=basis.to(job.device), kept_variance=kept)
    return replace(job, layouts=layouts)


def restore_bases(job: Job, address: Path | str | None) -> Job:
    """Take the directions of an earlier run: to find them again could round differently."""
    layouts = dict(job.layouts)
    for layer, name in job.names.items():
        with address_errors(address):
            saved = _read_basis(inside(address, name))
        if saved is not None:
            basis, kept = saved
            layouts[layer] = replace(layouts[layer], basis=basis.to(job.device), kept_variance=kept)
    return replace(job, layouts=layouts)


def save_basis(root: zarr.Group, layout: Layout) -> None:
    """Write the directions of a layer to the group of its store."""
    if layout.basis is None:
        return
    shape = tuple(layout.basis.shape)
    array = root.create_array(
        "basis",
        shape=shape,
        chunks=shape,
        dtype="float32",
        fill_value=float("nan"),
        compressors=[Crc32cCodec()],
        attributes={_KEPT: layout.kept_variance},
        overwrite=True,
    )
    array[:] = layout.basis.cpu().numpy()


def principal_directions(
    rows: Float[Tensor, "row channels"], most: int
) -> tuple[Float[Tensor, "dim channels"], float]:
    """Return the directions in which rows have most power, and the share of it that they keep.

        sum over rows of <row, direction>^2

    is greatest for the first direction, and so on. These are principal components about zero, so
    the mean is kept like anything else. They are orthonormal float32 rows, no more than `most`, nor
    than rows or channels. The share is 1 if all rows are zero.
    """
    values = rows.cpu().double()
    dim = min(most, *values.shape)
    if values.shape[1] <= values.shape[0]:
        power, directions = torch.linalg.eigh(values.T @ values)
        directions = directions[:, -dim:].flip(1)
    else:
        # The smaller matrix of inner products gives the same directions. If rows depend on each
        # other, some directions have no length; the QR decomposition replaces them.
        power, combinations = torch.linalg.eigh(values @ values.T)
        directions = torch.linalg.qr(values.T @ combinations[:, -dim:].flip(1)).Q
    total = power.sum()
    kept = float(power[-dim:].sum() / total) if total > 0 else 1.0
    return directions.T.float().contiguous(), min(1.0, kept)


def _trial(
    job: Job, wide: Mapping[str, Layout], most: int
) -> dict[str, Float[Tensor, "moved *position channels"]]:
    """Return the activations of wide layers for whole orbits of the first inputs."""
    wanted = {}
    for name, layout in wide.items():
        enough = min(max(_TRIAL_ROWS, most), _TRIAL_NUMBERS // layout.width)
        orbits = max(1, min(len(job.inputs), enough // (job.order * layout.places)))
        wanted[name] = job.order * orbits
    parts: dict[str, list[Tensor]] = {name: [] for name in wide}
    done = 0
    for batches in job.batches(0, max(wanted.values()) // job.order):
        for ready in batches:
            lacking = {name: layout for name, layout in wide.items() if wanted[name] > done}
            for name, rows in run_to_layers(job.model, lacking, ready, job.seed_forward).items():
                parts[name].append(rows[: wanted[name] - done].cpu())
            done += len(ready)
    return {name: torch.cat(rows) for name, rows in parts.items()}


def _read_basis(
    address: Path | str | None,
) -> tuple[Float[Tensor, "dim channels"], float] | None:
    """Return the directions of a store and their share; None if it has none, or not all."""
    try:
        root = zarr.open_group(zarr_store(address, read_only=True), mode="r", zarr_format=3)
        array = root["basis"]
    except (FileNotFoundError, KeyError):
        return None
    if not isinstance(array, zarr.Array):
        return None
    # A copy: in the memory of torch, products round as they did when the directions were found.
    basis = torch.tensor(np.asarray(array[:]))
    return None if basis.isnan().any() else (basis, float(str(array.attrs[_KEPT])))
