"""Inputs in .npz and .npy files: what is read, what is chosen, and what is refused at the door."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orbitlens.data import LazyInputs, array_file, array_shape, arrays, is_array_file
from orbitlens.errors import OrbitLensError


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def npz(folder: Path, **content: Any) -> Path:
    np.savez(folder / "data.npz", **content)
    return folder / "data.npz"


def npy(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "data.npy", array)
    return folder / "data.npy"


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "int16", "uint8", "bool", ">f4"]
)
def test_inputs_become_float32(tmp_path: Path, dtype: str) -> None:
    array = (10 * drawn(6, 3, 5)).astype(dtype)
    for path in (npz(tmp_path, inputs=array), npy(tmp_path, array)):
        inputs = array_file(path)
        assert isinstance(inputs.values, torch.Tensor)
        assert np.array_equal(inputs.values.numpy(), array.astype(np.float32))
        assert (inputs.name, inputs.labels, inputs.files) == ("data", None, ())
        assert array_shape(path) == (6, 3, 5)


def test_labels_and_names_come_along_and_are_chosen_with_the_inputs(tmp_path: Path) -> None:
    labels = np.arange(9) % 3
    path = npz(
        tmp_path,
        inputs=np.arange(18.0).reshape(9, 2),
        labels=labels,
        class_names=["a", "b", "c"],
        names=[f"gene {i}" for i in range(9)],
    )
    few = array_file(path, limit=4, seed=1)
    numbers = few.values[:, 0].long() // 2
    assert len(set(numbers.tolist())) == 4
    assert few.labels is not None
    assert few.labels.tolist() == labels[numbers].tolist()
    assert few.class_names == ("a", "b", "c")
    assert few.files == tuple(f"gene {i}" for i in numbers.tolist())
    assert few.passed_over == ("4 of 9 inputs were chosen at random.",)
    assert array_file(path, limit=4, seed=1).digest == few.digest
    assert array_file(path, limit=9).passed_over == ()


def test_inputs_without_names_keep_their_numbers(tmp_path: Path) -> None:
    path = npy(tmp_path, np.arange(20.0).reshape(10, 2))
    few = array_file(path, limit=3)
    assert few.files == tuple(f"input {int(i) // 2}" for i in few.values[:, 0])
    assert array_file(npz(tmp_path, inputs=np.zeros((3, 2)), labels=[0, 1, 1])).class_names == (
        "0",
        "1",
    )


def test_a_large_file_is_read_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = drawn(12, 3, 4)
    path = npy(tmp_path, array)
    held = array_file(path, limit=8, seed=3)
    monkeypatch.setattr(arrays, "_HELD", 10)
    lazy = array_file(path, limit=8, seed=3)
    assert isinstance(lazy.values, LazyInputs)
    assert lazy.digest == held.digest
    assert torch.equal(lazy.values[:], held.values[:])
    array[11] = np.nan
    with pytest.raises(OrbitLensError, match="NaN or infinity in input 11"):
        array_file(npy(tmp_path, array))


def test_images_lie_between_zero_and_one(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    images = array_file(npz(tmp_path, inputs=pixels), images=True)
    assert np.array_equal(images.values.numpy(), pixels.astype(np.float32) / np.float32(255))
    for wrong in (pixels.astype(np.int64), drawn(5, 1, 4, 4)):
        with pytest.raises(OrbitLensError, match=r"values in \[0, 1\], or numbers of uint8"):
            array_file(npz(tmp_path, inputs=wrong), images=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": np.zeros((3, 2))}, "an array `inputs`, received data; write numpy.savez"),
        (
            {"inputs": np.zeros((3, 2)), "label": np.zeros(3)},
            "expected one of inputs, labels.* received 'label'; did you mean 'labels'",
        ),
        ({"labels": np.zeros(3)}, "an array `inputs`, received labels"),
        ({}, "an array `inputs`, received no array"),
        ({"inputs": np.array([None, 2], dtype=object)}, "real numbers, received Python objects"),
        ({"inputs": np.array([["a"], ["b"]])}, "real numbers, received numbers of type <U1"),
        ({"inputs": np.zeros((3, 2), complex)}, "real numbers, received numbers of type complex"),
        ({"inputs": np.zeros(3)}, r"shape \[n, ...\], at least one .* received shape \[3\]"),
        ({"inputs": np.zeros((0, 3))}, r"received shape \[0, 3\]"),
        ({"inputs": np.zeros((3, 2)), "labels": np.zeros(2, int)}, r"`labels`.*shape \[3\], recei"),
        ({"inputs": np.zeros((3, 2)), "labels": np.zeros((3, 1), int)}, r"received shape \[3, 1\]"),
        ({"inputs": np.zeros((3, 2)), "labels": np.array([0, 1, -1])}, "labels in -1..1"),
        ({"inputs": np.zeros((3, 2)), "labels": np.zeros(3)}, "class indices, whole numbers"),
        (
            {"inputs": np.zeros((2, 2)), "labels": np.array([0, 2]), "class_names": ["a", "b"]},
            "indices into the 2 class names",
        ),
        ({"inputs": np.zeros((3, 2)), "files": np.zeros(3)}, "`files` of .* expected texts"),
        ({"inputs": np.zeros((3, 2)), "names": ["a"]}, r"`names` .* received shape \[1\]"),
        ({"inputs": np.full((3, 2), np.inf)}, "NaN or infinity in input 0 and 2 more"),
        ({"inputs": np.full((1, 2), 1e300)}, "finite numbers that float32 can hold"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_what_the_arrays_may_not_be(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        array_file(npz(tmp_path, **content))


def test_what_is_no_such_file(tmp_path: Path) -> None:
    text, cut = tmp_path / "text.npz", tmp_path / "cut.npy"
    text.write_text("inputs 1 2 3")
    with pytest.raises(OrbitLensError, match="a whole .npz file, as numpy.savez writes it"):
        array_file(text)
    np.save(cut, np.zeros((50, 50)))
    cut.write_bytes(cut.read_bytes()[:200])
    with pytest.raises(OrbitLensError, match="a whole .npy file, as numpy.save writes it"):
        array_file(cut)
    damaged = npz(tmp_path, inputs=np.zeros((50, 50)))
    content = bytearray(damaged.read_bytes())
    content[2000] ^= 255
    damaged.write_bytes(content)
    with pytest.raises(OrbitLensError, match="a whole .npz file"):
        array_file(damaged)
    (tmp_path / "data.csv").write_text("1")
    for name, received in (("no.npz", "none"), ("data.csv", "another file"), ("", "a folder")):
        with pytest.raises(OrbitLensError, match=f"an existing .npz or .npy.* {received}"):
            array_shape(tmp_path / name)


def test_names_of_files() -> None:
    assert [is_array_file(name) for name in ("a.NPZ", "b.npy", "c", "npz")] == [
        *(True, True, False, False)
    ]
