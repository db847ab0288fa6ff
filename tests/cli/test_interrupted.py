"""Ctrl-C and SIGTERM: exit codes 130 and 143, and a line that says how to go on, which is true."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orbitlens.activations import store_from_array
from orbitlens.activations.importers._cache import Cache
from orbitlens.cli.commands import main
from orbitlens.groups import cyclic
from orbitlens.pipeline import _job, stages, verbs
from orbitlens.plan import _measure as measure

CODES = {"interrupted": 130, "terminated": 143}
RESUME = "orbitlens: {}; continue with --resume"
AGAIN = "orbitlens: {}; nothing was kept, give the same command again"
TINY = ["shapes", "--n-samples", "40", "--image-size", "16", "--model-samples", "16"]
TINY += ["--model-epochs", "1"]
SMALL = ["--objective", "vanilla", "--epochs", "2", "--d-sae", "16", "--k", "4", "--hidden", "8"]


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


def stop(how: str) -> None:
    if how == "interrupted":
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGTERM)


def stopped(how: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, and Ctrl-C or SIGTERM as it ends."""

    def until_then(*given: Any, **more: Any) -> None:
        function(*given, **more)
        stop(how)

    return until_then


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with activations to train on and activations to import."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).standard_normal((80, 4, 6)).astype(np.float32)
    store_from_array(values, group=cyclic(4), out="acts.zarr", labels=np.arange(80) % 2)
    np.save("acts.npy", values)
    return tmp_path


@pytest.mark.parametrize("how", CODES)
@pytest.mark.parametrize(
    ("words", "module", "name"),
    [
        (["harvest", *TINY], stages, "harvest"),
        (["harvest", *TINY], stages, "train_autoencoder"),
        (["transport", "acts.zarr"], stages, "fit_transport"),
        (["train", "acts.zarr", *SMALL], stages, "fit"),
        (["train", "acts.zarr", *SMALL], verbs, "fit_transport"),
    ],
)
def test_what_is_begun_goes_on_with_resume(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    module: Any,
    name: str,
    how: str,
) -> None:
    words = [*words, "--out", "out", "--json"]
    with monkeypatch.context() as patch:
        patch.setattr(module, name, stopped(how, getattr(module, name)))
        assert command(*words) == CODES[how]
    said = capsys.readouterr()
    assert (said.out, said.err.strip()) == ("", RESUME.format(how))
    assert command(*words) == 2
    assert "continue the run with --resume" in capsys.readouterr().err
    assert command(*words, "--resume") == 0


@pytest.mark.parametrize("how", CODES)
@pytest.mark.parametrize(
    ("words", "owner", "name"),
    [
        (["import", "acts.npy", "--group", "C4", "--out", "new.zarr"], Cache, "orbits"),
        (["harvest", *TINY, "--out", "out"], _job, "load_source"),
        (["run", *TINY, "--quick", "--out", "out"], _job, "prepare"),
        (["train", "acts.zarr", *SMALL, "--out", "out"], verbs, "locate_store"),
        (["plan", "--dim", "8", "--out", "out"], measure, "measure_store"),
    ],
)
def test_what_left_nothing_is_begun_again(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    owner: Any,
    name: str,
    how: str,
) -> None:
    before = sorted(here.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, lambda *_, **__: stop(how))
        assert command(*words, "--json") == CODES[how]
    said = capsys.readouterr()
    assert (said.out, said.err.strip()) == ("", AGAIN.format(how))
    assert sorted(here.iterdir()) == before
    if words[0] not in ("plan", "run"):
        assert command(*words, "--json") == 0


@pytest.mark.parametrize("how", CODES)
def test_an_import_stopped_halfway_leaves_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    monkeypatch.setattr("orbitlens.activations.store._on_disk._SHARD_BYTES", 2**10)
    monkeypatch.setattr("orbitlens.activations.store._on_disk._CHUNK_BYTES", 2**8)
    monkeypatch.setattr("orbitlens.activations.importers._cache._BLOCK_BYTES", 2**10)
    words = ["import", "acts.npy", "--group", "C4", "--out", "new.zarr", "--json"]
    orbits = Cache.orbits

    def few(*given: Any, **more: Any) -> Any:
        for number, block in enumerate(orbits(*given, **more)):
            if number == 4:
                assert list(here.glob(".new.zarr.unfinished/activations/c.*"))
                stop(how)
            yield block

    before = sorted(here.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(Cache, "orbits", few)
        assert command(*words) == CODES[how]
    assert capsys.readouterr().err.strip() == AGAIN.format(how)
    assert sorted(here.iterdir()) == before
    assert command(*words) == 0


def test_a_training_that_sigterm_reaches_says_how_to_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, fit = ["train", "acts.zarr", *SMALL, "--out", "out", "--json"], stages.fit

    def told(*given: Any, **more: Any) -> Any:
        return fit(*given, **{**more, "progress": lambda *_: stop("terminated")})

    with monkeypatch.context() as patch:
        patch.setattr(stages, "fit", told)
        assert command(*words) == 143
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", RESUME.format("terminated") + "\n")
    assert (here / "out" / ".vanilla.checkpoint").is_file()
    assert command(*words, "--resume") == 0
