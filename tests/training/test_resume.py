"""A training that was stopped goes on as if it had not been."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from safetensors.torch import load_file, save_file

from orbitlens import objectives
from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.data import toy
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.sae import SAE, batch_topk_sae, orbit_sae, topk_sae
from orbitlens.training import FitResult, fit
from orbitlens.training import _steps as steps
from orbitlens.transport import fit_transport

DATA = toy(n_features=8, orbit_size=4, n_samples=300, seed=0)
STORE = store_from_array(DATA.orbits, group=DATA.group)
RHO = fit_transport(STORE, "exact")
SMALL = 0.06  # GiB: less than the large store has, enough to read a part of it


class KilledError(Exception):
    """Stands for SIGKILL: nothing is written any more."""


def topk(seed: int = 0) -> SAE:
    return topk_sae(16, 16, 3, hidden=32, seed=seed)


def batch_topk(seed: int = 0) -> SAE:
    return batch_topk_sae(16, 16, 3, seed=seed)


def orbit(seed: int = 0) -> SAE:
    return orbit_sae(16, 8, 3, RHO, seed=seed)


def tensors(result: FitResult) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in result.sae.state_dict().items()}


def assert_same(one: FitResult, other: FitResult) -> None:
    theirs = tensors(other)
    for name, value in tensors(one).items():
        assert torch.equal(value, theirs[name]), name
    assert one.history == other.history
    assert one.status == other.status


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make training die after so many steps, counted over everything."""

    def after(count: int) -> None:
        step, left = steps.StackTraining.step, [count]

        def counted(self: steps.StackTraining, number: int, revival_weight: float) -> None:
            if left[0] == 0:
                monkeypatch.setattr(steps.StackTraining, "step", step)
                raise KilledError
            left[0] -= 1
            step(self, number, revival_weight)

        monkeypatch.setattr(steps.StackTraining, "step", counted)

    return after


@pytest.mark.parametrize("build", [topk, batch_topk, orbit])
@pytest.mark.parametrize("steps_done", [1, 4, 9, 14])
def test_resumed_anywhere_the_result_is_the_same_to_the_bit(
    build: Callable[[], SAE],
    steps_done: int,
    tmp_path: Path,
    stopping: Callable[[int], None],
) -> None:
    train = partial(fit, store=STORE, epochs=3, batch_size=50, lr=3e-3)
    whole = train(build())
    resumable = partial(train, checkpoint=tmp_path / "a.safetensors", checkpoint_seconds=1e-9)
    stopping(steps_done)
    with pytest.raises(KilledError):
        resumable(build())
    # The weights that it is built with do not matter any more.
    assert_same(resumable(build()), whole)


def test_streamed_from_disk_as_well(
    large: ActivationStore, tmp_path: Path, stopping: Callable[[int], None]
) -> None:
    rho = fit_transport(large, "exact")
    train = partial(
        fit,
        store=large,
        objective=[objectives.canonical, objectives.orbit_invariance],
        epochs=2,
        batch_size=5000,
        memory_gib=SMALL,
        seed=[0, 1],
    )

    def built() -> list[SAE]:
        return [topk_sae(64, 16, 3), orbit_sae(64, 8, 3, rho)]

    whole = train(built())
    resumable = partial(train, checkpoint=tmp_path / "a.safetensors", checkpoint_seconds=1e-9)
    # Two steps are a batch, one for each SAE. It dies in the first, and then in one of each epoch.
    for more in (1, 21, 25):
        stopping(more)
        with pytest.raises(KilledError):
            resumable(built())
    for one, other in zip(resumable(built()), whole, strict=True):
        assert_same(one, other)


def test_several_saes_resume_together(tmp_path: Path, stopping: Callable[[int], None]) -> None:
    def built() -> list[SAE]:
        return [topk(0), topk(1), batch_topk(2), orbit(3)]

    train = partial(
        fit,
        store=STORE,
        objective=[objectives.canonical, objectives.reconstruction] * 2,
        epochs=2,
        batch_size=50,
        seed=range(4),
    )
    whole = train(built())
    resumable = partial(train, checkpoint=tmp_path / "a", checkpoint_seconds=1e-9)
    stopping(10)
    with pytest.raises(KilledError):
        resumable(built())
    for one, other in zip(resumable(built()), whole, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_training_after_the_step_and_its_checkpoint(
    stop: signal.Signals, tmp_path: Path
) -> None:
    def tell(epoch: int, epochs: int, loss: float) -> None:
        del epochs, loss
        if epoch == 2:
            os.kill(os.getpid(), stop)

    file = tmp_path / "new" / "a.safetensors"
    before = signal.getsignal(stop)
    with pytest.raises(KeyboardInterrupt if stop == signal.SIGINT else SystemExit) as ended:
        fit(topk(), STORE, epochs=4, checkpoint=file, progress=tell)
    assert getattr(ended.value, "code", 143) == 143
    assert signal.getsignal(stop) == before
    resumed = fit(topk(), STORE, epochs=4, checkpoint=file)
    assert_same(resumed, fit(topk(), STORE, epochs=4))


def test_a_training_that_had_ended_is_given_back_at_once(
    tmp_path: Path, stopping: Callable[[int], None]
) -> None:
    first = fit(topk(), STORE, epochs=2, checkpoint=tmp_path / "a")
    stopping(0)
    assert_same(fit(topk(), STORE, epochs=2, checkpoint=tmp_path / "a"), first)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("epochs", {"epochs": 3}),
        ("lr", {"lr": 1e-4}),
        ("batch_size", {"batch_size": 100}),
        ("seed", {"seed": 1}),
        ("objective", {"objective": objectives.canonical}),
    ],
)
def test_a_resume_with_other_settings_says_which(
    name: str, changed: dict[str, object], tmp_path: Path
) -> None:
    settings = {"epochs": 2, "batch_size": 60, "checkpoint": tmp_path / "a"}
    fit(topk(), STORE, **settings)
    with pytest.raises(OrbitLensError, match=f"other settings: expected {name} ") as error:
        fit(topk(), STORE, **{**settings, **changed})
    assert "\n" not in str(error.value)


