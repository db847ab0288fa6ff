"""MLL23, from small TIFF images in folders as its archives unpack to."""

import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pytest
import torch
from PIL import Image

from orbitlens.data import MLL23_CLASSES, mll23
from orbitlens.errors import OrbitLensError

# The package exports the function under the module's own name.
loader = sys.modules["orbitlens.data.mll23"]

LYMPHOID = ["hairy_cell", "lymphocyte", "lymphocyte_large_granular", "lymphocyte_neoplastic"]
LYMPHOID += ["lymphocyte_reactive", "plasma_cell", "smudge_cell"]
MYELOID = ["basophil", "eosinophil", "metamyelocyte", "monocyte", "myeloblast", "myelocyte"]
MYELOID += ["neutrophil_band", "neutrophil_segmented", "promyelocyte", "promyelocyte_atypical"]
CLASSES = sorted([*LYMPHOID, *MYELOID, "normoblast"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for level, name in enumerate(CLASSES):
        (tmp_path / name).mkdir()
        for cell in range(2):
            pixels = np.full((12, 12, 3), (10 * level, cell, 255), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{cell}.TIF")
    (tmp_path / "basophil.zip").write_text("an archive that was left there")
    (tmp_path / "__MACOSX" / "basophil").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "basophil" / "._0.TIF").write_text("not an image")
    return tmp_path


def test_every_cell_has_the_class_of_its_folder(folder: Path) -> None:
    cells = mll23(folder, size=6)
    assert cells.name == "mll23"
    assert cells.class_names == MLL23_CLASSES == tuple(CLASSES)
    assert cells.values.shape == (36, 3, 6, 6)
    assert cells.labels is not None
    assert cells.labels.tolist() == [label for label in range(18) for _ in range(2)]
    assert cells.files[:3] == ("basophil/0.TIF", "basophil/1.TIF", "eosinophil/0.TIF")
    red = torch.arange(18).repeat_interleave(2) * 10
    assert torch.equal(cells.values[:, 0, 3, 3], red / 255)


def test_grey_images_come_as_colour_too(folder: Path) -> None:
    for path in folder.glob("*/*.TIF"):
        if path.name[0] != ".":
            Image.fromarray(np.full((9, 9), 51, dtype=np.uint8)).save(path)
    assert torch.equal(mll23(folder, size=4).values, torch.full((36, 3, 4, 4), 0.2))


def test_a_limit_chooses_by_the_seed_and_keeps_every_class_name(folder: Path) -> None:
    chosen = [mll23(folder, size=4, limit=5, seed=seed) for seed in (0, 0, 1)]
    assert chosen[0].files == chosen[1].files != chosen[2].files
    assert len(chosen[0].values) == 5
    assert len(chosen[0].class_names) == 18


def pack(folder: Path, archives: Path) -> None:
    """One archive per class, as they are published: with what macOS leaves in them."""
    archives.mkdir()
    for name in CLASSES:
        with zipfile.ZipFile(archives / f"{name}.zip", "w") as archive:
            archive.write(folder / name, f"{name}/")
            for path in sorted((folder / name).iterdir()):
                archive.write(path, f"{name}/{path.name}")
                archive.writestr(f"__MACOSX/{name}/._{path.name}", "not an image")


@pytest.fixture
def record(folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> Path:
    """A published record in Zenodo's format, and an empty cache; returns the cache folder."""
    published = tmp_path_factory.mktemp("published")
    pack(folder, published / "archives")
    files = [
        {
            "key": path.name,
            "size": path.stat().st_size,
            "checksum": "md5:" + hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(),
            "links": {"self": path.as_uri()},
        }
        for path in sorted((published / "archives").iterdir())
    ]
    (published / "record.json").write_text(json.dumps({"id": 14277609, "files": files}))
    monkeypatch.setattr(loader, "_FILES", (published / "record.json").as_uri())
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ORBITLENS_CACHE", str(cache))
    return cache / "mll23"


def test_what_is_not_in_the_cache_is_downloaded_unpacked_and_kept(
    record: Path, folder: Path, monkeypatch
) -> None:
    cells = mll23(size=4)
    assert torch.equal(cells.values, mll23(folder, size=4).values)
    assert sorted(entry.name for entry in record.iterdir()) == CLASSES
    monkeypatch.setattr(loader, "_FILES", "https://nowhere.invalid/record")
    assert torch.equal(mll23(size=4).values, cells.values)


def test_an_archive_that_was_put_there_by_hand_is_unpacked_and_left(
    record: Path, folder: Path, monkeypatch
) -> None:
    pack(folder, record)
    monkeypatch.setattr(loader, "_FILES", "https://nowhere.invalid/record")
    assert len(mll23(size=4).values) == 36
    assert len(list(record.glob("*.zip"))) == 18


def test_a_download_goes_on_with_the_class_where_it_stopped(record: Path, folder: Path) -> None:
    shutil.copytree(folder / "basophil", record / "basophil")
    (record / "basophil" / "0.TIF").unlink()
    assert len(mll23(size=4).values) == 35


def test_a_wrong_sum_leaves_the_classes_before_it(record: Path, monkeypatch) -> None:
    path = Path(url2pathname(urlparse(loader._FILES).path))
    listed = json.loads(path.read_text())
    listed["files"][1]["checksum"] = "md5:" + "0" * 32
    path.write_text(json.dumps(listed))
    with pytest.raises(OrbitLensError, match="eosinophil.zip: expected the md5 sum 0000"):
        mll23()
    assert [entry.name for entry in record.iterdir()] == ["basophil"]


def test_no_network_says_what_to_get_and_where_to_put_it(record: Path, monkeypatch) -> None:
    monkeypatch.setattr(loader, "_FILES", (record / "no-such-record").as_uri())
    with pytest.raises(
        OrbitLensError,
        match=r"mll23: .*none called basophil, .*unpack the archives of https://zenodo.org/records",
    ):
        mll23()


def test_a_record_without_an_archive_names_it(record: Path) -> None:
    path = Path(url2pathname(urlparse(loader._FILES).path))
    listed = json.loads(path.read_text())
    path.write_text(json.dumps({"files": listed["files"][1:]}))
    with pytest.raises(OrbitLensError, match="a record without basophil;"):
        mll23()


@pytest.mark.parametrize("answer", ["<html>", "[]", '{"files": [{"key": "basophil.zip"}]}'])
def test_an_answer_that_is_no_record_is_an_error(record: Path, answer: str) -> None:
    Path(url2pathname(urlparse(loader._FILES).path)).write_text(answer)
    with pytest.raises(OrbitLensError, match="a Zenodo record with key, checksum, size and link"):
        mll23()


def test_a_truncated_archive_is_named_and_leaves_no_folder(record: Path, folder: Path) -> None:
    pack(folder, record)
    archive = record / "basophil.zip"
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(OrbitLensError, match=r"basophil\.zip: expected a whole ZIP archive"):
        mll23()
    assert not (record / "basophil").exists()


def test_two_images_of_one_name_are_refused(record: Path, folder: Path) -> None:
    pack(folder, record)
    with zipfile.ZipFile(record / "basophil.zip", "a") as archive:
        archive.writestr("more/0.TIF", "another cell")
    with pytest.raises(OrbitLensError, match="images with distinct names"):
        mll23()


def test_a_class_that_is_missing_is_named(folder: Path) -> None:
    (folder / "normoblast").rename(folder / "erythroblast")
    with pytest.raises(OrbitLensError, match="18 class folders of MLL23, .*called normoblast;"):
        mll23(folder)


def test_a_folder_that_is_no_class_is_named(folder: Path) -> None:
    (folder / "notes").mkdir()
    with pytest.raises(OrbitLensError, match="18 class folders of MLL23, received also notes;"):
        mll23(folder)


def test_a_class_without_images_is_named(folder: Path) -> None:
    for path in (folder / "monocyte").iterdir():
        path.unlink()
    with pytest.raises(OrbitLensError, match="received no images in monocyte;"):
        mll23(folder)


def test_a_damaged_image_is_named(folder: Path) -> None:
    (folder / "monocyte" / "0.TIF").write_bytes(b"II*\0")
    with pytest.raises(OrbitLensError, match=r"monocyte/0\.TIF: expected a whole PNG"):
        mll23(folder)
