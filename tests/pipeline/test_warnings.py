"""Warnings of a run: heard, printed once, kept over an interruption, and shown."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from orbitlens import errors
from orbitlens.activations import store_from_array
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.files import read_json
from orbitlens.groups import cyclic
from orbitlens.pipeline import Console, RunConfig, RunFolder, run, stages, verbs
from orbitlens.pipeline._hearing import hears_warnings
from orbitlens.pipeline.measure import variation

TINY: dict[str, Any] = {
    "n_samples": 40,
    "image_size": 16,
    "model_epochs": 1,
    "d_sae": 8,
    "k": 2,
    "hidden": 0,
    "epochs": 2,
    "probe_samples": 24,
    "probe_every": 90,
    "features": 1,
    "model_samples": 64,
}


def warn(words: str) -> None:
    errors.warn("layer 3", found=words, remedy="look at it")


def test_a_console_hears_its_own_kind_of_warning_once_and_leaves_others_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    console = Console(quiet=False)
    filters = list(warnings.filters)

    @hears_warnings
    def work(*, console: Console) -> int:
        for words in ("it is odd", "it is odd", "it is even"):
            warn(words)
        warnings.warn("of another library", stacklevel=1)
        return len(console.warnings)

    with pytest.warns(UserWarning, match="of another library") as others:
        assert work(console=console) == 2
    assert warnings.filters == filters
    assert [each.category for each in others] == [UserWarning]
    assert console.warnings == [
        "layer 3: it is odd; look at it",
        "layer 3: it is even; look at it",
    ]
    assert capfd.readouterr().err.splitlines() == [f"warning: {each}" for each in console.warnings]
    with pytest.raises(OrbitLensWarning):
        warn("it is odd")


def test_filters_are_put_back_after_an_error() -> None:
    filters, show = list(warnings.filters), warnings.showwarning
    with pytest.raises(KeyboardInterrupt), Console(quiet=True).hearing():
        raise KeyboardInterrupt
    assert (warnings.filters, warnings.showwarning) == (filters, show)


def test_warnings_of_a_stage_that_is_done_are_kept_when_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harvest, fit = stages.harvest, stages.fit

    def warning_harvest(*args: Any, **kwargs: Any) -> Any:
        warn("inputs come twice")
        return harvest(*args, **kwargs)

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    config, out = RunConfig.for_source("shapes", **TINY), tmp_path / "out"
    monkeypatch.setattr(stages, "harvest", warning_harvest)
    monkeypatch.setattr(stages, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(config, out)
    monkeypatch.setattr(stages, "fit", fit)
    metrics = run(config, out, resume=True)
    again = run(config, out, resume=True)
    heard = "layer 3: inputs come twice; look at it"
    assert metrics["warnings"][0] == heard
    assert len(set(metrics["warnings"])) == len(metrics["warnings"])
    assert again["warnings"] == metrics["warnings"] == read_json(out / "metrics.json")["warnings"]
    assert any(each.startswith("held-out orbits: there are 8") for each in metrics["warnings"])
    log, page = (out / "log.txt").read_text(), (out / "report" / "index.html").read_text()
    for message in metrics["warnings"]:
        assert log.count(f" warning: {message}\n") == 1
    assert page.count("inputs come twice") == page.count("held-out orbits: there are 8") == 1


def test_a_run_that_was_refused_leaves_no_warnings_behind(tmp_path: Path) -> None:
    console, folder = Console(quiet=True), RunFolder(tmp_path / "out", {}, resume=False)

    def refused() -> None:
        with console.hearing(), folder.writing():
            console.keep_warnings_in(folder)
            warn("it is odd")
            assert (tmp_path / "out" / "warnings.json").exists()
            raise OrbitLensError("x", expected="a", received="b", remedy="c")

    with pytest.raises(OrbitLensError):
        refused()
    assert not (tmp_path / "out").exists()


def test_single_verbs_keep_warnings_in_their_records(tmp_path: Path) -> None:
    store = str(tmp_path / "acts.zarr")
    store_from_array(torch.randn(60, 4, 6), group=cyclic(4), out=store)
    console = Console(quiet=True)
    config = RunConfig(d_sae=8, k=2, hidden=0, epochs=2)
    record = verbs.train(
        config, store, "vanilla", None, tmp_path / "sae", resume=False, console=console
    )
    assert record["warnings"][0].startswith("held-out orbits: there are 12")
    assert {"loss_still_falls", "loss_blew_up", "alike_atoms"} <= set(record)
    written = json.loads((tmp_path / "sae" / "metrics.json").read_text())
    assert written["warnings"] == record["warnings"]
    record = verbs.transport(
        RunConfig(), store, tmp_path / "rho", resume=False, console=Console(quiet=True)
    )
    assert any("explains nothing" in each for each in record["warnings"])


def test_a_constant_layer_does_not_vary() -> None:
    rows = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))
    assert variation(torch.zeros(5, 2, 3)) == 0
    assert variation(torch.ones(5, 2, 3) * torch.tensor([1.0, 2.0, 3.0])) < 1e-20
    assert 0 < variation(1e4 + rows) < 1e-6
    assert variation(torch.cat([rows, -rows])) == pytest.approx(1.0)
