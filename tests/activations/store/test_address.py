"""Addresses are folders, URLs or memory."""

from pathlib import Path

import fsspec
import pytest

from orbitlens.activations.store import address_of, exists, inside, read_at

pytestmark = pytest.mark.usefixtures("empty_memory")


@pytest.mark.parametrize(
    ("out", "address"),
    [
        ("s3://bucket/acts.zarr/", "s3://bucket/acts.zarr"),
        ("file:///tmp/acts.zarr", Path("/tmp/acts.zarr")),  # noqa: S108
        ("runs/acts.zarr", Path("runs/acts.zarr")),
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
