"""Networks that recipes keep: read back at once, found by name, refused if they are others."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orbitlens import actions, groups
from orbitlens.errors import DamageError, OrbitLensError
from orbitlens.files import digest_of_file, read_json, to_json, write_json
from orbitlens.models import (
    GroupCNN,
    ImagePreparation,
    kept_folder,
    load_network,
    read_network,
    resolve_model,
    saved,
)
from orbitlens.models import _kept as kept
from orbitlens.pipeline import RunConfig
from orbitlens.reproduce import keep_network

NAME = "known"


def built(arguments: dict[str, Any]) -> Any:
    """The network of a recipe for the tests."""
    network = GroupCNN(groups.cyclic(4), features=arguments["features"], seed=arguments["seed"])
    match arguments.get("prepare"):
        case "halved":
            return network, lambda images: images / 2
        case "resized":
            return network, ImagePreparation(6, channels=1)
        case "nothing":
            return "no network"
    return network


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run of a recipe whose program is the function above."""
    program = SimpleNamespace(RECIPE=SimpleNamespace(network=built))
    monkeypatch.setattr(saved, "_program", lambda name: program)
    monkeypatch.setattr(kept, "names", lambda: [NAME, "other"])
    monkeypatch.setattr(kept, "locate", lambda name: tmp_path / name)
    for name, text in ((NAME, "keep_network(folder)"), ("other", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / f"{NAME}-small"
    folder.mkdir(parents=True)
    write_json({"recipe": NAME}, folder / "settings.json")
    return folder


def images(n: int = 60) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def keep(folder: Path, name: str = "arm", seed: int = 0, **more: Any) -> Path:
    network = GroupCNN(groups.cyclic(4), features=2, seed=seed + 1)
    arguments = {"features": 2, "seed": seed, **more.pop("arguments", {})}
    settings = {"inputs": images(), "action": actions.images("C4"), "layer": "pool"} | more
    return keep_network(folder, name, network, arguments, **settings)


def test_a_kept_network_is_found_by_the_name_of_its_recipe(run: Path) -> None:
    place = keep(run)
    assert place == run / "networks" / "arm"
    for name in (
        f"recipe:{NAME}",
        f"recipe:{NAME}/arm",
        str(place),
        "runs/known-small/networks/arm",
    ):
        base = resolve_model(name)
        assert (base.name, base.layer) == (f"recipe:{NAME}/arm", "pool")
        wanted = GroupCNN(groups.cyclic(4), features=2, seed=1)(images())
        assert torch.equal(base.module(images()), wanted)
    assert resolve_model(f"recipe:{NAME}", layer="conv1").layer == "conv1"
    assert torch.equal(load_network(place)(images()), wanted)


def test_the_preparation_comes_with_it(run: Path) -> None:
    base = read_network(keep(run, arguments={"prepare": "halved"}))
    assert torch.equal(base.prepare(images()), images() / 2)
    base = read_network(keep(run, arguments={"prepare": "resized"}))
    assert (base.image_size, base.channels) == (6, 1)


def test_the_newest_run_counts_and_a_job_that_is_done_again_replaces_its_network(run: Path) -> None:
    older, smoke = keep(run), run.with_name(f"{NAME}-smoke")
    smoke.mkdir()
    write_json({"recipe": NAME}, smoke / "settings.json")
    newer = keep(smoke, seed=5)
    for age, folder in ((200, older), (100, newer)):
        os.utime(folder / "network.json", (1e9 - age, 1e9 - age))
    assert kept_folder(f"recipe:{NAME}") == newer
    assert kept_folder(f"recipe:{NAME}") != keep(run)
    os.utime(older / "network.json", (1e9, 1e9))
    assert kept_folder(f"recipe:{NAME}") == older


def test_names_that_stand_for_nothing_are_one_line(run: Path) -> None:
    for name, told in (
        ("recipe:none", "recipe: expected one of known, other"),
        ("recipe:", "recipe: expected one of known, other"),
        ("recipe:other", "received none; this recipe keeps none"),
        (f"recipe:{NAME}", f"run `orbitlens reproduce {NAME}` first"),
    ):
        with pytest.raises(OrbitLensError, match=told):
            kept_folder(name)
    keep(run, "a"), keep(run, "b")
    for name in (f"recipe:{NAME}", f"recipe:{NAME}/c"):
        with pytest.raises(OrbitLensError, match=f"recipe:{NAME}/a, recipe:{NAME}/b"):
            kept_folder(name)
    assert kept_folder(f"recipe:{NAME}/b") == keep(run, "b", main=True)
    assert kept_folder(f"recipe:{NAME}") == run / "networks" / "b"
    assert kept_folder("digits") is None
    assert kept_folder("x" * 5000) is None


def test_settings_of_commands_follow_from_kept_inputs(run: Path) -> None:
    place = keep(run, layout="n c", seed_forward=3)
    config = RunConfig.for_source(f"recipe:{NAME}")
    assert config.source == str(place / "inputs.npz")
    assert (config.model, config.group, config.action) == (str(place), "C4", "images")
    assert (config.layout, config.seed_forward) == ("n c", 3)
    assert RunConfig.from_dict(config.to_dict()) == config
    other = RunConfig.for_source(f"recipe:{NAME}", model="cnn", group="C2")
    assert (other.model, other.group, other.layout) == ("cnn", "C2", None)
    digits = RunConfig.for_source("digits", model=f"recipe:{NAME}/arm")
    assert (digits.source, digits.model, digits.group) == ("digits", str(place), "C4")


def test_points_bring_their_axis(run: Path) -> None:
    record = keep(run) / "network.json"
    np.savez(record.with_name("inputs.npz"), inputs=np.zeros((60, 4, 3)))
    digest = digest_of_file(record.with_name("inputs.npz"))
    inputs = {"action": "points", "group": "C4", "axis": "z", "centred": True, "digest": digest}
    write_json({**read_json(record), "inputs": inputs}, record)
    config = RunConfig.for_source(f"recipe:{NAME}")
    assert (config.action, config.group, config.axis, config.centred) == ("points", "C4", "z", True)


def test_inputs_that_were_not_kept_or_are_others_are_refused(run: Path) -> None:
    place = keep(run)
    np.savez(place / "inputs.npz", inputs=images(70).numpy())
    with pytest.raises(DamageError, match="the inputs that were kept"):
        RunConfig.for_source(str(place))
    (place / "inputs.npz").unlink()
    with pytest.raises(OrbitLensError, match="it was kept without inputs"):
        RunConfig.for_source(str(place))


def test_a_record_without_its_checksum_or_digest_is_not_believed(run: Path) -> None:
    record = keep(run) / "network.json"
    whole = read_json(record)
    record.write_text(to_json(whole))
    for model in ({}, {"model": "cnn"}):
        with pytest.raises(DamageError, match="a record with its checksum"):
            RunConfig.for_source(str(record.parent), **model)
    del whole["inputs"]["digest"]
    write_json(whole, record)
    with pytest.raises(DamageError, match=r"a record with the digest of inputs\.npz"):
        RunConfig.for_source(str(record.parent), model="cnn")


@pytest.mark.parametrize("name", ["", ".", "..", "../..", "a/b", "/a/b", "a\0b", " "])
def test_a_name_that_is_no_folder_of_the_run_is_refused(run: Path, name: str) -> None:
    (run / "networks" / "a").mkdir(parents=True)
    with pytest.raises(OrbitLensError, match="`name` of a kept network"):
        keep(run, name)
    assert (run / "networks" / "a").is_dir()


def test_a_network_that_cannot_be_kept_leaves_the_earlier_one(run: Path) -> None:
    place = keep(run)
    before = (place / "network.json").read_text()
    with pytest.raises(DamageError, match="as the network has"):
        keep(run, arguments={"features": 3})
    assert (place / "network.json").read_text() == before
    assert list(place.parent.iterdir()) == [place]
    (place.parent / ".arm.partial").mkdir()  # of a process that was killed
    (place.parent / ".arm.partial" / "network.json").write_text(before)
    assert kept_folder(f"recipe:{NAME}") == place


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"inputs": images(3)}, "at least 50 inputs"),
        ({"inputs": images() * torch.nan}, "finite numbers that fit float32"),
        ({"inputs": images().double() + 1e300}, "finite numbers that fit float32"),
        ({"layout": "zzz"}, "the axes of the output"),
        ({"main": "yes"}, "`main`"),
        ({"seed_forward": -1}, "`seed_forward`"),
        ({"action": 3}, "`action`: expected an object Action"),
    ],
)
def test_settings_that_no_command_could_use_are_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], told: str
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=told):
        keep(run, **settings)


