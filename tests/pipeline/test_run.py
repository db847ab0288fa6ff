"""The whole pipeline on tiny data: what it writes, and that it can be interrupted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from orbitlens import files, io
from orbitlens.activations import open_store, split_samples, store_from_array
from orbitlens.cli.commands import main
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.pipeline import (
    QUICK,
    Console,
    RunConfig,
    RunFolder,
    measure_sae,
    prepare,
    run,
    stages,
)
from orbitlens.sae import SAE

TINY: dict[str, Any] = {
    "n_samples": 40,
    "image_size": 16,
    "model_samples": 64,
    "model_epochs": 2,
    "d_sae": 16,
    "k": 4,
    "hidden": 16,
    "epochs": 3,
    "probe_samples": 24,
    "probe_every": 45,
    "features": 2,
}
GIVEN_WEIGHT = TINY | {"orbit_weight": 1.0}
"""Spares the trainings by which the weight is chosen."""
SAES = {
    *("vanilla", "equivariant_canonical", "equivariant_latent", "equivariant_output"),
    "orbit",
}


def pictures(folder: Path, classes: int, n: int) -> Path:
    random = np.random.default_rng(0)
    for label in range(max(1, classes)):
        place = folder / "images" / (f"class{label}" if classes else "")
        place.mkdir(parents=True, exist_ok=True)
        for i in range(n):
            pixels = (random.random((20, 24, 3)) * 120 + 60 * label).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{i}.png")
    return folder / "images"


def check_folder(out: Path, metrics: dict[str, Any]) -> None:
    assert files.read_json(out / "metrics.json") == json.loads(json.dumps(metrics))
    assert RunConfig.from_dict(files.read_json(out / "config.json")).to_dict() == metrics["config"]
    assert set(metrics["saes"]) == SAES
    assert all(isinstance(io.load(out / "saes" / name / "sae"), SAE) for name in SAES)
    assert open_store(out / "acts.zarr").digest == metrics["data"]["digest"]
    page = (out / "report" / "index.html").read_text()
    assert all(name in page for name in ("Transport", "Probing", "Training curves", "Features"))
    assert not list(out.rglob("*partial*"))


def test_shapes_from_images_to_page(tmp_path: Path) -> None:
    metrics = run(RunConfig.for_source("shapes", **TINY), tmp_path / "out")
    check_folder(tmp_path / "out", metrics)
    assert metrics["transport"]["r2"] > metrics["transport"]["identity_r2"]
    assert len(metrics["transport"]["r2_per_element"]) == 4
    vanilla, canonical = metrics["saes"]["vanilla"], metrics["saes"]["equivariant_canonical"]
    assert vanilla["transported_mse"] is None
    assert canonical["transported_mse"] > 0
    assert canonical["spliced_mse"] > 0
    orientations = {row["orientation"] for row in canonical["probe"]["rows"]}
    assert orientations == {"oracle", "inferred"}
    assert {row["orientation"] for row in vanilla["probe"]["rows"]} == {"none"}


@pytest.mark.parametrize("group", ["D4", "C2"])
def test_digits_under_other_groups_with_batch_topk(tmp_path: Path, group: str) -> None:
    settings = TINY | {"image_size": 8, "sparsity": "batchtopk", "hidden": 0, "n_samples": 150}
    metrics = run(RunConfig.for_source("digits", group=group, **settings), tmp_path / "out")
    check_folder(tmp_path / "out", metrics)
    probe = metrics["saes"]["equivariant_latent"]["probe"]
    assert probe["kind"] == "logistic"
    assert [row["latents"] for row in probe["rows"]] == [2, 4, 8, 16]


@pytest.mark.parametrize("source", ["photographs", "cells"])
def test_images_that_are_drawn_on_demand(tmp_path: Path, source: str) -> None:
    assert RunConfig.for_source(source).image_size == 32
    assert RunConfig.for_source(source).model == "cnn"
    metrics = run(RunConfig.for_source(source, **GIVEN_WEIGHT), tmp_path / "out")
    check_folder(tmp_path / "out", metrics)
    assert metrics["data"]["name"] == source
    assert metrics["data"]["n"] == 40
    assert metrics["saes"]["vanilla"]["probe"]["kind"] == "logistic"


@pytest.mark.parametrize("classes", [0, 2])
def test_a_folder_of_images_with_and_without_classes(tmp_path: Path, classes: int) -> None:
    source = pictures(tmp_path, classes, 12)
    metrics = run(RunConfig.for_source(str(source), **GIVEN_WEIGHT), tmp_path / "out")
    assert metrics["model"]["name"] == "images-cnn"
    assert metrics["data"]["classes"] == [f"class{i}" for i in range(classes)]
    assert (metrics["saes"]["vanilla"]["probe"] is None) == (classes == 0)
    assert any("No probing" in note for note in metrics["notes"]) == (classes == 0)


def test_a_vision_transformer_is_trained_and_spliced(tmp_path: Path) -> None:
    metrics = run(RunConfig.for_source("shapes", model="vit", **GIVEN_WEIGHT), tmp_path / "out")
    check_folder(tmp_path / "out", metrics)
    assert metrics["model"]["name"] == "shapes-vit"
    assert metrics["model"]["dim"] == 256
    assert metrics["saes"]["vanilla"]["spliced_mse"] > 0


def test_an_interpolated_group_states_its_error(tmp_path: Path) -> None:
    config = RunConfig.for_source("shapes", group="C8", interpolation="bilinear", **GIVEN_WEIGHT)
    metrics = run(config, tmp_path / "out")
    assert not metrics["action"]["exact"]
    assert 0 < metrics["action"]["error"] < 1
    assert len(metrics["group"]["elements"]) == 8


def test_places_of_a_feature_map_are_samples(tmp_path: Path) -> None:
    config = RunConfig.for_source(
        "shapes", model="cnn", layer="encoder.2", positions="all", **GIVEN_WEIGHT
    )
    metrics = run(config, tmp_path / "out")
    assert metrics["model"]["positions"] == 16
    assert metrics["model"]["dim"] == 32


def interrupt_after(monkeypatch: pytest.MonkeyPatch, function: str, calls: int) -> None:
    """Let a stage be interrupted as by Ctrl-C, the given number of calls later."""
    original: Callable[..., Any] = getattr(stages, function)
    made = 0

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        nonlocal made
        made += 1
        if made > calls:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(stages, function, interrupted)


TO_INTERRUPT = TINY | {"probe_every": 90}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    run(RunConfig.for_source("shapes", **TO_INTERRUPT), out)
    return out


@pytest.mark.parametrize(
    ("function", "calls"),
    [
        *(("train_autoencoder", 0), ("harvest", 0), ("fit_transport", 0), ("fit_exact", 0)),
        *(("fit", 0), ("_write_fit", 1), ("_write_fit", 4)),
    ],
)
def test_an_interrupted_run_resumes_bit_for_bit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uninterrupted: Path,
    function: str,
    calls: int,
) -> None:
    config = RunConfig.for_source("shapes", **TO_INTERRUPT)
    with monkeypatch.context() as patch:
        interrupt_after(patch, function, calls)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "out")
    assert not (tmp_path / "out" / "metrics.json").exists()
    run(config, tmp_path / "out", resume=True)
    whole, resumed = (
        files.read_json(out / "metrics.json") for out in (uninterrupted, tmp_path / "out")
    )
    for metrics in (whole, resumed):
        del metrics["seconds"]
    assert resumed == whole
    for name in SAES:
        folder = Path("saes") / name / "sae" / "sae_weights.safetensors"
        assert (tmp_path / "out" / folder).read_bytes() == (uninterrupted / folder).read_bytes()


def test_what_a_killed_process_left_behind_is_removed(tmp_path: Path) -> None:
    (tmp_path / "out" / "saes" / ".vanilla.partial-abc").mkdir(parents=True)
    (tmp_path / "out" / ".model.safetensors.partial").write_text("half")
    files.write_json({}, tmp_path / "out" / "config.json")
    with RunFolder(tmp_path / "out", {}, resume=True).writing():
        pass
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {"config.json", "saes"}


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    config = RunConfig.for_source("shapes", **TINY)
    first = run(config, tmp_path / "out")
    again = run(config, tmp_path / "out", resume=True)
    assert again["saes"] == first["saes"]
    assert all(again["seconds"][name] >= spent for name, spent in first["seconds"].items())


def test_quick_touches_settings_that_exist_and_are_smaller() -> None:
    default = RunConfig.for_source("shapes")
    for name, value in QUICK.items():
        if name == "probe_every":
            assert value > getattr(default, name)
        else:
            assert value < getattr(default, name)


def test_every_setting_has_a_meaning() -> None:
    from dataclasses import fields

    assert all(len(entry.metadata["help"]) > 10 for entry in fields(RunConfig))


def test_a_folder_keeps_what_stood_in_it(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    folder = RunFolder(tmp_path / "empty", {}, resume=False)
    with pytest.raises(OrbitLensError), folder.writing():
        raise OrbitLensError("x", expected="a", received="b", remedy="c")
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_late_error_keeps_the_stages_that_are_done(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out", {}, resume=False)

    def fails_late() -> None:
        with folder.writing():
            (folder / "model.safetensors").write_text("hours of work")
            raise OrbitLensError("x", expected="a", received="b", remedy="c")

    with pytest.raises(OrbitLensError):
        fails_late()
    assert (tmp_path / "out" / "model.safetensors").exists()
    RunFolder(tmp_path / "out", {}, resume=True)


def test_held_out_shapes_are_no_training_images_of_the_autoencoder(tmp_path: Path) -> None:
    settings = TINY | {"n_samples": 4096, "model_samples": 6000}
    job = prepare(RunConfig.for_source("shapes", **settings))
    images = stages._training_images(job)
    held_out = job.source.inputs.values[split_samples(4096)[1]]
    assert len(images) == 6000
    trained = {image.numpy().tobytes() for image in images}
    assert not any(image.numpy().tobytes() in trained for image in held_out)


def test_a_second_run_of_a_folder_is_refused_while_one_writes(tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "out", {}, resume=False)
    with first.writing():
        second = RunFolder(tmp_path / "out", {}, resume=True)
        with pytest.raises(OrbitLensError, match="one run at a time.*wait"), second.writing():
            pytest.fail("two at once")
        assert (tmp_path / "out" / "config.json").exists()
    with RunFolder(tmp_path / "out", {}, resume=True).writing():
        pass


def test_a_diverged_sae_is_told_when_it_is_trained(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "acts.zarr")
    store_from_array(torch.randn(60, 4, 6), group=cyclic(4), out=store)
    settings = ("--d-sae", "8", "--k", "2", "--epochs", "3", "--objective", "vanilla")
    with pytest.raises(SystemExit) as ended:
        main(["train", store, *settings, "--lr", "1e30", "--out", str(tmp_path / "sae")])
    assert ended.value.code == 0
    assert "vanilla: diverged" in capfd.readouterr().out


def test_a_diverged_sae_is_reported_and_not_probed(tmp_path: Path) -> None:
    config = RunConfig.for_source("digits", **TINY | {"image_size": 8, "lr": 1e30})
    metrics = run(config, tmp_path / "out")
    assert metrics["saes"]["vanilla"]["status"] == "diverged"
    assert metrics["saes"]["vanilla"]["probe"] is None
    assert "diverged" in (tmp_path / "out" / "report" / "index.html").read_text()


def test_one_training_sample_for_probes_gives_no_probes(tmp_path: Path) -> None:
    config = RunConfig.for_source("digits", **GIVEN_WEIGHT | {"image_size": 8, "probe_samples": 1})
    metrics = run(config, tmp_path / "out")
    assert metrics["saes"]["vanilla"]["probe"] is None
    assert metrics["notes"]


def test_console_shows_stages_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=False)
    with console.stage("harvest") as tick:
        tick(1, 2)
        tick(2, 2)
    out, err = capfd.readouterr()
    assert out == ""
    assert "harvest" in err
    assert console.seconds["harvest"] >= 0


def words(settings: dict[str, Any]) -> list[str]:
    return [
        w for name, value in settings.items() for w in ("--" + name.replace("_", "-"), str(value))
    ]


def test_the_command_line_prints_the_page_or_the_record(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["run", "shapes", *words(TINY)])
    assert ended.value.code == 0
    assert capfd.readouterr().out.splitlines()[-1] == "page: runs/shapes/report/index.html"
    with pytest.raises(SystemExit) as ended:
        main(["run", "shapes", *words(TINY), "--resume", "--json"])
    out, err = capfd.readouterr()
    assert json.loads(out)["group"]["name"] == "C4"
    assert err == ""
    with pytest.raises(SystemExit):
        main(["report", "runs/shapes", "--json"])
    assert json.loads(capfd.readouterr().out)["page"] == "runs/shapes/report/index.html"


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(monkeypatch, "fit", 0)
    with pytest.raises(SystemExit) as ended:
        main(["run", "shapes", *words(TINY), "--out", f"{tmp_path}/out", "--json"])
    assert ended.value.code == 130
    assert "--resume" in capfd.readouterr().err


def test_the_single_verbs_chain(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def call(*line: str) -> dict[str, Any]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*line, "--json"])
        out, err = capfd.readouterr()
        assert ended.value.code == 0, err
        result: dict[str, Any] = json.loads(out)
        return result

    names = ("n_samples", "image_size", "model_samples", "model_epochs")
    data = words({name: TINY[name] for name in names})
    h, t, s, p = (f"{tmp_path}/{name}" for name in "htsp")
    assert call("harvest", "shapes", *data, "--out", h)["n"] == 40
    assert call("transport", h, "--out", t, "--transport", "gradient")["method"] == "gradient"
    trained = call("train", h, "--d-sae", "16", "--k", "4", "--epochs", "2", "--out", s)
    assert trained["transported_mse"] > 0
    options = ("--probe-every", "60", "--probe-samples", "24", "--probe-latents", "1,4")
    scores = call("probe", h, "--sae", s, "--rho", t, *options, "--out", p)
    assert {row["latents"] for row in scores["rows"]} == {1, 4}
    assert (Path(p) / "config.json").is_file()
    assert (Path(p) / "metrics.json").is_file()


def test_help_names_every_verb(capfd: pytest.CaptureFixture[str]) -> None:
    from orbitlens.cli.commands import VERBS

    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capfd.readouterr().out
    assert all(name in out for name in VERBS)


def test_measure_by_hand() -> None:
    """An SAE that gives back nothing, on orbits of two samples of power one."""
    from orbitlens.activations import store_from_array
    from orbitlens.groups import cyclic
    from orbitlens.sae import topk_sae
    from orbitlens.transport import fit_transport

    orbits = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, -1.0]]]).repeat(5, 1, 1)
    rho = fit_transport(store_from_array(orbits, group=cyclic(2)))
    sae = topk_sae(2, 4, 1)
    with torch.no_grad():
        sae.encoder.b_enc.fill_(-10.0)
    figures = measure_sae(sae, orbits, rho, transported=True)
    assert figures["mse"] == pytest.approx(0.5)
    assert figures["normalised_mse"] == pytest.approx(1.0)
    assert figures["transported_mse"] == pytest.approx(0.5)
    assert figures["l0"] == 0
    assert figures["dead_latents"] == 4
    assert figures["parameters"] == 2 * 4 + 4 + 4 * 2 + 2
