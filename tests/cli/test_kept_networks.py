"""Commands on networks that a recipe has kept: by the name of the recipe, and by their folder."""

import json
from pathlib import Path

import pytest
import torch

from orbitlens.actions import images
from orbitlens.cli.commands import main
from orbitlens.files import write_json
from orbitlens.groups import PlaneGroup
from orbitlens.reproduce import keep_network
from orbitlens.symmetry import GroupAutoencoder

RECIPE, ARM = "group-subsampling", "gae_p4"
ARGUMENTS = {
    "arm": ARM,
    "side": 8,
    "kernels": [3, 3],
    "widths": {"p4": 2},
    "latent": 4,
    "seed": 0,
    "channels": 1,
}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network in the run of a recipe, as the recipe keeps it."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / f"{RECIPE}-smoke"
    run.mkdir(parents=True)
    write_json({"recipe": RECIPE}, run / "settings.json")
    plane = PlaneGroup("p4", 8)
    network = GroupAutoencoder(plane, channels=1, width=2, latent=4, kernels=(3, 3), seed=1)
    return keep_network(
        run,
        ARM,
        network,
        ARGUMENTS,
        inputs=torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        action=images("C4"),
        layer="encoder.0.layer",
        layout="n c h w",
    )


def run_of(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(words)
    return int(end.value.code or 0)


def test_the_layers_of_a_kept_network_are_measured_by_its_name_and_by_its_folder(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path("runs") / f"{RECIPE}-{ARM}"
    layers = ("--layers", "encoder.0.layer", "--lie-inputs", "0", "--json", "--out", str(out))
    assert run_of("transport", f"recipe:{RECIPE}", str(kept), *layers) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["model"]["name"] == f"recipe:{RECIPE}/{ARM}"
    assert record["config"]["model"] == str(kept)
    (row,) = record["layers"]
    assert row["verdict"] == "exactly equivariant"
    assert row["multiplicities"] == [2, 2, 2]
    page = (out / "report" / "index.html").read_text()
    assert "finds 2 copies of the regular representation at encoder.0.layer" in page
    header, line = (out / "layers.csv").read_text().splitlines()
    copies = [n for n in header.split(",") if n.startswith("copies of ")]
    assert copies == ["copies of trivial", "copies of 1d#1", "copies of 2d#1"]
    assert line.endswith("2,2,2")


def test_kept_inputs_are_harvested_and_checked_with_their_network(kept: Path) -> None:
    assert run_of("harvest", f"recipe:{RECIPE}") == 0
    assert (Path("runs") / f"recipe-{RECIPE}-{ARM}-harvest" / "acts.zarr").exists()
    checked = ("check", f"recipe:{RECIPE}", f"recipe:{RECIPE}", "--layer", "to_invariant")
    assert run_of(*checked) == 0
    assert (Path("runs") / f"check-recipe-{RECIPE}-{ARM}").is_dir()


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("recipe:", "expected one of"),
        ("recipe:no-such", "expected one of"),
        ("recipe:../x", "expected one of"),
        (f"recipe:{RECIPE}/other", f"expected one of recipe:{RECIPE}/{ARM}, received other"),
        ("recipe:toy", "this recipe keeps none"),
        ("/no/such/folder", "expected the folder of a kept network"),
        (".", "say where it comes from"),
    ],
)
def test_names_without_a_network_are_one_line(
    kept: Path, model: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_of("transport", model, "digits") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    if model.startswith("recipe:"):
        assert run_of("harvest", model) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert told in line
