"""Networks in ONNX files, run by `make test-vision`: onnx2torch needs torchvision."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orbitlens.actions import images
from orbitlens.activations import harvest
from orbitlens.errors import MissingExtraError, OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.models import resolve_model

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)


def write(path: Path, *, constant: bool = False, **inputs: list[Any]) -> str:
    """Write a network of one convolution and a ReLU; its inputs have these shapes."""
    pytest.importorskip("onnx2torch")
    from onnx import TensorProto, helper, numpy_helper, save

    inputs = inputs or {"images": ["batch", 3, 8, 8]}
    tensor = numpy_helper.from_array(WEIGHTS, "w")
    first = next(iter(inputs))
    nodes = [
        helper.make_node("Conv", [first, "w"], ["y"], name="conv", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["y"], ["z"], name="relu"),
    ]
    if constant:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    graph = helper.make_graph(
        nodes,
        "net",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in inputs.items()
        ],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [] if constant else [tensor],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), path)
    return f"onnx:{path}"


@pytest.mark.vision
@pytest.mark.parametrize("constant", [False, True])
def test_a_file_is_a_network_with_its_input(tmp_path: Path, constant: bool) -> None:
    base = resolve_model(write(tmp_path / "net.onnx", constant=constant), layer="relu")
    assert (base.image_size, base.channels) == (8, 3)
    pixels = torch.rand(2, 1, 20, 20)
    ready = base.prepare(pixels)
    assert ready.shape == (2, 3, 8, 8)
    expected = torch.nn.functional.conv2d(ready, torch.from_numpy(WEIGHTS)).relu()
    torch.testing.assert_close(base.module(ready), expected)
    store = harvest(
        base.module,
        layer=base.layer,
        inputs=pixels,
        action=images(cyclic(4)),
        prepare=base.prepare,
    )
    assert (store.positions, store.dim) == (1, 4)
    torch.testing.assert_close(store.orbits([0, 1])[:, 0], expected.mean((2, 3)))


@pytest.mark.vision
def test_worker_processes_write_the_bits_of_one(tmp_path: Path) -> None:
    base = resolve_model(write(tmp_path / "net.onnx", constant=True), layer="relu")
    settings = {"layer": "relu", "inputs": torch.rand(9, 3, 8, 8), "action": images(cyclic(4))}
    one, two = (
        harvest(base.module, out=tmp_path / str(n), workers=n, **settings)  # type: ignore[arg-type]
        for n in (1, 2)
    )
    assert torch.equal(one.orbits(), two.orbits())


@pytest.mark.vision
def test_an_open_size_is_left_to_the_images(tmp_path: Path) -> None:
    name = write(tmp_path / "net.onnx", images=["batch", 3, "height", "width"])
    base = resolve_model(name, layer="relu", normalise="half")
    assert (base.image_size, base.channels) == (None, 3)
    assert base.prepare(torch.ones(1, 1, 5, 5)).unique().tolist() == [1.0]


@pytest.mark.vision
@pytest.mark.parametrize(
    ("inputs", "received"),
    [
        ({"a": ["n", 3, 8, 8], "b": ["n", 3, 8, 8]}, "a .* and b "),
        ({"a": ["n", 8, 8, 3]}, r"a \['\?', 8, 8, 3\]"),
        ({"a": ["n", 12]}, r"a \['\?', 12\]"),
    ],
)
def test_inputs_that_are_no_images_are_refused(
    tmp_path: Path, inputs: dict[str, list[Any]], received: str
) -> None:
    with pytest.raises(OrbitLensError, match=f"one input of images.*received {received}"):
        resolve_model(write(tmp_path / "net.onnx", **inputs), layer="relu")


@pytest.mark.vision
def test_a_file_that_is_none_is_refused_in_a_line(tmp_path: Path) -> None:
    pytest.importorskip("onnx2torch")
    (tmp_path / "net.onnx").write_bytes(b"not a network")
    for name, message in {
        "net.onnx": "can convert, received DecodeError",
        "other.onnx": "received no such file",
        ".": "received a folder",
    }.items():
        with pytest.raises(OrbitLensError, match=message) as caught:
            resolve_model(f"onnx:{tmp_path / name}", layer="relu")
        assert "\n" not in str(caught.value)
    with pytest.raises(OrbitLensError, match="leave out --random-weights"):
        resolve_model(f"onnx:{tmp_path}/net.onnx", random_weights=True)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx2torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'orbitlens\[onnx\]'"):
        resolve_model("onnx:net.onnx")
