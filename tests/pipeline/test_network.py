"""The report of a network and the choice of a group, from the command line to the page."""

import errno
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

import orbitlens as ol
from orbitlens.cli.commands import main
from orbitlens.files import one_line_errors, read_json
from orbitlens.reproduce import read_table
from orbitlens.transport import measure_network, network

TINY = ["--n-samples", "60", "--model-epochs", "1", "--lie-inputs", "8", "--json"]
NETWORK = """
import orbitlens as ol
from torch import nn

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = ol.models.GroupCNN(ol.groups.dihedral(4), features=2)
        self.twice = nn.ReLU(inplace=True)
        self.idle = nn.Linear(2, 2)
    def forward(self, x):
        return self.twice(self.twice(self.body(x)))

def build(): return Network()
"""


def call(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 0
    return json.loads(capsys.readouterr().out)


def user_network(folder: Path) -> str:
    (folder / "network.py").write_text(NETWORK)
    return f"python:{folder / 'network.py'}:build"


def test_every_layer_of_a_network_that_is_equivariant_by_construction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("transport", user_network(tmp_path), "digits", "--image-size", "8", "--out", str(out))
    record = call(capsys, *words, *TINY, "--group", "D4")
    layers = {row["layer"]: row for row in record["layers"]}
    assert list(layers) == [f"body.{x}" for x in ("lift", "conv1", "conv2", "pool", "readout")]
    for name in ("body.lift", "body.conv1", "body.conv2", "body.pool"):
        assert layers[name]["verdict"] == "exactly equivariant"
        assert layers[name]["r2"] > 0.999
    assert layers["body.readout"]["verdict"] == "exactly invariant"
    assert layers["body.readout"]["spectrum"][0] == pytest.approx(1.0, abs=1e-6)
    assert layers["body.lift"]["lie_translation"] > 0
    assert set(record["skipped"]) == {"body", "twice", "idle"}
    assert "use" not in record
    assert read_json(out / "metrics.json") == record
    page = (out / "report" / "index.html").read_text()
    assert all(name in page for name in layers)
    rows = read_table(out / "layers.csv")
    assert [row["layer"] for row in rows] == list(layers)
    assert rows[0]["spectrum 2d#1"] == pytest.approx(layers["body.lift"]["spectrum"][-1], rel=1e-4)
    assert not list(out.rglob("*partial*"))


RELAXED = """
from orbitlens.symmetry.relax.relaxed_images import RelaxedLiftingConv2d
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(RelaxedLiftingConv2d("C4", 1, 2, 3), nn.ReLU())
"""


def test_a_layer_that_knows_its_use_has_it_in_the_record_the_table_and_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "network.py").write_text(f"import torch\n{RELAXED}")
    words = ["transport", f"python:{tmp_path / 'network.py'}:build", "digits", "--image-size", "8"]
    record = call(capsys, *words, *TINY, "--out", str(tmp_path / "out"))
    assert record["use"] == {"0": {"kind": "spread", "parts": {"bank 1": 0.0, "bank 2": 0.0}}}
    first, second = read_table(tmp_path / "out" / "layers.csv")
    assert first["use bank 1"] == 0
    assert not second["use bank 1"]
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "The relaxed layer 0 is symmetric" in page
    assert "Bank spread" in page


def test_a_network_that_is_trained_here_is_kept_and_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["transport", "cnn", "digits", "--out", str(tmp_path / "out"), *TINY]
    words += ["--layers", "encoder.0,encoder.2", "--max-positions", "4"]
    first = call(capsys, *words)
    assert [row["layer"] for row in first["layers"]] == ["encoder.0", "encoder.2"]
    assert first["layers"][0]["places"] == 4
    assert first["model"] == {"name": "digits-cnn", "trained_here": True}
    again = call(capsys, *words, "--resume")
    assert again["layers"] == first["layers"]


def test_the_largest_group_is_chosen_for_each_layer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["transport", user_network(tmp_path), "digits", "--image-size", "8", *TINY]
    words += ["--groups", "C2,C4,D4", "--layers", "body.conv1,body.pool"]
    record = call(capsys, *words, "--out", str(tmp_path / "out"))
    assert record["chosen"] == {"body.conv1": "D4", "body.pool": "D4"}
    rows = read_table(tmp_path / "out" / "groups.csv")
    assert [row["group"] for row in rows[:3]] == ["D4", "C4", "C2"]
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "D4 acts on all 2 layers (exactly equivariant)." in page
    for group in ("C2", "C4", "D4"):
        folder = tmp_path / "out" / "groups" / group
        assert f'href="../groups/{group}/report/index.html"' in page
        assert f"moves under {group}" in (folder / "report" / "index.html").read_text()
        own = read_json(folder / "metrics.json")
        assert own["config"]["group"] == own["group"]["name"] == group
        assert [row["layer"] for row in own["layers"]] == ["body.conv1", "body.pool"]
        assert len(read_table(folder / "layers.csv")) == 2


