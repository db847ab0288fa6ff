"""GalaxyMNIST, from small files in its own format."""

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from orbitlens.data import galaxy_mnist
from orbitlens.errors import MissingExtraError, OrbitLensError

h5py = pytest.importorskip("h5py")
module = sys.modules["orbitlens.data.galaxy_mnist"]


def images(n: int, size: int = 64) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def labels(n: int) -> np.ndarray:
    return (np.arange(n) % 4).astype(np.uint8)


def write(path: Path, **datasets: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "train_dataset.hdf5", images=images(8), labels=labels(8))
    write(tmp_path / "test_dataset.hdf5", images=images(2), labels=labels(2)[::-1])
    return tmp_path


def test_pixels_and_labels_are_those_of_the_file(folder: Path) -> None:
    galaxies = galaxy_mnist("train", root=folder)
    assert galaxies.name == "galaxy_mnist"
    assert galaxies.values.shape == (8, 3, 64, 64)
    assert galaxies.values.dtype == torch.float32
    assert galaxies.values.is_contiguous()
    stored = torch.from_numpy(images(8)).permute(0, 3, 1, 2)
    assert torch.equal(galaxies.values, stored / 255)
    assert galaxies.labels is not None
    assert galaxies.labels.dtype == np.int64
    assert galaxies.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]


def test_the_classes_come_in_the_order_of_the_labels(folder: Path) -> None:
    assert galaxy_mnist("test", root=folder).class_names == (
        "smooth and round",
        "smooth and cigar-shaped",
        "edge-on disk",
        "unbarred spiral",
    )


def test_all_is_train_before_test(folder: Path) -> None:
    train, test, both = (galaxy_mnist(split, root=folder) for split in ("train", "test", "all"))
    assert torch.equal(both.values, torch.cat([train.values, test.values]))
    assert both.labels is not None
    assert both.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 1, 0]


def test_the_larger_images_are_read_and_the_sizes_not_mixed_up(tmp_path: Path) -> None:
    write(tmp_path / "train_dataset.hdf5", images=images(1, 224), labels=labels(1))
    assert galaxy_mnist(size=224, root=tmp_path).values.shape == (1, 3, 224, 224)
    with pytest.raises(OrbitLensError, match=r"\[n, 64, 64, 3\].*\[1, 224, 224, 3\].*`size`"):
        galaxy_mnist(size=64, root=tmp_path)


@pytest.fixture
def published(monkeypatch, tmp_path: Path) -> Path:
    """The archive of a training file on a host of its own, under the address the loader knows."""
    packed = gzip.compress(write(tmp_path / "a", images=images(4), labels=labels(4)).read_bytes())
    archive = tmp_path / "host" / "key" / "train_dataset.hdf5.gz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(packed)
    md5 = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(module, "_HOST", (tmp_path / "host").as_uri())
    monkeypatch.setitem(module._ARCHIVES, (64, "train"), ("key", md5))
    monkeypatch.setenv("ORBITLENS_CACHE", str(tmp_path / "cache"))
    return archive


def test_a_file_is_downloaded_and_unpacked_once(published: Path, tmp_path: Path) -> None:
    first = galaxy_mnist()
    folder = tmp_path / "cache" / "galaxy_mnist" / "64"
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "train_dataset.hdf5",
        "train_dataset.hdf5.gz",
    ]
    published.unlink()
    assert galaxy_mnist().digest == first.digest
    (folder / "train_dataset.hdf5").unlink()
    assert galaxy_mnist().digest == first.digest
    assert first.values.shape == (4, 3, 64, 64)


def test_a_damaged_archive_is_neither_kept_nor_unpacked(published: Path, tmp_path: Path) -> None:
    published.write_bytes(published.read_bytes()[:-10])
    with pytest.raises(OrbitLensError, match="download of .*expected the md5 sum"):
        galaxy_mnist()
    assert list((tmp_path / "cache" / "galaxy_mnist" / "64").iterdir()) == []


def test_without_a_network_the_place_for_the_file_is_said(published: Path, tmp_path: Path) -> None:
    published.unlink()
    place = tmp_path / "cache" / "galaxy_mnist" / "64" / "train_dataset.hdf5.gz"
    with pytest.raises(OrbitLensError, match=rf"{place}: expected to download it from file://"):
        galaxy_mnist()


def test_a_truncated_file_is_one_line(folder: Path) -> None:
    path = folder / "train_dataset.hdf5"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(OrbitLensError, match="expected a whole HDF5 file.*truncated") as caught:
        galaxy_mnist(root=folder)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_hdf5_is_one_line(folder: Path) -> None:
    (folder / "train_dataset.hdf5").write_text("not HDF5")
    with pytest.raises(OrbitLensError, match="expected a whole HDF5 file"):
        galaxy_mnist(root=folder)


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"images": images(2)}, "images and labels, .*received images;"),
        ({}, "received none;"),
        ({"images": images(2), "labels": labels(3)}, r"uint8 \[2, 64, 64, 3\] and uint8 \[3\]"),
        ({"images": images(2) / 255, "labels": labels(2)}, "received float64"),
        ({"images": np.uint8(1), "labels": np.uint8(1)}, r"received uint8 \[\] and uint8 \[\]"),
        ({"images": images(2), "labels": labels(2) + 3}, "labels 0 to 3, .* labels up to 4"),
    ],
)
def test_a_file_of_something_else_is_named(
    datasets: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "train_dataset.hdf5", **datasets)
    with pytest.raises(OrbitLensError, match=message):
        galaxy_mnist(root=tmp_path)


@pytest.mark.parametrize("size", [0, 32, 128])
def test_only_the_published_sizes_are_there(size: int) -> None:
    with pytest.raises(OrbitLensError, match=f"expected 64 or 224 pixels, received {size}"):
        galaxy_mnist(size=size)


def test_without_h5py_the_extra_is_named(folder: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"orbitlens\[galaxy\]"):
        galaxy_mnist(root=folder)


def test_what_else_is_in_a_file_is_told(tmp_path: Path) -> None:
    write(
        tmp_path / "test_dataset.hdf5",
        images=np.zeros((2, 64, 64, 3), dtype=np.uint8),
        labels=np.array([0, 3], dtype=np.uint8),
        redshift=np.zeros(2),
    )
    inputs = galaxy_mnist("test", root=tmp_path)
    assert inputs.passed_over == ("test_dataset.hdf5 also has redshift, not read.",)