def test_inputs_of_numpy_are_kept(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with np.load(keep(run, inputs=images().numpy()) / "inputs.npz") as found:
        assert np.array_equal(found["inputs"], images())


def test_what_commands_cannot_do_is_not_kept(run: Path, tmp_path: Path) -> None:
    own = actions.own("C4", lambda x, g: x.rot90(g, (2, 3)), example=images(8))
    with pytest.raises(OrbitLensError, match="`action` of a kept network: expected one that comm"):
        keep(run, action=own)
    turn = torch.stack(
        [torch.linalg.matrix_power(torch.tensor([[0.0, 1], [-1, 0]]), g) for g in range(4)]
    )
    with pytest.raises(OrbitLensError, match="without matrices or permutations"):
        keep(run, action=actions.points("C4", matrices=turn), inputs=torch.rand(60, 3, 2))
    with pytest.raises(OrbitLensError, match="layer"):
        keep(run, layer="pol")
    with pytest.raises(OrbitLensError, match="with settings.json"):
        keep(tmp_path)
    with pytest.raises(OrbitLensError, match="`network` of recipe known: expected a network"):
        keep(run, arguments={"prepare": "nothing"})
    assert not list(run.glob("networks/*"))


def test_a_network_that_would_come_back_as_another_is_not_kept(run: Path) -> None:
    with pytest.raises(DamageError, match="as the network has"):
        keep(run, arguments={"features": 3})
    settings = {"inputs": images(), "action": actions.images("C4"), "layer": "pool"}
    for layer in ("pool", "readout"):  # at the layer, and after it
        network = GroupCNN(groups.cyclic(4), features=2)
        network.get_submodule(layer).register_forward_hook(lambda module, args, output: 2 * output)
        with pytest.raises(OrbitLensError, match="keep what else it needs in its state"):
            keep_network(run, "arm", network, {"features": 2, "seed": 0}, **settings)
    assert not list(run.glob("networks/*"))


def test_arguments_of_another_version_are_one_line(run: Path) -> None:
    record = keep(run) / "network.json"
    whole = read_json(record)
    build = {"recipe": NAME, "arguments": {"features": 2}}
    weights = saved.read_tensors(record.with_name("network.safetensors"), whole)
    saved.write_tensors(weights, record.with_name("network.safetensors"), {**whole, "build": build})
    write_json({**whole, "build": build}, record)
    with pytest.raises(OrbitLensError, match=r"KeyError: no 'seed'.*run the recipe again"):
        read_network(record.parent)


def test_a_recipe_that_no_longer_keeps_networks_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = keep(run)
    program = SimpleNamespace(RECIPE=SimpleNamespace(network=None))
    monkeypatch.setattr(saved, "_program", lambda name: program)
    with pytest.raises(OrbitLensError, match="recipe known: .*received one that keeps none"):
        read_network(place)


def test_a_network_in_training_mode_is_left_in_it(run: Path) -> None:
    network = nn.Module.train(GroupCNN(groups.cyclic(4), features=2))
    settings = {"inputs": images(), "action": actions.images("C4"), "layer": "pool"}
    keep_network(run, "arm", network, {"features": 2, "seed": 0}, **settings)
    assert network.training
