"""Worker processes that own whole shards: as many as one likes, the bits are the same."""

import sys
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import symbolic_trace

from orbitlens.actions import images
from orbitlens.activations import ActivationStore, harvest, open_store
from orbitlens.activations.harvest import _workers
from orbitlens.activations.harvest._workers import list_weights, pack, unpack, without_weights
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.models import resolve_model


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 64 samples."""
    monkeypatch.setattr("orbitlens.activations.store._on_disk._SHARD_BYTES", 2**20)


def run(out: Path, model: nn.Module | None = None, **settings: Any) -> ActivationStore:
    torch.manual_seed(0)
    model = model or nn.Sequential(nn.Flatten(), nn.Linear(64, 1024), nn.Tanh())
    inputs = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    given = {"layer": "1", "inputs": inputs, "action": images(cyclic(4)), "batch_size": 64}
    return harvest(model, out=out, **{**given, **settings})


def bits(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Fails(nn.Module):
    """A network that fails on inputs of one kind, in whichever process."""

    def __init__(self, fail: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.fail, self.rest = fail, nn.Flatten()

    def forward(self, batch: Tensor) -> Tensor:
        self.fail(batch)
        return self.rest(batch)


def raise_in_a_worker(_: Tensor) -> None:
    if torch.multiprocessing.parent_process() is not None:
        raise ValueError("it broke")


def end_a_worker(_: Tensor) -> None:
    if torch.multiprocessing.parent_process() is not None:
        raise SystemExit(7)


def test_two_workers_write_the_bits_of_one(tmp_path: Path) -> None:
    # A closure cannot be sent to a process, and need not be.
    shift = torch.full((1,), 0.5)
    seen: list[int] = []
    one = run(tmp_path / "one", prepare=lambda x: (x - shift).bfloat16().float())
    two = run(
        tmp_path / "two",
        prepare=lambda x: (x - shift).bfloat16().float(),
        workers=2,
        progress=lambda done, n: seen.append(done),
    )
    assert torch.equal(one.orbits(), two.orbits())
    shards, others = (bits(tmp_path / name / "activations") for name in ("one", "two"))
    assert len([name for name in shards if name.startswith("c")]) == 5
    assert shards == others
    assert seen == sorted(seen)
    assert seen[-1] == 300
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["one", "two"]


def test_workers_go_on_where_one_stopped(tmp_path: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done > 150:
            raise KeyboardInterrupt

    whole = run(tmp_path / "whole").orbits()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "acts", resume=True, progress=stop)
    run(tmp_path / "acts", resume=True, workers=2)
    assert torch.equal(open_store(tmp_path / "acts").orbits(), whole)


def test_a_network_that_cannot_be_sent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match=r"the network: .*sent to worker.*workers=1"):
        run(tmp_path / "acts", Fails(lambda _: None), layer="rest", workers=2)
    assert list(tmp_path.iterdir()) == []


def test_what_goes_wrong_in_a_worker_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match="run as far as layer 'rest', received ValueError: it"):
        run(tmp_path / "acts", Fails(raise_in_a_worker), layer="rest", workers=2)
    with pytest.raises(OrbitLensError, match="a worker process.*exit code 7; call `harvest` under"):
        run(tmp_path / "acts", Fails(end_a_worker), layer="rest", workers=2)
    assert list(tmp_path.iterdir()) == []


def test_a_store_in_memory_has_one_worker(tmp_path: Path) -> None:
    for out in (None, "memory://acts"):
        with pytest.raises(OrbitLensError, match="`workers`: expected 1 for a store in memory"):
            run(out, workers=2)  # type: ignore[arg-type]
    with pytest.raises(OrbitLensError, match="`workers`: expected at least 1, received 0"):
        run(tmp_path / "acts", workers=0)


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool]
)
def test_a_tensor_arrives_as_it_was(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = torch.rand(shape).mul(9).to(dtype)
    again = unpack(pack(tensor))
    assert again.dtype == dtype
    assert torch.equal(again, tensor)


def test_a_view_is_packed_in_its_own_order() -> None:
    view = torch.arange(12).reshape(3, 4).T[::2]
    assert torch.equal(unpack(pack(view)), view)


def tied() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3, bias=False))
    model[2].weight = model[0].weight
    return model.eval()


def test_tied_weights_are_sent_once_and_stay_tied(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = tied(), torch.rand(4, 3)
    before, tensors = model(batch), list_weights(model)
    assert len(tensors) == 7
    sent = [unpack(pack(tensor)) for tensor in tensors]
    monkeypatch.setattr(_workers, "_ARRIVED", sent)
    with without_weights(model):
        content = bytes(ForkingPickler.dumps(model))
    again = ForkingPickler.loads(content)
    assert again[2].weight is again[0].weight is sent[0]
    assert torch.equal(again(batch), before)
    assert len(content) < 3000


def fails(model: nn.Sequential, emptied: list[bool]) -> None:
    weights = model[0]._parameters.values()
    emptied.append(not any(isinstance(each, Tensor) for each in weights))
    raise RuntimeError


def test_a_network_without_weights_is_filled_again_also_after_an_error() -> None:
    model = tied()
    held = [*model.named_parameters(), *model.named_buffers()]
    emptied: list[bool] = []
    with pytest.raises(RuntimeError), without_weights(model):
        fails(model, emptied)
    assert emptied == [True]
    again = [*model.named_parameters(), *model.named_buffers()]
    assert [name for name, _ in again] == [name for name, _ in held]
    assert all(a is b for (_, a), (_, b) in zip(again, held, strict=True))


class Shifted(nn.Module):
    """A network that adds a parameter and a buffer of its own, as graphs in ONNX files do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 1024))
        self.register_buffer("shift", torch.ones(1))
        self.last = nn.Tanh()

    def forward(self, batch: Tensor) -> Tensor:
        return self.last(batch.flatten(1) @ self.weight + self.shift)


