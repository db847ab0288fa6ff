"""The worked examples in docs/: their data are read, and their networks are exactly equivariant."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

import orbitlens as ol
from orbitlens.pipeline import RunConfig, load_source, measure_sae
from orbitlens.pipeline._actions import action_of

from .house import ROOT

EXAMPLES = {"dna": ("reverse_complement", "3"), "points": ("points", "out")}
EXAMPLES |= {"volumes": ("volumes", "0")}


def example(name: str) -> ModuleType:
    path = ROOT / "docs" / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_exactly_equivariant(name: str, tmp_path: Path) -> None:
    action, layer = EXAMPLES[name]
    module, path = example(name), tmp_path / f"{name}.npz"
    module.write(path, n=60)
    config = RunConfig.for_source(str(path), action=action, model=f"python:{name}.py:network")
    inputs = load_source(config).inputs
    assert inputs.labels is not None
    assert set(inputs.labels) == {0, 1, 2, 3}
    store = ol.harvest(
        module.network(),
        layer=layer,
        inputs=inputs.values,
        action=action_of(config, config.group),
        positions="all",
        layout="n l c" if name == "points" else None,
    )
    rho = ol.fit_transport(store, "spatial")
    assert rho.r2 >= 0.9999
    assert rho.identity_r2 < 0
    torch.manual_seed(0)
    sae = ol.OrbitSAE(d_in=store.dim, n_atoms=3, k=2, transport=rho)
    trained = ol.fit(sae, store, epochs=1).sae
    figures = measure_sae(trained, store.orbits(store.split()[1]), rho, transported=False)
    # Two codes of nearly the same size may change places by rounding, in one orbit of few.
    assert figures["moved_codes"] > 0.99
    assert figures["equivariance_error"] < 0.01
