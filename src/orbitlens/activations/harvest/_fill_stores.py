"""Filling the stores of one or several layers, shard by shard, here or in worker processes.

One layer has its store at the target itself. Of several, each has one in the folder of the target,
which is a Zarr group: its attributes say what was harvested, and, last of all, that all is there.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orbitlens.activations.harvest._bases import save_basis, saved_basis
from orbitlens.activations.harvest._inputs import counted, orbit_blocks
from orbitlens.activations.harvest._job import Work
from orbitlens.activations.harvest._reduction import Taking, with_bases
from orbitlens.activations.harvest._workers import Psi, Task, harvest_in_workers
from orbitlens.activations.store._address import address_errors, inside, read_at
from orbitlens.activations.store._claim import claimed, exists
from orbitlens.activations.store._resume_settings import check_same
from orbitlens.activations.store._shard_writer import ShardWriter, begin, in_shards
from orbitlens.activations.store._write_store import written_store
from orbitlens.activations.store.activation_store import ActivationStore
from orbitlens.activations.store.open_store import open_root, open_store

Takings = Mapping[str, Taking]


def harvested(
    work: Work,
    takings: Takings,
    names: Mapping[str, str],
    settings: Mapping[str, Any],
    *,
    max_dim: int | None = None,
) -> tuple[dict[str, ActivationStore], Takings]:
    """Write the stores of some layers, go on where that was interrupted, or open what is whole.

    Args:
        work: What is harvested, its network in evaluation mode.
        takings: How the activations of each layer are taken, all their channels.
        names: What each layer's store is called at the target; empty for the target itself.
        settings: What decides the numbers besides the settings of `work`.
        max_dim: Width of the activations, at most; None keeps all channels.

    Returns:
        The stores, and how activations were taken: with the directions of wide layers.

    Raises:
        OrbitLensError: If what is there has other settings or is being written, if an activation
            is not finite or too large, or if the target cannot be written.
    """
    target = work.target
    described = work.described({name: taking.layout.moves for name, taking in takings.items()})
    record = _record(work, described, names, settings)
    if "" in names.values():
        described = dict.fromkeys(names, record)
    if work.resume and target is not None and _is_whole(target):
        check_same(open_root(target).attrs.asdict(), record)
        stores = {layer: open_store(inside(target, name)) for layer, name in names.items()}
        return stores, _with_saved(takings, target, names, work.device)
    with claimed(target, resume=work.resume) as claim:
        threads = begin(claim, record).get("threads")
        # As many as the harvest began with: other sums would round otherwise.
        with _threads(threads):
            before = takings
            if claim.found:
                before = _with_saved(takings, claim.address, names, work.device)
            takings = before if max_dim is None else _with_bases(work, before, max_dim)
            writer = ShardWriter(
                claim,
                names,
                described,
                {name: (work.order, *taking.kept_shape) for name, taking in takings.items()},
                n=len(work.inputs),
                together=max(1, work.batch_size // work.order),
                labels=None if work.labels is None else work.labels.astype(np.int64),
            )
            _save_bases(writer, takings, before)
            _fill(writer, Psi(work.model, takings), work, names, threads)
        roots = writer.finish()
    addresses = {layer: inside(target, name) for layer, name in names.items()}
    return {name: written_store(root, addresses[name]) for name, root in roots.items()}, takings


def _record(
    work: Work,
    described: Mapping[str, dict[str, Any]],
    names: Mapping[str, str],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what is written down at the target of a harvest before anything else."""
    record = dict(next(iter(described.values())))
    if "" not in names.values():
        del record["layer"], record["moves"]
        record |= {"format": "orbitlens-layers", "schema": 1, "layers": list(names)}
    if work.target is not None:
        record["threads"] = max(1, torch.get_num_threads() // work.workers)
        record["settings"] = {**work.settings(), **settings}
    return record


def _with_saved(
    takings: Takings,
    address: Path | str | None,
    names: Mapping[str, str],
    device: torch.device,
) -> Takings:
    """Take the directions that an earlier run found: to find them again could round otherwise."""
    found = dict(takings)
    for layer, name in names.items():
        with address_errors(address):
            saved = saved_basis(inside(address, name))
        if saved is not None:
            basis, kept = saved
            found[layer] = replace(takings[layer], basis=basis.to(device), kept_variance=kept)
    return found


def _with_bases(work: Work, takings: Takings, max_dim: int) -> Takings:
    return with_bases(
        takings,
        lambda moved, wanted: Psi(work.model, wanted)(work.ready(moved)),
        work.inputs,
        work.action,
        max_dim=max_dim,
        batch_size=work.batch_size,
        device=work.device,
    )


def _save_bases(writer: ShardWriter, takings: Takings, before: Takings) -> None:
    """Write down the directions that this run has found."""
    with address_errors(writer.claim.target):
        for layer, taking in takings.items():
            if taking.basis is not None and before[layer].basis is None:
                save_basis(writer.roots[layer], taking.basis, taking.kept_variance)


def _fill(
    writer: ShardWriter, psi: Psi, work: Work, names: Mapping[str, str], threads: int | None
) -> None:
    """Write the shards that are missing, here or in worker processes."""
    shards, todo, claim = writer.shards, writer.missing(), writer.claim
    done = shards.n - sum(stop - start for start, stop in map(shards.span, todo))
    if claim.address is None or claim.target is None or threads is None or work.workers == 1:
        orbits = chain.from_iterable(
            orbit_blocks(psi, work.batches(*shards.span(shard)), work.order, shards.span(shard)[0])
            for shard in todo
        )
        blocks = counted(orbits, shards.n, work.progress, done)
        for shard, block in in_shards(blocks, shards, todo):
            writer.write(shard, block)
        return

    def tick(samples: int) -> None:
        nonlocal done
        done += samples
        if work.progress is not None and samples:
            work.progress(done, shards.n)

    harvest_in_workers(
        Task(
            psi,
            claim.address,
            claim.target,
            names,
            dtype=work.dtype,
            order=work.order,
            threads=threads,
            device=work.device,
        ),
        lambda shard: work.batches(*shards.span(shard)),
        todo,
        workers=work.workers,
        written=claim.kept,
        tick=tick,
    )


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _is_whole(target: Path | str) -> bool:
    """Whether all is at its place; what is incomplete at a URL is there to be continued."""
    if isinstance(target, Path):
        return exists(target)
    begun = read_at(target, "zarr.json") is not None
    return begun and open_root(target).attrs.get("complete") is True
