"""Harvests of inputs that are read when they are needed have the bits of those held in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orbitlens.actions import images
from orbitlens.activations import ActivationStore, harvest, harvest_layers
from orbitlens.data import LazyInputs
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic

VALUES = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 64 samples: an orbit takes 16 KiB, a chunk 32 samples."""
    monkeypatch.setattr("orbitlens.activations.store._on_disk._SHARD_BYTES", 2**20)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1024), nn.Tanh())


def run(inputs: Any, **settings: Any) -> ActivationStore:
    given = {"layer": "2", "action": images(cyclic(4)), "batch_size": 64, **settings}
    return harvest(network(), inputs=inputs, **given)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_bit_is_that_of_a_harvest_of_the_tensor(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", VALUES.numpy())
    run(VALUES, out=tmp_path / "tensor")
    run(np.load(tmp_path / "x.npy", mmap_mode="r"), out=tmp_path / "mapped")
    run(list(VALUES), out=tmp_path / "list", workers=2)
    assert files(tmp_path / "mapped") == files(tmp_path / "tensor")
    one, two = files(tmp_path / "tensor"), files(tmp_path / "list")
    assert {k: v for k, v in one.items() if "c." in k} == {
        k: v for k, v in two.items() if "c." in k
    }


def test_many_layers_and_their_trial() -> None:
    settings: dict[str, Any] = {"action": images(cyclic(4)), "max_dim": 16, "batch_size": 64}
    held = harvest_layers(network(), inputs=VALUES, **settings)
    lazy = harvest_layers(network(), inputs=list(VALUES), **settings)
    for layer, store in held.stores.items():
        assert torch.equal(store.orbits(), lazy.stores[layer].orbits())
        assert store.digest == lazy.stores[layer].digest


def test_inputs_are_read_for_the_digest_and_then_batch_by_batch() -> None:
    read: list[int] = []
    between: list[int] = []

    def item(i: int) -> Tensor:
        read.append(i)
        return VALUES[i]

    def prepare(moved: Tensor) -> Tensor:
        between.append(len(read))
        return moved

    run(LazyInputs(item, n=300), prepare=prepare)
    # A few and the last to look at shape, action and network; then all for the digest, and all in
    # batches.
    looks = read[:-600]
    assert set(looks) == {0, 1, 2, 299}
    assert len(looks) <= 12
    assert read == [*looks, *range(300), *range(300)]
    batches = [count for count in between if count > len(looks)]
    # 16 inputs, moved by 4 elements; batches end with their shard of 64 samples.
    start = len(looks) + 300
    assert batches == [*range(start + 16, start + 300, 16), start + 300]


def test_a_run_that_goes_on_reads_what_is_missing_and_knows_other_inputs(tmp_path: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done > 150:
            raise KeyboardInterrupt

    run(VALUES, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(list(VALUES), out=tmp_path / "acts", resume=True, progress=stop)
    with pytest.raises(OrbitLensError, match="inputs digest .*received inputs digest"):
        run(list(VALUES.flip(0)), out=tmp_path / "acts", resume=True)
    run(list(VALUES), out=tmp_path / "acts", resume=True)
    assert files(tmp_path / "acts") == files(tmp_path / "whole")


def test_an_input_that_cannot_be_read_is_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    calls = []

    def item(i: int) -> Tensor:
        calls.append(i)
        if i == 299 and calls.count(299) == 2:
            raise OSError("the disk is gone")
        return VALUES[i]

    with pytest.raises(OrbitLensError, match="input 299: .*received OSError: the disk is gone"):
        run(LazyInputs(item, n=300), out=tmp_path / "acts")
    assert list(tmp_path.iterdir()) == []


def test_lazy_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="`inputs`: expected at least one, received none"):
        run([])
    with pytest.raises(OrbitLensError, match="images: expected shape"):
        run(list(torch.zeros(3, 8, 8)))
    with pytest.raises(OrbitLensError, match=r"`labels`: expected one per sample, shape \[300\]"):
        run(list(VALUES), labels=np.zeros(3, dtype=np.int64))