def both(tmp_path: Path, model: nn.Module, **settings: Any) -> list[ActivationStore]:
    names = {"one": 1, "two": 2}
    return [
        run(tmp_path / name, model, workers=workers, **settings) for name, workers in names.items()
    ]


def test_a_traced_network_is_traced_again_with_its_weights(tmp_path: Path) -> None:
    one, two = both(tmp_path, symbolic_trace(Shifted()), layer="last")
    assert torch.equal(one.orbits(), two.orbits())


SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(64, 1024)

    def forward(self, x):
        return torch.tanh(self.encoder(x.flatten(1)) * FACTOR)

FACTOR = {factor}
"""


def test_workers_run_networks_from_files_of_the_user(tmp_path: Path) -> None:
    outs = []
    for factor in (1, 2):
        folder = tmp_path / f"folder{factor}"
        folder.mkdir()
        (folder / "my.net.py").write_text(SOURCE.format(factor=factor))
        model = resolve_model(f"python:{folder / 'my.net.py'}:Net").module
        one, two = both(folder, model, layer="encoder", name="net")
        assert torch.equal(one.orbits(), two.orbits())
        outs.append(type(model).__module__)
    assert outs[0] != outs[1]


def test_a_module_in_the_current_folder_serves_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "network_of_mine.py").write_text(SOURCE.format(factor=1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    model = resolve_model("python:network_of_mine:Net").module
    one, two = both(tmp_path, model, layer="encoder")
    assert torch.equal(one.orbits(), two.orbits())


def test_a_network_that_a_worker_cannot_import_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gone_tomorrow.py"
    path.write_text(SOURCE.format(factor=1))
    monkeypatch.syspath_prepend(tmp_path)
    model = resolve_model("python:gone_tomorrow:Net").module
    path.unlink()
    with pytest.raises(OrbitLensError, match=r"sent to worker.*ModuleNotFound.*workers=1") as found:
        run(tmp_path / "acts", model, layer="encoder", workers=2)
    assert "\n" not in str(found.value)
    assert not (tmp_path / "acts").exists()


def test_a_packed_tensor_is_its_type_shape_and_bytes() -> None:
    kind, shape, flat = pack(torch.ones(1, 2, dtype=torch.bfloat16))
    assert (kind, shape) == ("bfloat16", (1, 2))
    assert flat.tolist() == [0x80, 0x3F] * 2