def test_a_group_that_cannot_be_measured_does_not_lose_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    true = network.measure_layer

    def failing(store: ol.ActivationStore, *, seed: int = 0) -> ol.transport.LayerEquivariance:
        if store.group.order == 4 or everywhere:
            raise ol.OrbitLensError("it", expected="this", received="that", remedy="give more")
        return true(store, seed=seed)

    monkeypatch.setattr(network, "measure_layer", failing)
    words = ["transport", user_network(tmp_path), "digits", "--image-size", "8", *TINY]
    words += ["--groups", "C2,C4,D4", "--layers", "body.pool"]
    out, everywhere = tmp_path / "out", False
    record = call(capsys, *words, "--out", str(out))
    line = "it: expected this, received that; give more"
    assert record["failed"] == {"C4": line}
    assert any("C4 is left out" in warning for warning in record["warnings"])
    assert [row["group"] for row in record["ranking"]] == ["D4", "C2"]
    assert record["chosen"] == {"body.pool": "D4"}
    assert not (out / "groups" / "C4").exists()
    assert f"not measured: {line}" in (out / "report" / "index.html").read_text()
    assert not list(out.glob(".*"))
    everywhere = True
    with pytest.raises(SystemExit) as ended:
        main([*words, "--out", str(tmp_path / "none")])
    assert ended.value.code == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_finished_groups_are_kept_and_not_mixed_with_those_of_another_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    true, groups = network.measure_layer, []

    def stopping(store: ol.ActivationStore, *, seed: int = 0) -> ol.transport.LayerEquivariance:
        groups.append(store.group.name)
        if groups == ["C2", "C4"]:
            raise KeyboardInterrupt
        return true(store, seed=seed)

    monkeypatch.setattr(network, "measure_layer", stopping)
    words = ["transport", user_network(tmp_path), "digits", "--image-size", "8", *TINY]
    words += ["--groups", "C2,C4", "--layers", "body.pool", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 130
    assert (tmp_path / "out" / "groups" / "C2" / "metrics.json").exists()
    capsys.readouterr()
    (tmp_path / "network.py").write_text(NETWORK.replace("features=2", "features=3"))
    with pytest.raises(SystemExit) as ended:
        main([*words, "--resume"])
    assert ended.value.code == 2
    assert "`resume` in" in capsys.readouterr().err
    user_network(tmp_path)
    record = call(capsys, *words, "--resume")
    assert groups == ["C2", "C4", "C4"]
    assert record["chosen"] == {"body.pool": "C4"}


def test_heads_are_parallel_and_a_dense_one_is_worse_than_the_mean(tmp_path: Path) -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = ol.models.GroupCNN(ol.groups.cyclic(4), features=2)
            self.noise = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.body(x), self.noise(10 * x)

    torch.manual_seed(0)
    images = torch.randn(400, 1, 8, 8)
    action = ol.actions.images(ol.groups.cyclic(4))
    layers = ["body.lift", "body.pool", "body.readout", "noise.3"]
    found = measure_network(Heads(), layers=layers, inputs=images, action=action, lie_inputs=0)
    assert {row["layer"]: row["after"] for row in found.table} == {
        "body.lift": [],
        "body.pool": ["body.lift"],
        "body.readout": ["body.pool"],
        "noise.3": [],
    }
    assert [row["verdict"] for row in found.table] == [
        "exactly equivariant",
        "exactly equivariant",
        "exactly invariant",
        "none, worse than the mean",
    ]


def test_in_python_layers_with_too_few_inputs_are_skipped_unless_named() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Linear(3, 2))
    images = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    action = ol.actions.images(ol.groups.cyclic(2))
    found = measure_network(model, inputs=images, action=action, lie_inputs=0)
    assert [figures.layer for figures in found.layers] == ["1", "2"]
    assert "two activations for each of the" in found.skipped["0"]
    assert found.table[0]["lie_rotation"] is None
    with pytest.raises(ol.OrbitLensError, match="layer '0' under C2.*two activations for each"):
        measure_network(model, layers="0", inputs=images, action=action)
    with pytest.raises(ol.OrbitLensError, match="at least 50, a fifth of them .* received 49"):
        measure_network(model, inputs=images[:49], action=action)
    with pytest.raises(ol.OrbitLensError, match="at least two elements, received C1"):
        measure_network(model, inputs=images, action=ol.actions.images(ol.groups.cyclic(1)))


def test_without_images_there_is_no_lie_derivative() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh())
    sets = torch.randn(80, 6, generator=torch.Generator().manual_seed(0))
    action = ol.actions.cyclic_shift(ol.groups.cyclic(3))
    found = measure_network(model, inputs=sets, action=action)
    assert len(found.table) == 2
    assert all(row["lie_translation"] is None for row in found.table)


