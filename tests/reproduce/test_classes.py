"""Recipes on images with classes: which jobs there are, and what they share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orbitlens.data import Inputs
from orbitlens.errors import OrbitLensError
from orbitlens.reproduce._jobs import file_name
from orbitlens.reproduce.classes import class_recipe

SETTINGS: dict[str, Any] = {
    "dataset": "blobs",
    "label": "CNN",
    "model": "cnn",
    "layer": "encoder.2",
    "positions": "all",
    "image_size": 8,
    "model_epochs": 1,
    "groups": ["C4", "D4"],
    "topks": [2],
    "columns": ["vanilla", "equivariant_canonical"],
    "probe_latents": [1, 4],
    "seeds": 2,
    "latents": 8,
    "orbit_weight": 0.0,
    "orbit_lr": 2e-3,
    "epochs": 1,
    "batch_size": 16,
    "lr": 5e-4,
    "clusters": 4,
    "sae_samples": 6,
    "train_count": 16,
}
PRETRAINED = SETTINGS | {"model": "timm:hf_hub:owner/encoder"}


def blobs(arguments: Mapping[str, Any], folder: Path) -> Inputs:
    del arguments, folder
    values = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Inputs("blobs", values, np.arange(24) % 3, ("a", "b", "c"))


RECIPE = class_recipe(Path(), {}, blobs)


def names(settings: Mapping[str, Any], phase: int) -> list[str]:
    return [job.name for job in RECIPE.jobs(settings) if job.phase == phase]


def test_a_network_that_is_trained_here_is_trained_for_every_seed() -> None:
    wanted = ["base-C4-seed0", "base-D4-seed0", "base-C4-seed1", "base-D4-seed1"]
    assert names(SETTINGS, 0) == wanted


def test_a_network_that_comes_trained_is_looked_into_once_for_every_group() -> None:
    assert names(PRETRAINED, 0) == ["base-C4", "base-D4"]
    assert names(PRETRAINED, 1) == names(SETTINGS, 1)
    assert len(names(PRETRAINED, 1)) == 8


def test_the_jobs_of_a_network_share_its_transport_and_images_are_held_out_in_order(
    tmp_path: Path,
) -> None:
    base, *rest = [job for job in RECIPE.jobs(SETTINGS) if job.arguments["group"] == "C4"]
    (record,) = RECIPE.compute(base.arguments, tmp_path)
    transports = list((tmp_path / "transports").iterdir())
    assert [path.name for path in transports] == ["C4-seed0"]
    before = transports[0].stat().st_mtime_ns
    figures, *probes = RECIPE.compute(rest[1].arguments, tmp_path)
    assert transports[0].stat().st_mtime_ns == before
    assert (figures["sae"], figures["seed"]) == ("vanilla", 0)
    assert [row["probe_latents"] for row in probes] == [1, 4]
    # 8 held-out images in 4 orientations: an accuracy is a whole number of 32nds.
    assert all((32 * row["accuracy"]) % 1 == pytest.approx(0, abs=1e-6) for row in probes)
    (row,) = RECIPE.tables["results.csv"]([record, figures, *probes])
    assert (row["model"], row["group"], row["n"]) == ("CNN", "C4", 1)
    assert row["r2_trained_mean"] == record["r2_trained"]


def test_seeds_share_the_activations_of_a_network_that_comes_trained(tmp_path: Path) -> None:
    program = tmp_path / "network.py"
    lines = [
        "from torch import nn",
        "build = lambda: (nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), lambda images: images)",
    ]
    program.write_text("\n".join(lines))
    network = {"model": f"python:{program}:build", "layer": "1", "positions": "mean"}
    settings = SETTINGS | network | {"groups": ["C4"], "columns": ["archetypal"]}
    out = tmp_path / "out"
    out.mkdir()
    records = [row for job in RECIPE.jobs(settings) for row in RECIPE.compute(job.arguments, out)]
    assert sum("r2_trained" in row for row in records) == 1
    assert {row["seed"] for row in records} == {0, 1}
    for place in ("bases", "transports", "candidates"):
        assert [path.name.split(".")[0] for path in (out / place).iterdir()] == ["C4"]
    assert len(list((out / "saes").iterdir())) == 2


def test_too_few_images_and_images_without_classes_are_refused(tmp_path: Path) -> None:
    arguments = SETTINGS | {"group": "C4", "seed": 0}
    with pytest.raises(OrbitLensError, match="more than the 24 to train on, received 24"):
        RECIPE.compute(arguments | {"train_count": 24}, tmp_path)
    unlabelled = Inputs("blobs", torch.rand(24, 1, 8, 8))
    with pytest.raises(OrbitLensError, match="expected a class for each"):
        class_recipe(Path(), {}, lambda *_: unlabelled).compute(arguments, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_network_is_a_part_of_file_names() -> None:
    assert file_name("torchvision:vit_b_16") == "torchvision-vit_b_16"
    assert file_name("mlp") == "mlp"
