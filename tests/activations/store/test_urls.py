"""Stores at URLs: whole or refused, continued where they stopped, and one line for what fails."""

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from orbitlens.actions import images
from orbitlens.activations import ActivationStore, harvest, open_store, store_from_array
from orbitlens.errors import MissingExtraError, OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.models import MLPAutoencoder

VALUES = np.random.default_rng(0).standard_normal((30, 4, 5)).astype(np.float32)

pytestmark = pytest.mark.usefixtures("empty_memory")


def stored(out: str) -> ActivationStore:
    return store_from_array(VALUES, group=cyclic(4), out=out, labels=np.arange(30) % 2)


def run(out: str | None, **settings: Any) -> ActivationStore:
    return harvest(
        MLPAutoencoder(size=8, dim=16),
        layer="encoder",
        inputs=torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        action=images(cyclic(4)),
        out=out,
        batch_size=16,
        **settings,
    )


def stop(done: int, _: int) -> None:
    if done > 70:
        raise KeyboardInterrupt


def test_round_trip() -> None:
    stored("memory://bucket/acts.zarr/")
    store = open_store("memory://bucket/acts.zarr")
    assert str(store) == (
        "ActivationStore(memory://bucket/acts.zarr, n=30, group=C4, positions=1, dim=5)"
    )
    assert np.array_equal(store.orbits().numpy(), VALUES)
    assert store.to_dict()["path"] == "memory://bucket/acts.zarr"


def test_what_is_there_is_not_overwritten() -> None:
    stored("memory://acts.zarr")
    with pytest.raises(OrbitLensError, match="`out` memory://acts.zarr.*existing one; remove"):
        stored("memory://acts.zarr")


def test_a_part_is_no_store_and_is_continued() -> None:
    with pytest.raises(KeyboardInterrupt):
        run("memory://acts", resume=True, progress=stop)
    with pytest.raises(OrbitLensError, match="received an incomplete one"):
        open_store("memory://acts")
    with pytest.raises(OrbitLensError, match="existing one"):
        run("memory://acts")
    with pytest.raises(OrbitLensError, match="dtype float32, received dtype float16"):
        run("memory://acts", resume=True, dtype="float16")
    seen: list[int] = []
    store = run("memory://acts", resume=True, progress=lambda done, _: seen.append(done))
    assert seen[0] == 68
    assert torch.equal(store.orbits(), run(None).orbits())
    assert torch.equal(run("memory://acts", resume=True).orbits(), store.orbits())


def test_without_resume_an_interruption_leaves_nothing() -> None:
    with pytest.raises(KeyboardInterrupt):
        run("memory://acts", progress=stop)
    assert fsspec.filesystem("memory").find("/") == []


def test_a_missing_and_a_damaged_shard_are_found() -> None:
    run("memory://acts")
    store, memory = open_store("memory://acts"), fsspec.filesystem("memory")
    content = bytearray(memory.cat_file("/acts/activations/c.1.0.0"))
    content[5] ^= 4
    memory.pipe_file("/acts/activations/c.1.0.0", bytes(content))
    with pytest.raises(OrbitLensError, match=r"damaged shard 1 \(samples 64\.\.99\)"):
        store.orbits()
    memory.rm("/acts/activations/c.1.0.0")
    with pytest.raises(OrbitLensError, match=r"damaged shard 1 \(samples 64\.\.99\): missing"):
        store.orbits()
    with pytest.raises(OrbitLensError, match="1 of the 2 shards"):
        open_store("memory://acts")


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    store = stored(f"file://{tmp_path}/acts.zarr")
    assert store.path == tmp_path / "acts.zarr"
    assert np.array_equal(open_store(f"file://{tmp_path}/acts.zarr").orbits().numpy(), VALUES)


class Guarded(MemoryFileSystem):
    """A bucket that one may look into and not write to."""

    protocol = "guarded"

    def pipe_file(self, *args: Any, **kwargs: Any) -> None:
        raise PermissionError("Access Denied")


class Hidden(MemoryFileSystem):
    """A bucket that one may not even look into."""

    protocol = "hidden"

    def _denied(self, *args: Any, **kwargs: Any) -> None:
        raise PermissionError("Forbidden")

    cat_file = pipe_file = find = ls = info = exists = _denied


class LostError(Exception):
    """What no system raises."""


class Lost(MemoryFileSystem):
    """A bucket whose network may go."""

    protocol = "lost"
    gone = False

    def cat_file(self, path: str, *args: Any, **kwargs: Any) -> bytes:
        if self.gone:
            raise LostError("no route\nto host")
        return bytes(super().cat_file(path, *args, **kwargs))


def test_a_network_that_is_lost_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("lost", Lost, clobber=True)
    store = store_from_array(VALUES, group=cyclic(4), out="lost://acts")
    monkeypatch.setattr(Lost, "gone", True)
    with pytest.raises(OrbitLensError, match="a network, .*received no route to host; try again"):
        store.orbits()


def test_rights_and_libraries_that_lack_are_said_in_one_line() -> None:
    for kind in (Guarded, Hidden):
        fsspec.register_implementation(str(kind.protocol), kind, clobber=True)
    rights = "with the rights to it, received PermissionError: {}; correct the URL"
    with pytest.raises(OrbitLensError, match=f"guarded://acts.*{rights.format('Access Denied')}"):
        stored("guarded://acts")
    for attempt in (stored, open_store):
        with pytest.raises(OrbitLensError, match=f"hidden://a.*{rights.format('Forbidden')}"):
            attempt("hidden://a")
    for attempt in (stored, open_store):
        with pytest.raises(OrbitLensError, match="^xyz://a: .*Protocol not known: xyz"):
            attempt("xyz://a")
    fsspec.register_implementation("absent", "no_such_library.FileSystem", clobber=True)
    with pytest.raises(MissingExtraError, match="absent://a: expected the library of its protocol"):
        open_store("absent://a")
    with pytest.raises(OrbitLensError, match="memory://a: .*no Zarr group; give the path"):
        open_store("memory://a")
