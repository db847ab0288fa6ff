"""A run that goes on: SAEs, probes and features are added, and nothing is trained again."""

import json
from pathlib import Path
from typing import Any

import pytest

from orbitlens.cli.commands import main
from orbitlens.errors import OrbitLensError
from orbitlens.pipeline import NAMES, RunConfig, run, stages, verbs
from orbitlens.pipeline.console import Console
from orbitlens.sae import SAE
from orbitlens.training import FitResult

TINY: dict[str, Any] = {
    "n_samples": 40,
    "image_size": 16,
    "model_epochs": 1,
    "d_sae": 16,
    "k": 4,
    "hidden": 16,
    "epochs": 3,
    "probe_samples": 24,
    "probe_latents": (2,),
    "features": 2,
}


def go(out: Path, *, resume: bool = False, **settings: Any) -> dict[str, Any]:
    config = RunConfig.for_source("digits", **{**TINY, **settings})
    return run(config, out, resume=resume)


def weights(out: Path) -> dict[str, bytes]:
    return {
        path.parent.parent.name: path.read_bytes()
        for path in out.glob("saes/*/sae/sae_weights.safetensors")
    }


def latents(metrics: dict[str, Any], name: str) -> set[int]:
    return {row["latents"] for row in metrics["saes"][name]["probe"]["rows"]}


def test_saes_probes_and_features_are_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = go(out, saes=("vanilla",))
    assert set(first["saes"]) == set(weights(out)) == {"vanilla"}
    assert latents(first, "vanilla") == {2}
    kept = weights(out)
    trained: list[str] = []
    fit = stages.fit
    monkeypatch.setattr(
        stages, "fit", lambda *args, **given: trained.append("one") or fit(*args, **given)
    )

    second = go(out, resume=True, saes=("orbit",), orbit_weight=None)
    assert len(trained) == 1
    assert set(second["saes"]) == {"vanilla", "orbit"}
    assert weights(out)["vanilla"] == kept["vanilla"]
    assert second["saes"]["vanilla"] == first["saes"]["vanilla"]
    chosen = json.loads((out / "orbit_weight.json").read_text())
    assert chosen["chosen"] in chosen["weights"]

    third = go(out, resume=True, saes=("vanilla",), probe_latents=(2, 4), features=3)
    assert len(trained) == 1
    assert {name: latents(third, name) for name in third["saes"]} == {
        "vanilla": {2, 4},
        "orbit": {2, 4},
    }
    page = (out / "report" / "index.html").read_text()
    assert json.loads((out / "config.json").read_text())["features"] == 3

    assert go(out, resume=True, saes=("vanilla",), probe_latents=(2, 4), features=3) == third
    assert (out / "report" / "index.html").read_text() == page


def test_other_settings_are_refused_as_before(tmp_path: Path) -> None:
    go(tmp_path / "out", saes=("vanilla",))
    with pytest.raises(OrbitLensError, match="`k`: expected 4 as when the run began, received 3"):
        go(tmp_path / "out", resume=True, saes=("vanilla",), k=3)


def test_a_given_weight_is_not_chosen(tmp_path: Path) -> None:
    go(tmp_path / "out", saes=("orbit",), orbit_weight=1.0)
    assert not (tmp_path / "out" / "orbit_weight.json").exists()
    notes = json.loads((tmp_path / "out" / "saes" / "orbit" / "sae" / "cfg.json").read_text())
    assert notes["metadata"]["training"]["orbit_weight"] == 1.0


def test_the_page_is_drawn_with_more_features_of_one_sae(tmp_path: Path) -> None:
    out = tmp_path / "out"
    go(out, saes=("vanilla", "orbit"))
    page = out / "report" / "index.html"
    before = page.read_text()
    verbs.report(out, features=4, saes=("orbit",), console=Console(quiet=True))
    after = page.read_text()
    assert after.count("Atom ") > before.count("Atom ")
    assert "Latent " in before
    assert "Latent " not in after
    with pytest.raises(OrbitLensError, match="one of vanilla, orbit, received 'wide'"):
        verbs.report(out, saes=("wide",), console=Console(quiet=True))


def test_the_command_line_keeps_what_was_added(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    settings = {**TINY, "probe_latents": 2}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    words += ["--out", str(out), "--json"]

    def call(*more: str) -> dict[str, Any]:
        with pytest.raises(SystemExit) as ended:
            main(["run", "builtin:digits", *words, *more])
        assert ended.value.code == 0, capfd.readouterr().err
        record: dict[str, Any] = json.loads(capfd.readouterr().out)
        return record

    assert set(call("--saes", "equivariant_canonical")["saes"]) == {"equivariant_canonical"}
    assert set(call("--resume")["saes"]) == {"equivariant_canonical"}
    assert set(call("--resume", "--saes", "vanilla")["saes"]) == {NAMES[0], NAMES[1]}


def test_all_saes_share_one_training_and_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    fit = stages.fit

    def counted(saes: list[SAE], *args: Any, **settings: Any) -> list[FitResult]:
        together.append(len(saes))
        return fit(saes, *args, **settings)

    monkeypatch.setattr(stages, "fit", counted)
    go(tmp_path / "out", orbit_weight=1.0)
    assert together == [len(NAMES)]
    assert not list((tmp_path / "out").glob(".saes*"))


def test_a_training_that_was_killed_while_it_was_written_goes_on_with_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = go(tmp_path / "whole", orbit_weight=1.0)
    write = stages._write_fit
    with monkeypatch.context() as killed:

        def once(result: FitResult, path: Path, notes: dict[str, Any]) -> None:
            if list(path.parent.glob("*")):
                raise KeyboardInterrupt
            write(result, path, notes)

        killed.setattr(stages, "_write_fit", once)
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "out", orbit_weight=1.0)
    assert [path.name for path in (tmp_path / "out" / "saes").iterdir()] == ["vanilla"]
    # Other SAEs may be asked for meanwhile: those that were begun are finished with them.
    found = go(tmp_path / "out", resume=True, orbit_weight=1.0, saes=("orbit",))
    assert set(found["saes"]) == set(NAMES)
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    assert found["saes"]["orbit"] == whole["saes"]["orbit"]
