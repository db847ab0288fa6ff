"""What all checkpoints promise: the same bits or one line that says why not."""

import errno
import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from orbitlens.errors import DamageError, OrbitLensError, OrbitLensWarning
from orbitlens.symmetry.relax._evidence_checkpoint import EvidenceCheckpoint
from orbitlens.symmetry.relax._meta_checkpoint import MetaCheckpoint
from orbitlens.training._checkpoint import Checkpoint

PLACE = {"epoch": 3, "batch": 7}
TENSORS = {
    "weights": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "step": torch.tensor(2.0, dtype=torch.float64),
    "generator": torch.arange(5, dtype=torch.uint8),
    "empty": torch.zeros(0, 3),
}


class Training:
    """A training of any kind that writes and reads its checkpoint."""

    facts: dict[str, Any] = {"place": PLACE}  # noqa: RUF012

    def __init__(self, file: Path, lr: float = 0.1, start: float = 0.0) -> None:
        self.checkpoint = self.made(file, {"lr": lr, "objective": ["mine"]}, torch.tensor(start))

    def made(self, file: Path, settings: dict[str, Any], start: Tensor) -> Any:
        raise NotImplementedError

    def write(self, tensors: dict[str, Tensor] = TENSORS) -> None:
        self.checkpoint.write(tensors, **self.facts)

    def read(self) -> dict[str, Tensor] | None:
        found = self.checkpoint.read()
        if found is None:
            return None
        tensors, place = found
        assert place == PLACE
        return tensors


class OfSAEs(Training):
    function = "fit"

    def made(self, file: Path, settings: dict[str, Any], start: Tensor) -> Checkpoint:
        return Checkpoint(file, settings, {"w": start}, 600.0, [None])


class ByEvidence(Training):
    function = "fit_with_evidence"

    def made(self, file: Path, settings: dict[str, Any], start: Tensor) -> EvidenceCheckpoint:
        return EvidenceCheckpoint(file, settings, {"w": start}, 600.0)


class OverTasks(Training):
    function = "meta_learn"
    facts: dict[str, Any] = {}  # noqa: RUF012

    def made(self, file: Path, settings: dict[str, Any], start: Tensor) -> MetaCheckpoint:
        return MetaCheckpoint(file, settings, 600.0)

    def read(self) -> dict[str, Tensor] | None:
        return self.checkpoint.read()


every_kind = pytest.mark.parametrize("kind", [OfSAEs, ByEvidence, OverTasks])


def record_of(file: Path) -> tuple[str, dict[str, Any]]:
    with safe_open(file, "pt") as opened:
        [(form, text)] = opened.metadata().items()
    return form, json.loads(text)


