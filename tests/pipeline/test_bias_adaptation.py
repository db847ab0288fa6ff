"""Bias adaptation from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from orbitlens import io
from orbitlens.activations import store_from_array
from orbitlens.cli.commands import main
from orbitlens.data import toy
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.pipeline import RunConfig, check_pairs
from orbitlens.sae import SAE, BiasAdaptation

SETTINGS = "--sparsity bias-adaptation --bias-groups 2 --htf 0.4 --ltf 0.1 --d-sae 24"


@pytest.mark.parametrize("objective", ["equivariant_latent", "orbit"])
def test_train_runs_it(objective: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = toy(n_features=8, orbit_size=4, n_samples=200, seed=0)
    store_from_array(drawn.orbits, group=drawn.group, out=tmp_path / "acts.zarr")
    words = f"train {tmp_path / 'acts.zarr'} --objective {objective} {SETTINGS} --n-atoms 8"
    more = f"--orbit-weight 0 --epochs 20 --batch-size 40 --out {tmp_path / 'out'} --json"
    with pytest.raises(SystemExit, match="^0$"):
        main([*words.split(), *more.split()])
    record = json.loads(capsys.readouterr().out)
    sae = io.load(tmp_path / "out" / objective / "sae")
    assert isinstance(sae, SAE)
    assert isinstance(sae.sparsity, BiasAdaptation)
    assert (sae.sparsity.htf, sae.sparsity.groups) == (0.4, 2)
    assert sae.sparsity.biases.any()
    assert record["status"] == "completed"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"htf": 0.005}, "`htf`: expected above `ltf`"),
        ({"htf": 1.5}, "`htf`: expected a frequency between 0 and 1, received 1.5"),
        ({"bias_groups": 5}, "`bias_groups`: expected a number that divides d_sae = 128"),
        ({"n_atoms": 30}, "`bias_groups`: expected a number that divides n_atoms = 30"),
        ({"bias_groups": 0}, "`bias_groups`: expected 1 to"),
    ],
    ids=str,
)
def test_targets_are_checked_before_anything_runs(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        RunConfig(sparsity="bias-adaptation", **settings)


@pytest.mark.parametrize("name", ["bias_groups", "htf", "ltf"])
def test_targets_without_the_rule_are_refused(name: str) -> None:
    value = 5 if name == "bias_groups" else 0.15
    with pytest.raises(OrbitLensError, match=f"`{name}`: expected none with .* topk.*leave it out"):
        RunConfig(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("k", 5), ("hidden", 32)])
def test_settings_that_the_rule_has_no_use_for_are_refused(name: str, value: int) -> None:
    with pytest.raises(OrbitLensError, match=f"`{name}`: expected none with .* bias-adaptation"):
        RunConfig(sparsity="bias-adaptation", **{name: value})
    assert RunConfig(sparsity="bias-adaptation", hidden=0).hidden == 0


def test_without_a_k_any_number_of_pairs_will_do() -> None:
    check_pairs(RunConfig(sparsity="bias-adaptation", k=8, n_atoms=4), cyclic(1))