def small() -> dict:
    """A network of two layers with its inputs and action, as arguments of `measure_network`."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Tanh())
    images = torch.rand(60, 1, 8, 8)
    action = ol.actions.images(ol.groups.cyclic(2))
    return {"model": model, "inputs": images, "action": action, "lie_inputs": 4}


@pytest.mark.parametrize("stage", ["harvest_layers", "measure_layer", "lie_derivative_errors"])
def test_a_measurement_that_was_stopped_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    expected = measure_network(**small()).table
    true, calls = getattr(network, stage), 0

    def stopped(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2 or stage == "harvest_layers":
            raise KeyboardInterrupt
        return true(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(network, stage, stopped)
        with pytest.raises(KeyboardInterrupt):
            measure_network(**small(), scratch=tmp_path / "kept", resume=True)
    done = {"harvest_layers": 0, "measure_layer": 1, "lie_derivative_errors": 1}[stage]
    calls = 0

    def counted(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        return true(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(network, stage, counted)
        found = measure_network(**small(), scratch=tmp_path / "kept", resume=True)
    assert found.table == expected
    whole = {"harvest_layers": 1, "measure_layer": 3, "lie_derivative_errors": 2}[stage]
    assert calls == whole - done
    assert not (tmp_path / "kept" / "layers").exists()


def test_a_measurement_of_something_else_is_not_continued(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    measure_network(**small(), scratch=kept, resume=True)
    with pytest.raises(ol.OrbitLensError, match="`resume` in .*expected seed 0 .*received seed 1"):
        measure_network(**small(), scratch=kept, resume=True, seed=1)
    other = {**small(), "inputs": small()["inputs"] + 1}
    with pytest.raises(ol.OrbitLensError, match="inputs digest"):
        measure_network(**other, scratch=kept, resume=True)
    with pytest.raises(ol.OrbitLensError, match="`scratch`: expected a folder, with `resume`"):
        measure_network(**small(), resume=True)


@pytest.mark.parametrize("more", [[], ["--groups", "C2,C4"]])
def test_a_report_that_was_stopped_measures_only_the_rest(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
) -> None:
    words = ["transport", "cnn", "digits", *TINY, "--layers", "encoder.0,encoder.2", *more]
    words += ["--max-positions", "4"]
    whole = call(capsys, *words, "--out", str(tmp_path / "whole"))
    out, true, calls = tmp_path / "out", network.measure_layer, 0

    def stopping(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return true(*arguments, **named)

    monkeypatch.setattr(network, "measure_layer", stopping)
    with pytest.raises(SystemExit) as ended:
        main([*words, "--out", str(out)])
    assert ended.value.code == 130
    assert "continue with --resume" in capsys.readouterr().err
    again = call(capsys, *words, "--out", str(out), "--resume")
    assert calls == (5 if more else 3)
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    assert not list(out.glob(".*"))
    calls = 10
    assert call(capsys, *words, "--out", str(out), "--resume") == again
    assert calls == 10


def test_a_disk_that_fails_is_no_property_of_a_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = network.measure_layer

    def failing(*arguments: object, **named: object) -> object:
        with one_line_errors(tmp_path):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(network, "measure_layer", failing)
    with pytest.raises(ol.OrbitLensError, match="Input/output error"):
        measure_network(**small(), scratch=tmp_path / "kept", resume=True)
    monkeypatch.setattr(network, "measure_layer", true)
    found = measure_network(**small(), scratch=tmp_path / "kept", resume=True)
    assert set(found.skipped) == {"0"}


def test_a_measurement_does_not_go_on_with_what_computes_something_else(tmp_path: Path) -> None:
    def stopped(name: str) -> AbstractContextManager[Callable[..., None]]:
        if name == "measure the layers":
            raise KeyboardInterrupt
        return nullcontext(lambda *_: None)

    scratch = tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt):
        measure_network(**small(), scratch=scratch, resume=True, stage=stopped)
    other = small()
    other["model"][2] = nn.ReLU()
    with pytest.raises(ol.OrbitLensError, match="`resume`.*other outputs of input 0 at layer '2'"):
        measure_network(**other, scratch=scratch, resume=True)
    assert measure_network(**small(), scratch=scratch, resume=True).table


def test_a_layer_with_sparse_outputs_is_skipped() -> None:
    class Sparse(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.to_sparse()

    class Dense(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.to_dense()

    given = small()
    given["model"] = nn.Sequential(*given["model"], Sparse(), Dense())
    found = measure_network(**given)
    assert "torch.float32, torch.sparse_coo" in found.skipped["3"]
    assert [row["layer"] for row in found.table] == ["1", "2", "4"]
