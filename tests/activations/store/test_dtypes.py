"""Types on disk: what is read is what was rounded, and what does not fit is said at the door."""

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from torch import nn

from orbitlens.actions import images
from orbitlens.activations import harvest, harvest_layers, open_store, store_from_array
from orbitlens.activations.store._on_disk import to_disk, to_float32
from orbitlens.activations.store._open_store import describe
from orbitlens.activations.store._write_store import write_store
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic

DTYPES = ["float32", "float16", "bfloat16"]


def numbers() -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((20, 2, 3, 5)).astype(np.float32)
    values[0, 0, 0] = [0.0, -0.0, 65504, 6e-8, -1e-30]
    return values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("on_disk", [True, False])
def test_what_is_read_is_what_torch_rounds_to(tmp_path: Path, dtype: str, on_disk: bool) -> None:
    values, kind = numbers(), getattr(torch, dtype)
    out = tmp_path / "acts" if on_disk else None
    store = store_from_array(values, group=cyclic(2), out=out, dtype=dtype)
    expected = torch.from_numpy(values).to(kind).float().movedim(1, 2).flatten(0, 1)
    assert store.orbits().dtype == torch.float32
    assert torch.equal(store.orbits(), expected)
    assert torch.equal(store.orbits(np.array([7, 2]))[3:], expected[6:9])
    assert (store.dtype, store.to_dict()["dtype"]) == (dtype, dtype)
    if on_disk:
        assert torch.equal(open_store(tmp_path / "acts").orbits(), expected)


def test_half_the_bytes_are_half_the_bytes(tmp_path: Path) -> None:
    sizes = {}
    for dtype in DTYPES:
        values = np.ones((500, 4, 64), np.float32)
        store_from_array(values, group=cyclic(4), out=tmp_path / dtype, dtype=dtype)
        sizes[dtype] = (tmp_path / dtype / "activations/c.0.0.0").stat().st_size
    assert sizes["float16"] == sizes["bfloat16"] < 0.51 * sizes["float32"]


def test_what_is_too_large_says_where_and_what_to_choose(tmp_path: Path) -> None:
    values = numbers()
    values[3, 1, 2, 4] = -7e4
    message = r"as float16: .* up to 65504, received -70000 at sample 3, element 1, position 2, "
    with pytest.raises(OrbitLensError, match=message + "dimension 4; choose dtype bfloat16"):
        store_from_array(values, group=cyclic(2), out=tmp_path / "acts", dtype="float16")
    values[3, 1, 2, 4] = 3.4e38
    with pytest.raises(OrbitLensError, match=r"received 3.4e\+38 .*choose dtype float32"):
        store_from_array(values, group=cyclic(2), out=tmp_path / "acts", dtype="bfloat16")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_overflows_is_located(tmp_path: Path) -> None:
    inputs = torch.rand(9, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    inputs[6] = 1e5
    given = {"inputs": inputs, "action": images(cyclic(2)), "out": tmp_path / "acts"}
    message = "layer '0' as float16: .*received 100000 at sample 6, element 0, dimension 0"
    with pytest.raises(OrbitLensError, match=message):
        harvest(nn.Sequential(nn.Flatten()), layer="0", batch_size=4, dtype="float16", **given)
    with pytest.raises(OrbitLensError, match=message):
        harvest_layers(nn.Sequential(nn.Flatten()), batch_size=4, dtype="float16", **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", DTYPES)
def test_harvests_round_as_arrays_do(dtype: str) -> None:
    inputs = torch.rand(9, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    model, action = nn.Sequential(nn.Flatten()), images(cyclic(2))
    orbits = action.orbit(inputs).flatten(2)
    one = harvest(model, layer="0", inputs=inputs, action=action, dtype=dtype).orbits()
    many = harvest_layers(model, inputs=inputs, action=action, dtype=dtype).stores["0"].orbits()
    assert torch.equal(one, orbits.to(getattr(torch, dtype)).float())
    assert torch.equal(one, many)


def test_an_unknown_type_names_the_nearest() -> None:
    with pytest.raises(OrbitLensError, match="one of float32, float16, bfloat16, received 'bf16'"):
        store_from_array(numbers(), group=cyclic(2), dtype="bf16")


def test_mixed_types_are_refused(tmp_path: Path) -> None:
    blocks = [np.ones((2, 2, 3), np.float32), np.ones((2, 2, 3), np.float16)]
    attributes = describe(
        group=cyclic(2),
        action="given",
        action_config={},
        model="m",
        layer="l",
        digest="",
        class_names=(),
        moves=None,
    )
    with pytest.raises(OrbitLensError, match="float32 in every block, received one of float16"):
        write_store(iter(blocks), n=4, out=tmp_path / "acts", labels=None, attributes=attributes)
    for count, word in ((1, "fewer"), (3, "more")):
        with pytest.raises(OrbitLensError, match=f"expected 4 samples, received {word} of them"):
            write_store(
                blocks[:1] * count, n=4, out=tmp_path / "acts", labels=None, attributes=attributes
            )
    assert list(tmp_path.iterdir()) == []
    store_from_array(numbers(), group=cyclic(2), out=tmp_path / "acts", dtype="float16")
    zarr.open_group(tmp_path / "acts", mode="r+").attrs["dtype"] = "bfloat16"
    with pytest.raises(OrbitLensError, match="activations of float16 that are called bfloat16"):
        open_store(tmp_path / "acts")


def test_bfloat16_is_stored_as_its_bits() -> None:
    assert to_disk(np.ones((1, 1, 1), np.float32), "bfloat16", 0, "ones").tolist() == [[[16256]]]


def test_any_floating_type_becomes_float32() -> None:
    block = to_float32(np.full((1, 1, 1), 0.5), 0)
    assert block.dtype == np.float32
    assert block.tolist() == [[[0.5]]]