def rewrite(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    form, record = record_of(file)
    change(record)
    save_file(TENSORS, file, metadata={form: json.dumps(record)})


@every_kind
def test_what_was_written_is_read_to_the_same_bits(kind: Any, tmp_path: Path) -> None:
    assert kind(tmp_path / "new" / "a").read() is None
    kind(tmp_path / "new" / "a").write({"weights": torch.ones(1)})
    kind(tmp_path / "new" / "a").write()
    found = kind(tmp_path / "new" / "a").read()
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


def drop_sums(record: dict[str, Any]) -> None:
    for name in ("tensors", "numbers"):
        record.pop(name, None)


def drop_seal(record: dict[str, Any]) -> None:
    drop_sums(record)
    for name in ("seal", "start", "objectives"):
        record.pop(name, None)


@every_kind
def test_a_file_of_the_version_before_is_read(kind: Any, tmp_path: Path) -> None:
    """Its seal was of the sums too, but they were not written."""
    kind(tmp_path / "a").write()
    rewrite(tmp_path / "a", drop_sums)
    assert kind(tmp_path / "a").read().keys() == TENSORS.keys()


def test_the_first_trainings_had_no_seal(tmp_path: Path) -> None:
    OfSAEs(tmp_path / "a").write()
    rewrite(tmp_path / "a", drop_seal)
    assert OfSAEs(tmp_path / "a").read() is not None
    rewrite(tmp_path / "a", lambda record: record.update(checksum=record["checksum"] + 1))
    with pytest.raises(DamageError, match="since it is damaged"):
        OfSAEs(tmp_path / "a").read()


@pytest.mark.parametrize("kind", [ByEvidence, OverTasks])
def test_other_trainings_always_had_a_seal(kind: Any, tmp_path: Path) -> None:
    kind(tmp_path / "a").write()
    rewrite(tmp_path / "a", drop_seal)
    with pytest.raises(DamageError, match="received KeyError"):
        kind(tmp_path / "a").read()


@every_kind
def test_a_torn_file_is_one_line(kind: Any, tmp_path: Path) -> None:
    kind(tmp_path / "a").write()
    whole = (tmp_path / "a").read_bytes()
    line = f"a: expected a checkpoint of `{kind.function}`, as it was written, received .*; remove"
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a").write_bytes(whole[:size])
        with pytest.raises(DamageError, match=line) as error:
            kind(tmp_path / "a").read()
        assert "\n" not in str(error.value)


@every_kind
def test_a_foreign_file_is_one_line(kind: Any, tmp_path: Path) -> None:
    others = [each for each in (OfSAEs, ByEvidence, OverTasks) if each is not kind]
    others[0](tmp_path / "a").write()
    others[1](tmp_path / "b").write()
    save_file(TENSORS, tmp_path / "c")
    (tmp_path / "d").write_text("no tensors at all")
    for name in "abcd":
        with pytest.raises(DamageError, match=f"expected a checkpoint of `{kind.function}`, as"):
            kind(tmp_path / name).read()


@every_kind
def test_a_bit_that_flipped_is_found(kind: Any, tmp_path: Path) -> None:
    """Also one of the shapes, which leaves the numbers as they are."""
    kind(tmp_path / "a").write()
    whole = (tmp_path / "a").read_bytes()
    numbers = 8 + int.from_bytes(whole[:8], "little")
    for place in range(numbers, len(whole), 11):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        (tmp_path / "a").write_bytes(damaged)
        with pytest.raises(DamageError, match="expected the numbers .* damaged"):
            kind(tmp_path / "a").read()
    (tmp_path / "a").write_bytes(whole.replace(b"[3,4]", b"[4,3]"))
    with pytest.raises(DamageError, match="expected the numbers .* damaged"):
        kind(tmp_path / "a").read()


@every_kind
def test_a_record_that_was_changed_is_found(kind: Any, tmp_path: Path) -> None:
    kind(tmp_path / "a").write()
    rewrite(tmp_path / "a", lambda record: record["settings"].update(lr=0.2))
    with pytest.raises(DamageError, match="received other numbers or another record"):
        kind(tmp_path / "a", lr=0.2).read()


@every_kind
def test_another_version_is_named(kind: Any, tmp_path: Path) -> None:
    kind(tmp_path / "a").write()
    rewrite(tmp_path / "a", lambda record: record.update(schema=9))
    with pytest.raises(OrbitLensError, match=r"schema \d, received schema 9; continue with the"):
        kind(tmp_path / "a").read()


@every_kind
def test_other_settings_are_named(kind: Any, tmp_path: Path) -> None:
    kind(tmp_path / "a").write()
    line = "a with other settings: expected lr 0.1, received lr 0.2; train with the settings"
    with pytest.raises(OrbitLensError, match=line):
        kind(tmp_path / "a", lr=0.2).read()


@pytest.mark.parametrize("kind", [OfSAEs, ByEvidence])
def test_another_start_is_warned_of_and_kept(kind: Any, tmp_path: Path) -> None:
    kind(tmp_path / "a").write()
    for _ in range(2):
        other = kind(tmp_path / "a", start=1.0)
        with pytest.warns(OrbitLensWarning, match="began with other weights than those given"):
            other.read()
        other.write()
    assert kind(tmp_path / "a").read() is not None


@pytest.fixture
def small_files() -> Iterator[None]:
    """A system that lets no file grow beyond some bytes, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@every_kind
@pytest.mark.usefixtures("small_files")
def test_without_room_the_checkpoint_before_stays(kind: Any, tmp_path: Path) -> None:
    kind(tmp_path / "a").write()
    before = (tmp_path / "a").read_bytes()
    with pytest.raises(OrbitLensError, match="a place that can be written, .*; raise the limit"):
        kind(tmp_path / "a").write({"weights": torch.zeros(10_000)})
    assert (tmp_path / "a").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@every_kind
def test_a_place_without_the_rights_is_one_line(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy is never to remove a file that is whole."""
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise denied

    training = kind(tmp_path / "a")
    training.write()
    line = r"expected a place that can be {}, received Permission denied; get the rights to it"
    for method, way, call in (
        ("open", "read", training.read),
        ("mkdir", "written", training.write),
        ("mkdir", "written", lambda: kind(tmp_path / "b" / "a")),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(Path, method, refuse)
            with pytest.raises(OrbitLensError, match=line.format(way)):
                call()
    assert training.read() is not None


@every_kind
def test_tensors_that_share_memory_are_written(kind: Any, tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    shared = {"whole": whole, "same": whole, "part": whole[2:4], "turned": whole.view(2, 3).T}
    kind(tmp_path / "a").write(shared)
    found = kind(tmp_path / "a").read()
    assert all(torch.equal(found[name], each) for name, each in shared.items())


@every_kind
def test_a_place_that_cannot_be_written_is_found_at_the_door(kind: Any, tmp_path: Path) -> None:
    (tmp_path / ".a.writing").write_text("in the way")
    with pytest.raises(OrbitLensError, match="a place that can be written, received File exists"):
        kind(tmp_path / "a")


@every_kind
def test_a_folder_is_not_to_be_removed(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match="received Is a directory; choose another path"):
        kind(tmp_path).read()


@every_kind
def test_what_a_kill_left_is_cleared(kind: Any, tmp_path: Path) -> None:
    (tmp_path / ".a.writing").mkdir()
    (tmp_path / ".a.writing" / "new").write_bytes(b"half")
    kind(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