def test_a_resume_of_another_sae_or_store_says_so(tmp_path: Path) -> None:
    fit(topk(), STORE, epochs=1, checkpoint=tmp_path / "a")
    with pytest.raises(OrbitLensError, match="d_sae 16.*received.*d_sae 8"):
        fit(topk_sae(16, 8, 3), STORE, epochs=1, checkpoint=tmp_path / "a")
    other = store_from_array(DATA.orbits + 1, group=DATA.group)
    with pytest.raises(OrbitLensError, match="other settings: expected store"):
        fit(topk(), other, epochs=1, checkpoint=tmp_path / "a")


@pytest.mark.parametrize("damage", ["cut", "foreign", "text"])
def test_a_damaged_checkpoint_is_one_line(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "a"
    fit(topk(), STORE, epochs=1, checkpoint=file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "foreign":
        save_file({"a": torch.zeros(1)}, file)
    else:
        file.write_text("text")
    with pytest.raises(OrbitLensError, match="expected a checkpoint of `fit`") as error:
        fit(topk(), STORE, epochs=1, checkpoint=file)
    assert "\n" not in str(error.value)


def test_a_flipped_bit_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    file = tmp_path / "a"
    fit(topk(), STORE, epochs=1, checkpoint=file)
    whole = bytearray(file.read_bytes())
    numbers = 8 + int.from_bytes(whole[:8], "little")
    for place in (numbers, (numbers + len(whole)) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        file.write_bytes(damaged)
        with pytest.raises(OrbitLensError, match="expected the numbers .* it is damaged"):
            fit(topk(), STORE, epochs=1, checkpoint=file)


@pytest.mark.parametrize(
    ("written", "changed"),
    [(rb"\"epoch\": 1", rb"\"epoch\": 0"), (rb"\"batch\": 0", rb"\"batch\": 1")],
)
def test_a_place_that_was_changed_is_found(tmp_path: Path, written: bytes, changed: bytes) -> None:
    """The numbers are whole, but would go on from another step."""
    file = tmp_path / "a"
    fit(topk(), STORE, epochs=1, checkpoint=file)
    whole = file.read_bytes()
    assert whole.count(written) == 1
    file.write_bytes(whole.replace(written, changed))
    with pytest.raises(OrbitLensError, match="the record that were written.* it is damaged"):
        fit(topk(), STORE, epochs=1, checkpoint=file)


def test_a_checkpoint_is_safetensors_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    fit(topk(), STORE, epochs=1, checkpoint=tmp_path / "a", checkpoint_seconds=1e-9)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    names = set(load_file(tmp_path / "a"))
    assert {"0.sae.dictionary.W_dec", "0.adam.0.exp_avg", "0.silent", "0.generator.0"} <= names


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OrbitLensError, match="expected a place that can be written"):
        fit(topk(), STORE, epochs=1, checkpoint=tmp_path / "file" / "a")


def test_a_checkpoint_at_a_url_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = "`checkpoint`: expected a local file, received memory://c.safetensors; give a path"
    with pytest.raises(OrbitLensError, match=line):
        fit(topk(), STORE, epochs=1, checkpoint="memory://c.safetensors")
    assert list(tmp_path.iterdir()) == []
    fit(topk(), STORE, epochs=1, checkpoint=f"file://{tmp_path}/c.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_a_resume_of_an_sae_that_was_built_otherwise_is_warned_of(tmp_path: Path) -> None:
    """One file for SAEs of several seeds gives the first one each time."""
    first = fit(topk(0), STORE, epochs=1, checkpoint=tmp_path / "a")
    for _ in range(2):
        with pytest.warns(OrbitLensWarning, match="began with other weights"):
            assert_same(fit(topk(5), STORE, epochs=1, checkpoint=tmp_path / "a"), first)
    assert_same(fit(topk(0), STORE, epochs=1, checkpoint=tmp_path / "a"), first)


@pytest.mark.parametrize("checkpoint", [".", "", "/", "folder"])
def test_a_folder_is_no_checkpoint(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OrbitLensError, match="`checkpoint`: .*; give the name of a file in it"):
        fit(topk(), STORE, epochs=1, checkpoint=checkpoint)


@pytest.fixture
def as_users_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checks of shapes and types that the tests switch on."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("checkpoint", [5, b"a", "a\0b", "a" * 300])
def test_what_can_be_no_file_is_one_line(checkpoint: Any) -> None:
    sae = topk()
    before = sae.W_dec.clone()
    with pytest.raises(OrbitLensError, match="`checkpoint`: expected the path|name too long"):
        fit(sae, STORE, epochs=1, checkpoint=checkpoint)
    assert torch.equal(sae.W_dec, before)


def test_a_checkpoint_stays_in_its_folder_where_the_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)

    def go(epoch: int, epochs: int, loss: float) -> None:
        del epoch, epochs, loss
        monkeypatch.chdir(there)

    fit(topk(), STORE, epochs=2, checkpoint="a", checkpoint_seconds=1e-9, progress=go)
    assert [path.name for path in here.iterdir()] == ["a"]
    assert list(there.iterdir()) == []
