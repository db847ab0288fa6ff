"""One writer at a time at a URL, and a way on where one was killed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from orbitlens.actions import images
from orbitlens.activations import ActivationStore, harvest, store_from_array
from orbitlens.activations.store._url_lock import _this_writer, hold_lock
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.models import MLPAutoencoder

URL = "memory://bucket/acts"
PATH = "/bucket/acts/writer.lock"

pytestmark = pytest.mark.usefixtures("empty_memory")


def run(out: str | None = URL, **settings: Any) -> ActivationStore:
    return harvest(
        MLPAutoencoder(size=8, dim=16),
        layer="encoder",
        inputs=torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        action=images(cyclic(4)),
        out=out,
        batch_size=16,
        **settings,
    )


def found() -> list[str]:
    return list(fsspec.filesystem("memory").find("/"))


def leave_lock(**changed: object) -> None:
    content = json.dumps({**_this_writer(), **changed}).encode()
    fsspec.filesystem("memory").pipe_file(PATH, content)


def interrupt(done: int, _: int) -> None:
    if done > 70:
        raise KeyboardInterrupt


def ended_process() -> dict[str, Any]:
    """What a process of this machine says of itself that lives no more."""
    program = "import json; from orbitlens.activations.store._url_lock import _this_writer as w; "
    program += "print(json.dumps(w()))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    record: dict[str, Any] = json.loads(said.stdout)
    return record


def test_a_second_writer_is_refused_whatever_it_does() -> None:
    refused = []

    def progress(done: int, _: int) -> None:
        for resume in (False, True):
            with pytest.raises(OrbitLensError, match=f"store {URL}: .*another that is writing it"):
                run(resume=resume)
        with pytest.raises(OrbitLensError, match="another that is writing it"):
            store_from_array(np.zeros((3, 4, 5)), group=cyclic(4), out=URL)
        refused.append(done)

    store = run(progress=progress)
    assert len(refused) > 10
    assert torch.equal(store.orbits(), run(None).orbits())
    assert PATH not in found()


def test_of_two_that_begin_at_the_same_instant_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Both have looked, and seen nobody.
    monkeypatch.setattr("orbitlens.activations.store._url_lock.check_unlocked", lambda _: False)
    with hold_lock(URL):
        with pytest.raises(OrbitLensError, match="another that is writing it"), hold_lock(URL):
            pytest.fail("two writers")
        assert found() == [PATH]
    assert found() == []


def test_the_lock_goes_with_its_writer() -> None:
    for resume in (True, False):
        with pytest.raises(KeyboardInterrupt):
            run(f"{URL}{resume}", resume=resume, progress=interrupt)
    assert [path for path in found() if "lock" in path or "False" in path] == []
    assert run(f"{URL}True", resume=True).n == 100


def test_what_a_dead_process_of_this_machine_left_is_no_obstacle() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(resume=True, progress=interrupt)
    leave_lock(**ended_process())
    seen: list[int] = []
    store = run(resume=True, progress=lambda done, _: seen.append(done))
    assert seen[0] == 68
    assert torch.equal(store.orbits(), run(None).orbits())
    assert PATH not in found()


@pytest.mark.parametrize("content", [{"machine": "another", "host": "far", "pid": 7}, None])
def test_what_another_machine_left_is_removed_by_hand(content: dict[str, Any] | None) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(resume=True, progress=interrupt)
    leave_lock(**(content or {}))
    memory = fsspec.filesystem("memory")
    if content is None:
        memory.pipe_file(PATH, b"\xff no record")
    who = r"process 7 on far" if content else r"process \(unknown\) on \(unknown\)"
    how = f"if it has been killed, remove {URL}/writer.lock and continue with `resume`"
    for resume in (True, False):
        with pytest.raises(OrbitLensError, match=f"{who}; wait for that one, .*{how}"):
            run(resume=resume)
    memory.rm_file(PATH)
    assert run(resume=True).n == 100


def test_a_killed_process_that_had_only_the_lock_is_continued() -> None:
    leave_lock(**ended_process())
    with pytest.raises(OrbitLensError, match="existing one; remove it"):
        run()
    assert run(resume=True).n == 100


class Simple(MemoryFileSystem):
    """A store that cannot be asked to make an object only if there is none."""

    protocol = "simple"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if mode != "overwrite":
            raise NotImplementedError(mode)
        super().pipe_file(path, value)


def test_where_there_is_no_exclusive_create_a_later_writer_is_refused() -> None:
    fsspec.register_implementation("simple", Simple, clobber=True)
    refused = pytest.raises(OrbitLensError, match="another that is writing it")
    with hold_lock("simple://bucket/acts"), refused:
        run("simple://bucket/acts")
    assert run("simple://bucket/acts").n == 100


def test_what_is_no_store_is_neither_continued_nor_removed() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/acts/notes.txt", b"mine")
    with pytest.raises(OrbitLensError, match=r"part of a store, or nothing, received notes.txt"):
        run(resume=True)
    with pytest.raises(OrbitLensError, match="existing one"):
        run()
    assert found() == ["/bucket/acts/notes.txt"]


def test_a_local_folder_needs_no_such_object(tmp_path: Path) -> None:
    run(f"file://{tmp_path}/acts")
    assert list(tmp_path.rglob("*.lock")) == []
