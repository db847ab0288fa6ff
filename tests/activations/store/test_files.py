"""A store keeps the file of each sample, as it was given, or is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given
from hypothesis import strategies as st

from orbitlens.activations import ActivationStore, import_activations, open_store, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic

NAMES = ("a/first.png", "a/second one.png", "ä.png", "a/first.png", "\udcff.jpg")


def written(out: Path | str | None, **given: Any) -> ActivationStore:
    values = np.arange(30, dtype=np.float32).reshape(5, 2, 3)
    return store_from_array(values, group=cyclic(2), out=out, **given)


@given(st.lists(st.text(max_size=8), min_size=1, max_size=6))
def test_names_of_any_kind_are_kept(names: list[str]) -> None:
    values = torch.zeros(len(names), 2, 1)
    assert store_from_array(values, group=cyclic(2), files=names).files == tuple(names)


def test_files_lie_on_disk_and_at_a_url(tmp_path: Path, empty_memory: None) -> None:
    for out in (tmp_path / "acts", "memory://files/acts"):
        assert written(out, files=NAMES, labels=[0, 1, 1, 0, 2]).files == NAMES
        store = open_store(out)
        assert store.files == NAMES
        assert store.labels is not None
        assert store.about(torch.zeros(1, 3)).files == NAMES
        assert store.to_dict()["with_files"] is True


def test_paths_are_names() -> None:
    paths = [Path("folder") / f"{i}.png" for i in range(5)]
    assert written(None, files=paths).files == tuple(map(str, paths))


def test_a_store_without_files_has_none(tmp_path: Path) -> None:
    assert written(tmp_path / "acts").files == ()
    assert not (tmp_path / "acts" / "files").exists()
    assert open_store(tmp_path / "acts").to_dict()["with_files"] is False


def test_imported_activations_have_files(tmp_path: Path) -> None:
    np.save(tmp_path / "acts.npy", np.ones((10, 3), np.float32))
    store = import_activations(tmp_path / "acts.npy", group=cyclic(2), files=NAMES)
    assert store.files == NAMES
    with pytest.raises(OrbitLensError, match="`files`"):
        import_activations(tmp_path / "acts.npy", group=cyclic(2), files=NAMES[:4])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (NAMES[:3], "`files`: expected one for each of the 5 inputs, or none, received 3"),
        ("names", "`files`"),
        ([1, 2, 3, 4, 5], "`files`"),
    ],
)
def test_other_files_are_refused(files: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(OrbitLensError) as caught:
        written(None, files=files)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_that_were_changed_are_noticed(tmp_path: Path) -> None:
    written(tmp_path / "acts", files=NAMES)
    root = zarr.open_group(tmp_path / "acts", mode="r+")
    kept = np.asarray(root["files"][:])  # type: ignore[index]
    root["files"][:] = np.frombuffer(kept.tobytes().replace(b"first", b"third"), np.uint8)  # type: ignore[index]
    with pytest.raises(OrbitLensError, match="files or shapes that are not those"):
        open_store(tmp_path / "acts")


@pytest.mark.parametrize("damage", ["flip", "remove", "drop"])
def test_damaged_names_are_noticed(damage: str, tmp_path: Path) -> None:
    written(tmp_path / "acts", files=NAMES)
    (chunk,) = [path for path in (tmp_path / "acts" / "files").rglob("*") if path.name == "0"]
    if damage == "flip":
        content = bytearray(chunk.read_bytes())
        content[5] ^= 1
        chunk.write_bytes(content)
    elif damage == "remove":
        chunk.unlink()
    else:
        (tmp_path / "acts" / "files" / "zarr.json").unlink()
    with pytest.raises(OrbitLensError, match="intact store"):
        open_store(tmp_path / "acts")
