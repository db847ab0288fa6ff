"""Addresses are folders, URLs or memory."""

from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import jaxtyping
import numpy as np
import pytest

from orbitlens.activations import open_store, store_from_array
from orbitlens.activations.store import address_of, exists, inside, read_at
from orbitlens.errors import OrbitLensError

pytestmark = pytest.mark.usefixtures("empty_memory")


@pytest.mark.parametrize(
    ("out", "address"),
    [
        ("s3://bucket/acts.zarr/", "s3://bucket/acts.zarr"),
        ("file:///tmp/acts.zarr", Path("/tmp/acts.zarr")),  # noqa: S108
        ("runs/acts.zarr", Path.cwd() / "runs" / "acts.zarr"),
        (None, None),
    ],
)
def test_only_object_stores_are_urls(out: str | None, address: Path | str | None) -> None:
    assert address_of(out) == address


@pytest.mark.parametrize("place", [Path("runs"), "s3://bucket", None])
def test_an_address_in_a_place_is_of_the_same_kind(place: Path | str | None) -> None:
    found = inside(place, "acts.zarr")
    assert type(found) is type(place) or isinstance(found, Path)
    assert str(found) == ("None" if place is None else f"{place}/acts.zarr")
    assert inside(place, "") == place


def test_what_is_at_a_path_or_a_url(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    fsspec.filesystem("memory").pipe_file("/runs/file", b"text")
    for place in (tmp_path, "memory://runs"):
        assert exists(place)
        assert exists(place, "file")
        assert not exists(place, "other")


def test_the_content_of_a_file_at_a_url() -> None:
    fsspec.filesystem("memory").pipe_file("/runs/file", b"text")
    assert read_at("memory://runs", "file") == read_at("memory://runs/file") == b"text"
    assert read_at("memory://no/such", "file") is None


@pytest.fixture
def as_users_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checks of shapes and types that the tests switch on."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("out", [5, b"acts.zarr", "a\0b", "\ud800", "file://a\0b"])
def test_what_is_no_path_is_refused(out: Any) -> None:
    with pytest.raises(OrbitLensError, match="`out`: expected the path of a file or folder"):
        address_of(out)
    with pytest.raises(OrbitLensError, match="`path`: expected the path of a file or folder"):
        open_store(out)


def test_a_name_that_is_too_long_is_one_line() -> None:
    for door in (open_store, partial(store_from_array, np.ones((4, 1, 2)), group="C1")):
        with pytest.raises(OrbitLensError, match="received File name too long; choose another"):
            door(**{"path" if door is open_store else "out": "a" * 300})


def test_a_store_is_read_from_wherever_the_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    monkeypatch.chdir(here)
    stores = [store_from_array(values, group="C3", out="acts.zarr"), open_store("acts.zarr")]
    monkeypatch.chdir(there)
    for store in stores:
        assert store.path == here / "acts.zarr"
        assert np.array_equal(store.orbits().numpy(), values)
        assert np.array_equal(store.orbits([1]).numpy(), values[1:])


def test_of_a_store_that_was_moved_away_nothing_is_called_damaged(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    store = store_from_array(values, group="C3", out=tmp_path / "acts.zarr")
    (tmp_path / "acts.zarr").rename(tmp_path / "other.zarr")
    for read in (store.orbits, lambda: store.orbits([1]), lambda: list(store.chunks())):
        with pytest.raises(OrbitLensError, match="no such folder any more; move it back") as error:
            read()
        assert "remove" not in str(error.value)
    assert np.array_equal(open_store(tmp_path / "other.zarr").orbits().numpy(), values)
