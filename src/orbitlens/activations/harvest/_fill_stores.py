"""Fill the stores of one or several layers, shard by shard, here or in worker processes.

One layer has its store at the target itself. Several layers have theirs in the folder of the
target, a Zarr group, under the numbers of the layers: 000.zarr, 001.zarr. Its attributes describe
the harvest, list the layers, and, once all is written, mark it as complete.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orbitlens.activations.harvest._function import rounding
from orbitlens.activations.harvest._inputs import relative_difference, warn_of_copies
from orbitlens.activations.harvest._job import Blocks, Job, orbit_blocks
from orbitlens.activations.harvest._positions import Layout
from orbitlens.activations.harvest._reduction import find_bases, restore_bases, save_basis
from orbitlens.activations.harvest._workers import fill_in_workers
from orbitlens.activations.store._address import address_errors, exists, inside, read_at
from orbitlens.activations.store._claim import Claim, claim_place
from orbitlens.activations.store._files import as_files
from orbitlens.activations.store._open_store import open_root, open_store
from orbitlens.activations.store._resume_settings import check_same
from orbitlens.activations.store._write_store import (
    ShardWriter,
    begin,
    first_orbit,
    in_shards,
    open_written,
    part_errors,
)
from orbitlens.activations.store.activation_store import ActivationStore
from orbitlens.checks import as_labels, as_texts
from orbitlens.errors import OrbitLensError
from orbitlens.models import evaluating

Stores = dict[str, ActivationStore]
# The schema of a folder of stores: each is called LAYER.zarr, or by its number among the layers.
_NAMED, _NUMBERED = 1, 2


def fill_stores(
    look: Callable[[Job], dict[str, Layout]],
    settings: Mapping[str, Any],
    *,
    max_dim: int | None = None,
    **given: Any,
) -> tuple[Stores, Mapping[str, Layout]]:
    """Write stores, continue an interrupted harvest, or open finished stores.

    `look` runs the network once and returns how each layer's activations are taken; the result
    includes these layouts, with the directions of wide layers. `given` is the rest of the job.
    """
    job = Job(settings=settings, max_dim=max_dim, **given)
    job.check()
    job = replace(
        job,
        class_names=as_texts("class_names", job.class_names),
        files=as_files(job.files, len(job.inputs)),
    )
    if job.labels is not None:
        labels = as_labels(job.labels, len(job.inputs), job.class_names)
        job = replace(job, labels=labels)
    with evaluating(job.model):
        job = replace(job, layouts=look(job))
        return _fill_stores(job, job.check_function())


def _fill_stores(
    job: Job, check_unchanged: Callable[[], None]
) -> tuple[Stores, Mapping[str, Layout]]:
    target, attributes, labels = job.target, job.attributes(), job.kept_labels()
    warn_of_copies(job.inputs)
    if job.resume and target is not None and _is_complete(target):
        job = _named_as(job, target)
        check_same(open_root(target).attrs.asdict(), _record(job, attributes))
        stores = {layer: open_store(inside(target, name)) for layer, name in job.names.items()}
        for layer, store in stores.items():
            store.require(layer=layer)
            _check_same_labels(job, store)
        job = restore_bases(job, target)
        roots = {layer: open_root(inside(target, name)) for layer, name in job.names.items()}
        _check_same_numbers(
            job, {layer: first_orbit(root, job.dtype) for layer, root in roots.items()}
        )
        return stores, job.layouts
    memory = nullcontext(Claim(None, None))
    with memory if target is None else claim_place(target, resume=job.resume) as claim:
        job = _named_as(job, claim.address) if claim.found else job
        record = _record(job, attributes)
        if job.max_dim is None:
            attributes = dict.fromkeys(job.names, record)
        threads = begin(claim, record).get("threads")
        # As many as the harvest began with: other sums would round otherwise.
        with _threads(threads):
            known: Mapping[str, Tensor] = {}
            if (most := job.max_dim) is not None:
                with part_errors(claim):
                    job = restore_bases(job, claim.address) if claim.found else job
                known, job = job.bases, find_bases(job, most)
            writer = ShardWriter(
                claim,
                job.names,
                attributes,
                {layer: (job.order, *layout.shape) for layer, layout in job.layouts.items()},
                n=len(job.inputs),
                together=max(1, job.batch_size // job.order),
                labels=None if labels is None else labels.astype(np.int64),
                files=job.files,
            )
            with address_errors(claim.target):
                for layer in job.bases:
                    if layer not in known:
                        save_basis(writer.roots[layer], job.layouts[layer])
            writer.drop_incomplete()
            _check_same_numbers(job, writer.first_orbits())
            _write_missing(writer, job, threads)
            check_unchanged()
        roots = writer.finish()
    addresses = {layer: inside(target, name) for layer, name in job.names.items()}
    stores = {layer: open_written(root, addresses[layer]) for layer, root in roots.items()}
    return stores, job.layouts


def _check_same_numbers(job: Job, stored: Mapping[str, Tensor]) -> None:
    """Check that network, action and preparation are those that an earlier run had.

    Their names and weights may be the same although they compute something else: so the first orbit
    is computed again, and compared with the stored one.
    """
    if not stored:
        return
    together = next(job.batches(0, 1))
    (now,) = orbit_blocks(job.model, job.layouts, [together], job.order, 0, job.seed_forward)
    # Batches of another size round otherwise, and so do the numbers on disk.
    most = rounding(job.model, together[0]) + torch.finfo(getattr(torch, job.dtype)).eps
    for layer, orbit in stored.items():
        difference = relative_difference(torch.from_numpy(now[layer]), orbit)
        if difference > most:
            raise OrbitLensError(
                "`resume`",
                expected="the network, action and `prepare` of the harvest that is there",
                received=f"activations of input 0 at layer {layer!r} that differ by "
                f"{difference:.2g} of their size",
                remedy="give the same ones, or another `out`",
            )


def _check_same_labels(job: Job, store: ActivationStore) -> None:
    """Check the labels of (input, label) pairs, which the digest does not cover."""
    labels = job.kept_labels()
    if labels is None or store.labels is None or np.array_equal(labels, store.labels):
        return
    raise OrbitLensError(
        "`resume`",
        expected="the labels of the harvest that is there",
        received=f"others for {int((labels != store.labels).sum())} inputs",
        remedy="give the same ones, or another `out`",
    )


def _named_as(job: Job, address: Path | str | None) -> Job:
    """Name the stores of many layers as the version did that began them."""
    if job.max_dim is None or open_root(address).attrs.get("schema") != _NAMED:
        return job
    paths = [layer for layer in job.layouts if Path(layer).name != layer]
    if paths:
        raise OrbitLensError(
            f"harvest {job.target}",
            expected="layers whose names are no paths, as an earlier version wrote it",
            received=", ".join(map(repr, paths)),
            remedy="harvest them again to another `out`",
        )
    return replace(job, numbered=False)


def _record(job: Job, attributes: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the attributes that are written to the target before anything else."""
    record = dict(next(iter(attributes.values())))
    if job.max_dim is not None:
        del record["layer"], record["moves"], record["layout"]
        schema = _NUMBERED if job.numbered else _NAMED
        record |= {"format": "orbitlens-layers", "schema": schema, "layers": list(job.names)}
    if job.target is not None:
        record["threads"] = max(1, torch.get_num_threads() // job.workers)
        record["settings"] = job.resume_settings()
    return record


def _write_missing(writer: ShardWriter, job: Job, threads: int | None) -> None:
    """Write the missing shards, here or in worker processes."""
    shards, todo = writer.shards, writer.missing()
    done = shards.n - sum(stop - start for start, stop in map(shards.span, todo))

    def tick(samples: int) -> None:
        nonlocal done
        done += samples
        if job.progress is not None and samples:
            job.progress(done, shards.n)

    if job.workers > 1 and threads is not None:
        fill_in_workers(job, writer, todo, threads, tick)
        return
    blocks = chain.from_iterable(
        orbit_blocks(
            job.model, job.layouts, job.batches(start, stop), job.order, start, job.seed_forward
        )
        for start, stop in map(shards.span, todo)
    )
    for shard, block in in_shards(_report(blocks, tick), shards, todo):
        writer.write(shard, block)


def _report(blocks: Blocks, tick: Callable[[int], None]) -> Blocks:
    """Yield the same blocks; report the samples of each once it has been dealt with."""
    for block in blocks:
        yield block
        tick(len(next(iter(block.values()))))


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _is_complete(target: Path | str) -> bool:
    """Return whether the target is complete; at a URL, part of a store may be there to resume."""
    if isinstance(target, Path):
        with address_errors(target):
            return exists(target)
    begun = read_at(target, "zarr.json") is not None
    return begun and open_root(target).attrs.get("complete") is True
