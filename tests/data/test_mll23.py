"""MLL23, from small TIFF images in folders as its archives unpack to."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from orbitlens.data import mll23
from orbitlens.errors import OrbitLensError

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
    assert cells.class_names == tuple(CLASSES)
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


def test_the_cache_folder_is_the_default(folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("ORBITLENS_CACHE", str(folder.parent))
    with pytest.raises(OrbitLensError, match=r"mll23: .*no such folder; .*zenodo.org/records/1427"):
        mll23()
    folder.rename(folder.parent / "mll23")
    assert len(mll23(size=4).values) == 36


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
