"""Lazy inputs: rows, shape and digest are those of the tensor that they stand for."""

from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from orbitlens.data import Inputs, LazyInputs, as_rows, image_folder
from orbitlens.errors import OrbitLensError

VALUES = torch.rand(9, 2, 4, 4, generator=torch.Generator().manual_seed(0))


class Counting:
    """A data set that knows what was read."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values, self.read = values, list[int]()

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> torch.Tensor:
        self.read.append(index)
        return self.values[index]


@pytest.mark.parametrize(
    "index",
    [
        slice(2, 5),
        slice(None),
        slice(7, 99),
        slice(4, 4),
        np.array([3, 1, 1]),
        torch.tensor([8, 0]),
        [5, 2],
        VALUES[:, 0, 0, 0].numpy() > 0.5,
        -1,
    ],
)
def test_rows_are_those_of_the_tensor(index: Any) -> None:
    lazy = as_rows(Counting(VALUES))
    assert torch.equal(lazy[index], VALUES[index])
    assert (lazy.shape, lazy.dtype, len(lazy), lazy.ndim) == (VALUES.shape, VALUES.dtype, 9, 4)


@pytest.mark.parametrize("values", [VALUES, VALUES.double(), VALUES.half(), VALUES[:, 0, 0, 0]])
def test_the_digest_is_that_of_the_tensor(values: torch.Tensor) -> None:
    lazy = as_rows(Counting(values))
    labels, names = np.arange(9) % 2, ("a", "b")
    assert Inputs("x", lazy).digest == Inputs("x", values).digest
    assert Inputs("x", lazy, labels, names).digest == Inputs("x", values, labels, names).digest
    assert Inputs("x", lazy).digest != Inputs("x", lazy[:8]).digest


def test_only_what_is_asked_for_is_read() -> None:
    data = Counting(VALUES)
    lazy = as_rows(data)
    assert data.read == [0]
    _ = lazy[np.array([4, 7])]
    assert data.read == [0, 4, 7]
    for _ in range(2):
        _ = Inputs("x", lazy).digest
    assert data.read == [0, 4, 7, *range(9)]


def test_whatever_has_a_length_and_items(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", VALUES.numpy())
    for items in (
        list(VALUES),
        VALUES.numpy(),
        np.load(tmp_path / "x.npy", mmap_mode="r"),
        np.load(tmp_path / "x.npy", mmap_mode="c"),
        TensorDataset(VALUES, torch.arange(9)),
        [(row, "label") for row in VALUES.numpy()],
    ):
        lazy = as_rows(items)
        assert isinstance(lazy, LazyInputs)
        assert torch.equal(lazy[:], VALUES)
    assert as_rows(VALUES) is VALUES


def test_private_changes_of_a_mapped_file_are_kept(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", VALUES.numpy())
    for mode in ("c", "r+"):
        mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
        mapped[3] = 7
        lazy = as_rows(mapped)
        assert (lazy[:][3] == 7).all()
        assert (lazy[:][3] == 7).all()


@pytest.mark.parametrize("kind", [">f4", ">f8", ">i2", "<f4"])
def test_every_byte_order_is_read(kind: str, tmp_path: Path) -> None:
    """Files of astronomy have the largest byte first."""
    values = (100 * VALUES.numpy()).astype(kind)
    mapped = np.memmap(tmp_path / "x", dtype=kind, mode="w+", shape=values.shape)
    mapped[:] = values
    for given in (values, list(values), mapped):
        lazy = as_rows(given)[:]
        assert np.array_equal(lazy.numpy(), values)
        assert lazy.numpy().dtype.isnative


def test_masked_entries_are_refused() -> None:
    masked = np.ma.masked_array(VALUES.numpy(), mask=VALUES.numpy() > 0.9)
    with pytest.raises(OrbitLensError, match="masked entries"):
        _ = as_rows(masked)[:]
    assert torch.equal(as_rows(np.ma.masked_array(VALUES.numpy()))[:], VALUES)


def test_one_buffer_for_all_inputs_is_read_right() -> None:
    buffer = torch.empty(VALUES.shape[1:])
    lazy = LazyInputs(lambda i: buffer.copy_(VALUES[i]), n=9)
    assert torch.equal(lazy[:], VALUES)
    first, _ = lazy[0], lazy[1]
    assert torch.equal(first, VALUES[0])
    assert Inputs("x", lazy).digest == Inputs("x", VALUES).digest


def test_other_numbers_the_second_time_are_refused() -> None:
    read = [0] * 9

    def changing(i: int) -> torch.Tensor:
        read[i] += 1
        return VALUES[i] + (i == 6 and read[i] > 1)

    lazy = LazyInputs(changing, n=9)
    assert torch.equal(lazy[6], VALUES[6])
    read[6] = 0
    _ = lazy.content()
    assert torch.equal(lazy[:6], VALUES[:6])
    with pytest.raises(OrbitLensError, match="input 6: .*received other numbers the second time"):
        _ = lazy[4:]


@pytest.fixture
def as_users_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checks of shapes and types that the tests switch on."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("length", [6.0, -1, "6", None])
def test_a_length_that_is_none_is_refused(length: Any) -> None:
    class Sized(Counting):
        def __len__(self) -> int:
            return length  # type: ignore[no-any-return]

    with pytest.raises(OrbitLensError, match="`inputs`: expected a length, a whole number from 0"):
        as_rows(Sized(VALUES))
    with pytest.raises(OrbitLensError, match="`n`: "):
        LazyInputs(VALUES.__getitem__, n=length if length != 6.0 else 6.5)


def broken(i: int) -> torch.Tensor:
    if i == 2:
        raise ConnectionError("no\nroute")
    return torch.zeros(3 if i < 4 else 5)


def test_what_cannot_be_read_is_one_line() -> None:
    lazy = LazyInputs(broken, n=6)
    with pytest.raises(OrbitLensError, match=r"input 2: .*received ConnectionError: no route; cor"):
        _ = lazy[:]
    with pytest.raises(OrbitLensError, match=r"input 4: expected \[3\] .*received \[5\] in torch"):
        _ = lazy[4:]
    with pytest.raises(OrbitLensError, match="input 0: expected numbers, .*PosixPath"):
        as_rows([Path("a.png"), Path("b.png")])
    with pytest.raises(OrbitLensError, match="`inputs`: .*length and items.*received generator"):
        as_rows(row for row in VALUES)


def picture(path: Path, mode: str = "RGB", seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.mark.parametrize("modes", [("RGB", "RGB"), ("L", "L"), ("RGB", "L"), ("L", "RGB")])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_folder_read_when_needed_is_the_folder_in_memory(
    tmp_path: Path, modes: tuple[str, ...], damaged: bool
) -> None:
    for i in range(6):
        picture(tmp_path / "ab"[i % 2] / f"{i}.png", modes[i % 2], seed=i)
    if damaged:
        (tmp_path / "a" / "3.png").write_bytes(b"no image")
    settings: dict[str, Any] = {"size": 8, "unreadable": "skip" if damaged else "stop"}
    held = image_folder(tmp_path, **settings)
    lazy = image_folder(tmp_path, in_memory=False, **settings)
    assert isinstance(lazy.values, LazyInputs)
    assert torch.equal(lazy.values[:], held.values)
    assert lazy.digest == held.digest
    assert (lazy.files, lazy.skipped, lazy.class_names) == (
        *(held.files, held.skipped, held.class_names),
    )
    assert np.array_equal(lazy.labels, held.labels)  # type: ignore[arg-type]


def test_a_folder_is_read_from_wherever_the_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        picture(tmp_path / "pictures" / f"{i}.png", seed=i)
    monkeypatch.chdir(tmp_path)
    lazy = image_folder("pictures", in_memory=False).values
    held = image_folder("pictures").values
    monkeypatch.chdir("/")
    assert torch.equal(lazy[:], held)


def test_a_folder_is_looked_at_before_any_work_and_says_what_changed(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"{i}.png", seed=i)
    lazy = image_folder(tmp_path, in_memory=False).values
    (tmp_path / "1.png").unlink()
    with pytest.raises(OrbitLensError, match=r"image .*1\.png: expected a whole PNG.*No such file"):
        _ = lazy[:]
    (tmp_path / "1.png").write_bytes(b"no image")
    with pytest.raises(OrbitLensError, match=r"image .*1\.png: expected a whole PNG"):
        image_folder(tmp_path, in_memory=False)


def test_a_tensor_stays_one_and_a_list_becomes_lazy() -> None:
    assert as_rows(VALUES) is VALUES
    rows = as_rows([np.zeros(3), np.ones(3)])
    assert isinstance(rows, LazyInputs)
    assert rows.shape == (2, 3)
