"""Bad input on the command line: one line, exit code 2, nothing half-written.

Every case is a builder that gets a fresh folder and returns the words of the command and what the
line must say. What the folder held before the command must be all that it holds afterwards.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import orbitlens as ol
from orbitlens.cli.commands import main

Case = tuple[list[str], str]

NETWORKS = """
import torch
from torch import nn

class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Flatten()
        self.idle = nn.Identity()
    def forward(self, x):
        return self.layer(x) + self.layer(x)

class Pair(nn.Module):
    def forward(self, x):
        return {"a": x.flatten(1), "b": x.flatten(1)}

class Poison(nn.Module):
    def forward(self, x):
        out = x.flatten(1).clone()
        out[-1, 3] = float("nan")
        return out

class Infinite(nn.Module):
    def forward(self, x):
        return x.flatten(1) / 0.0

def twice(): return Twice()
def pair(): return nn.Sequential(Pair())
def poison(): return nn.Sequential(Poison())
def infinite(): return nn.Sequential(Infinite())
def flat(): return nn.Sequential(nn.Flatten())
def oblong(): return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, stride=(1, 2)))
def maps(): return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1))
def number(): return 7
def broken(): raise RuntimeError("no such checkpoint")
"""

TINY = ["--n-samples", "12", "--image-size", "16"]
QUICK = [*TINY, "--model-samples", "16", "--model-epochs", "1", "--epochs", "1", "--d-sae", "16"]


def harvest(folder: Path, model: str, *more: str) -> list[str]:
    """Return the words that harvest Shapes from one of the networks above."""
    (folder / "networks.py").write_text(NETWORKS)
    name = f"python:{folder / 'networks.py'}:{model}"
    return ["harvest", "shapes", *TINY, "--model", name, "--out", f"{folder}/out", *more]


def run(folder: Path, *more: str) -> list[str]:
    return ["run", "shapes", *QUICK, "--out", f"{folder}/out", *more]


def image(path: Path, size: tuple[int, int] = (20, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, size[::-1], dtype=np.uint8)).save(
        path
    )


def store(folder: Path, order: int = 4, dim: int = 6, name: str = "acts", **more: object) -> str:
    orbits = torch.randn(20, order, dim, generator=torch.Generator().manual_seed(0))
    ol.store_from_array(orbits, group=ol.groups.cyclic(order), out=folder / name, **more)
    return str(folder / name)


def sae(folder: Path, d_in: int = 6) -> str:
    return str(ol.save(ol.sae.topk_sae(d_in, 8, 2), folder / "sae"))


def rho(folder: Path, order: int = 4, dim: int = 6, **more: object) -> str:
    path = store(folder, order, dim, "rho-acts", **more)
    return str(ol.save(ol.fit_transport(ol.open_store(path)), folder / "rho"))


def orbit(folder: Path, method: str = "exact", layer: str = "array") -> tuple[str, str]:
    """An orbit SAE of the store, and a transport of the same orbits or of another layer."""
    acts = ol.open_store(store(folder, name="tied-acts"))
    tied = ol.sae.orbit_sae(6, 3, 2, ol.fit_transport(acts, "exact"))
    path = store(folder, name="rho-acts", layer=layer)
    other = ol.save(ol.fit_transport(ol.open_store(path), method), folder / "rho")
    return str(ol.save(tied, folder / "sae")), str(other)


def labels() -> np.ndarray:
    return np.arange(20, dtype=np.int64) % 2


# -- names ---------------------------------------------------------------------------------------


def unknown_command(folder: Path) -> Case:
    return ["runn", "shapes"], "No such command 'runn'"


def unknown_option(folder: Path) -> Case:
    return run(folder, "--grup", "C4"), "--group"


def unknown_source(folder: Path) -> Case:
    return ["run", "shape", "--out", f"{folder}/out"], "did you mean 'shapes'"


def source_is_a_file(folder: Path) -> Case:
    image(folder / "one.png")
    return ["run", f"{folder}/one.png", "--out", f"{folder}/out"], "give the folder that holds it"


def unknown_group(folder: Path) -> Case:
    return run(folder, "--group", "Q8"), "C or D and a number"


def unknown_model(folder: Path) -> Case:
    return run(folder, "--model", "mpl"), "'mlp'"


def photographs_too_large(folder: Path) -> Case:
    words = ["run", "photographs", "--image-size", "128", "--out", f"{folder}/out"]
    return words, "8 to 106 pixels, received 128; choose for example 32"


def unknown_model_source(folder: Path) -> Case:
    return run(folder, "--model", "hg:facebook/dinov2-small"), "hf:"


def unknown_transport(folder: Path) -> Case:
    return run(folder, "--transport", "least-squares"), "did you mean 'least_squares'"


def unknown_sparsity(folder: Path) -> Case:
    return run(folder, "--sparsity", "top-k"), "did you mean 'topk'"


def unknown_positions(folder: Path) -> Case:
    return run(folder, "--positions", "patches"), "auto, cls, mean, all"


def unknown_interpolation(folder: Path) -> Case:
    return run(folder, "--group", "C8", "--interpolation", "linear"), "'bilinear'"


def unknown_objective(folder: Path) -> Case:
    words = ["train", store(folder), "--objective", "canonical", "--out", f"{folder}/out"]
    return words, "did you mean 'equivariant_canonical'"


def unknown_group_of_a_run(folder: Path) -> Case:
    return run(folder, "--group", "C4.5", "--n-atoms", "8"), "C or D and a number"


# -- numbers -------------------------------------------------------------------------------------


def k_larger_than_the_dictionary(folder: Path) -> Case:
    return run(folder, "--k", "17"), "at most d_sae = 16, received 17"


def k_above_the_pairs_of_a_run(folder: Path) -> Case:
    words = run(folder, "--n-atoms", "2", "--k", "9")
    return words, "`k` of the orbit SAE: expected at most 8, 2 atoms in 4 orientations"


def atoms_of_zero(folder: Path) -> Case:
    return run(folder, "--n-atoms", "0"), "`n_atoms`: expected 1 to"


def orbit_weight_below_zero(folder: Path) -> Case:
    return run(folder, "--orbit-weight", "-1"), "`orbit_weight`: expected a number from 0"


def k_of_zero(folder: Path) -> Case:
    return run(folder, "--k", "0"), "`k`: expected 1 to"


def epochs_of_zero(folder: Path) -> Case:
    return run(folder, "--epochs", "0"), "`epochs`"


def learning_rate_below_zero(folder: Path) -> Case:
    return run(folder, "--lr", "-0.1"), "a positive number, received -0.1"


def learning_rate_not_a_number(folder: Path) -> Case:
    return run(folder, "--lr", "nan"), "a positive number, received nan"


def seed_is_a_word(folder: Path) -> Case:
    return run(folder, "--seed", "one"), "'one' is not a valid integer"


def probe_latents_out_of_range(folder: Path) -> Case:
    return run(folder, "--probe-latents", "4,0"), "numbers from 1, received (4, 0)"


def probe_latents_no_list(folder: Path) -> Case:
    return run(folder, "--probe-latents", "4;8"), "such as 1,4,16"


def image_size_of_shapes(folder: Path) -> Case:
    return run(folder, "--image-size", "50"), "a multiple of 8"


def a_single_sample(folder: Path) -> Case:
    return run(folder, "--n-samples", "1"), "`n_samples`: expected 2 to"


# -- images --------------------------------------------------------------------------------------


def folder_without_images(folder: Path) -> Case:
    (folder / "empty").mkdir()
    return ["run", f"{folder}/empty", "--out", f"{folder}/out"], ".png"


def unreadable_image(folder: Path) -> Case:
    image(folder / "images" / "a.png")
    (folder / "images" / "b.png").write_bytes(b"not an image")
    return ["run", f"{folder}/images", "--out", f"{folder}/out"], "b.png"


def all_images_unreadable(folder: Path) -> Case:
    (folder / "images").mkdir()
    (folder / "images" / "b.jpg").write_bytes(b"not an image")
    words = ["run", f"{folder}/images", "--unreadable", "skip", "--out", f"{folder}/out"]
    return words, "images"


def truncated_image(folder: Path) -> Case:
    image(folder / "images" / "a.png", (200, 200))
    data = (folder / "images" / "a.png").read_bytes()
    (folder / "images" / "a.png").write_bytes(data[: len(data) // 2])
    return ["run", f"{folder}/images", "--out", f"{folder}/out"], "--unreadable skip"


def a_single_image(folder: Path) -> Case:
    image(folder / "images" / "a.png")
    return ["run", f"{folder}/images", "--out", f"{folder}/out"], "at least 2 to split"


def images_beside_class_folders(folder: Path) -> Case:
    for name in ("a/1.png", "b/1.png", "c.png"):
        image(folder / "images" / name)
    return ["run", f"{folder}/images", "--out", f"{folder}/out"], "c.png"


# -- groups --------------------------------------------------------------------------------------


def group_that_pixels_cannot_follow(folder: Path) -> Case:
    return run(folder, "--group", "C8"), "--interpolation bilinear"


def group_without_an_action_on_images(folder: Path) -> Case:
    return run(folder, "--group", "C2xC3"), "C2xC3"


# -- models --------------------------------------------------------------------------------------


def layer_that_does_not_exist(folder: Path) -> Case:
    return run(folder, "--layer", "encodr"), "encoder"


def layer_of_a_users_network(folder: Path) -> Case:
    return harvest(folder, "flat", "--layer", "7"), "0"


def layer_whose_output_is_no_tensor(folder: Path) -> Case:
    return harvest(folder, "pair", "--layer", "0"), "dict"


def layer_called_twice(folder: Path) -> Case:
    return harvest(folder, "twice", "--layer", "layer"), "2"


def layer_never_called(folder: Path) -> Case:
    return harvest(folder, "twice", "--layer", "idle"), "idle"


def activations_with_nan(folder: Path) -> Case:
    return harvest(folder, "poison", "--layer", "0"), "NaN or infinite values"


def activations_without_bound(folder: Path) -> Case:
    return harvest(folder, "infinite", "--layer", "0"), "sample 0, element 0"


def class_token_of_a_vector(folder: Path) -> Case:
    return harvest(folder, "flat", "--layer", "0", "--positions", "cls"), "cls"


def class_token_of_a_map(folder: Path) -> Case:
    return harvest(folder, "maps", "--layer", "0", "--positions", "cls"), "cls"


def places_under_an_interpolated_group(folder: Path) -> Case:
    words = ("--layer", "0", "--positions", "all", "--group", "C8", "--interpolation", "bilinear")
    return harvest(folder, "maps", *words), "mean"


def builder_that_returns_a_number(folder: Path) -> Case:
    return harvest(folder, "number", "--layer", "0"), "int"


def builder_that_fails(folder: Path) -> Case:
    return harvest(folder, "broken", "--layer", "0"), "no such checkpoint"


def builder_that_does_not_exist(folder: Path) -> Case:
    return harvest(folder, "flatt", "--layer", "0"), "flat"


def module_that_does_not_exist(folder: Path) -> Case:
    return run(folder, "--model", "python:no_such_module:build"), "no_such_module"


def weights_that_cannot_be_had(folder: Path) -> Case:
    return run(folder, "--model", f"hf:{folder}/nowhere"), "nowhere"


# -- transports and reports ----------------------------------------------------------------------


def network(folder: Path, model: str, *more: str) -> list[str]:
    """Return the words that report on one of the networks above."""
    (folder / "networks.py").write_text(NETWORKS)
    name = f"python:{folder / 'networks.py'}:{model}"
    tiny = ["--n-samples", "50", "--image-size", "16"]
    return ["transport", name, "shapes", *tiny, "--out", f"{folder}/out", *more]


def transport(folder: Path, method: str, path: str) -> list[str]:
    return ["transport", path, "--transport", method, "--out", f"{folder}/out"]


def report_on_a_layer_called_twice(folder: Path) -> Case:
    return network(folder, "twice", "--layers", "layer"), "expected one call"


def report_on_a_layer_never_called(folder: Path) -> Case:
    return network(folder, "twice", "--layers", "idle"), "no call"


def report_on_a_layer_that_does_not_exist(folder: Path) -> Case:
    return network(folder, "maps", "--layers", "0,1"), "received '1'"


def report_on_a_layer_named_twice(folder: Path) -> Case:
    return network(folder, "maps", "--layers", "0,0"), "0"


def report_with_too_few_inputs(folder: Path) -> Case:
    words = network(folder, "flat", "--layers", "0", "--group", "C2")
    return words, "layer '0' under C2, to fit the exact transport on: expected at least"


def report_without_a_layer_that_can_be_used(folder: Path) -> Case:
    return network(folder, "pair"), "layer"


def report_on_activations_with_nan(folder: Path) -> Case:
    return network(folder, "poison", "--layers", "0"), "layer '0'"


def report_with_few_inputs(folder: Path) -> Case:
    return network(folder, "flat", "--n-samples", "20"), "at least 50, a fifth"


def report_with_a_transport(folder: Path) -> Case:
    return network(folder, "flat", "--transport", "lie"), "no --transport with MODEL INPUTS"


def report_without_inputs(folder: Path) -> Case:
    words = ["transport", store(folder), "--layers", "0", "--out", f"{folder}/out"]
    return words, "no --layers with ACTIVATIONS alone"


def report_with_no_places(folder: Path) -> Case:
    return network(folder, "maps", "--max-positions", "0"), "'--max-positions': 0 is not in"


def candidates_named_twice(folder: Path) -> Case:
    return network(folder, "maps", "--groups", "C4,c4"), "each once, received C4, C4"


def candidates_that_are_no_groups(folder: Path) -> Case:
    return network(folder, "maps", "--groups", "C4,Q8"), "'Q8'"


def candidates_without_a_name(folder: Path) -> Case:
    return network(folder, "maps", "--groups", "C4,,D4"), "not a list of names"


def candidates_that_pixels_cannot_follow(folder: Path) -> Case:
    return network(folder, "maps", "--groups", "C4,C8"), "--interpolation bilinear"


def spatial_transport_of_a_run_without_places(folder: Path) -> Case:
    return run(folder, "--transport", "spatial"), "--positions all"


def spatial_transport_of_vectors(folder: Path) -> Case:
    return transport(folder, "spatial", store(folder)), "store of vectors"


def places_of_maps_that_are_not_square(folder: Path) -> Case:
    return harvest(folder, "oblong", "--layer", "0", "--positions", "all"), "height = width"


def generator_from_too_few_turns(folder: Path) -> Case:
    return transport(folder, "lie", store(folder)), "finer group, such as C8"


def exact_transport_of_too_few_orbits(folder: Path) -> Case:
    return transport(folder, "exact", store(folder, dim=60)), "at least 30, two activations"


def orbits_in_another_order(folder: Path) -> Case:
    group = ol.groups.dihedral(3)
    start = torch.randn(100, 6, generator=torch.Generator().manual_seed(0))
    orbits = torch.einsum("gij,nj->ngi", ol.reps.regular(group).matrices.float(), start)
    ol.store_from_array(orbits[:, [0, 1, 2, 3, 5, 4]], group=group, out=folder / "acts")
    return transport(folder, "exact", f"{folder}/acts"), "order of the elements of D3"


# -- orbit SAEs ----------------------------------------------------------------------------------


def train_orbit(folder: Path, *more: str) -> list[str]:
    words = ["train", store(folder), "--objective", "orbit", "--epochs", "1"]
    return [*words, "--out", f"{folder}/out", *more]


def probe_orbit(folder: Path, **transport: str) -> list[str]:
    tied, other = orbit(folder, **transport)
    words = ["probe", store(folder, labels=labels()), "--sae", tied, "--rho", other]
    return [*words, "--out", f"{folder}/out"]


def orbit_sae_on_a_transport_of_another_layer(folder: Path) -> Case:
    other = orbit(folder, layer="deeper")[1]
    return train_orbit(folder, "--rho", other), "fitted on array:array, received one fitted on"


def orbit_sae_on_a_transport_that_is_not_exact(folder: Path) -> Case:
    other = orbit(folder, "least_squares")[1]
    return train_orbit(folder, "--rho", other), "a true representation, relation error 0"


def orbit_sae_on_a_transport_of_another_group(folder: Path) -> Case:
    return train_orbit(folder, "--rho", rho(folder, order=3)), "group C4"


def orbit_sae_without_the_pairs_to_be_active(folder: Path) -> Case:
    words = train_orbit(folder, "--n-atoms", "2", "--k", "9")
    return words, "at most 8, 2 atoms in 4 orientations, received 9"


def transport_of_an_sae_that_is_trained_without(folder: Path) -> Case:
    words = ["train", store(folder), "--rho", rho(folder), "--out", f"{folder}/out"]
    return words, "none but for the objective orbit"


def probe_with_a_transport_of_another_layer(folder: Path) -> Case:
    return probe_orbit(folder, layer="deeper"), "array:deeper"


def probe_with_a_transport_that_is_not_exact(folder: Path) -> Case:
    return probe_orbit(folder, method="least_squares"), "fitted by least_squares, which differ by"


def orbit_sae_of_another_layer(folder: Path) -> Case:
    tied = orbit(folder)[0]
    words = ["probe", store(folder, name="other", layer="deeper", labels=labels()), "--sae", tied]
    return [*words, "--out", f"{folder}/out"], "built on the transport of array:array"


# -- folders -------------------------------------------------------------------------------------


def folder_that_holds_a_run(folder: Path) -> Case:
    (folder / "out").mkdir()
    (folder / "out" / "config.json").write_text("{}")
    return run(folder), "already holds a run"


def out_is_a_file(folder: Path) -> Case:
    (folder / "out").write_text("x")
    return run(folder), "received a file"


def out_below_a_file(folder: Path) -> Case:
    (folder / "out").write_text("x")
    return ["run", "shapes", *QUICK, "--out", f"{folder}/out/run"], "Not a directory"


def nothing_to_resume(folder: Path) -> Case:
    return run(folder, "--resume"), "start the run without --resume"


def resume_with_other_settings(folder: Path) -> Case:
    (folder / "out").mkdir()
    record = ol_config() | {"k": 3}
    (folder / "out" / "config.json").write_text(json.dumps(record))
    return ["run", "shapes", "--out", f"{folder}/out", "--resume"], "`k`: expected 3"


def resume_of_a_damaged_config(folder: Path) -> Case:
    (folder / "out").mkdir()
    (folder / "out" / "config.json").write_text('{"source": "sha')
    return run(folder, "--resume"), "config.json"


def report_of_no_run(folder: Path) -> Case:
    return ["report", f"{folder}/nowhere"], "no such folder"


def report_of_an_unfinished_run(folder: Path) -> Case:
    (folder / "out").mkdir()
    return ["report", f"{folder}/out"], "no metrics.json there"


def ol_config() -> dict[str, object]:
    from orbitlens.pipeline import RunConfig

    return RunConfig.for_source("shapes").to_dict()


# -- stores, transports, SAEs --------------------------------------------------------------------


def no_such_store(folder: Path) -> Case:
    return ["transport", f"{folder}/nowhere", "--out", f"{folder}/out"], "no such path"


def no_store_at_all(folder: Path) -> Case:
    (folder / "stuff").mkdir()
    return [
        "transport",
        f"{folder}/stuff",
        "--out",
        f"{folder}/out",
    ], "expected a folder written by"


def half_written_store(folder: Path) -> Case:
    path = store(folder)
    record = json.loads(Path(path, "zarr.json").read_text())
    record["attributes"]["complete"] = False
    Path(path, "zarr.json").write_text(json.dumps(record))
    return ["transport", path, "--out", f"{folder}/out"], "incomplete"


def store_with_a_missing_chunk(folder: Path) -> Case:
    path = store(folder)
    next(Path(path, "activations").glob("c.*")).unlink()
    return ["train", path, "--out", f"{folder}/out", "--d-sae", "8"], "shards"


def store_with_a_truncated_chunk(folder: Path) -> Case:
    path = store(folder)
    for shard in Path(path, "activations").glob("c.*"):
        shard.write_bytes(shard.read_bytes()[:-8])
    return ["transport", path, "--out", f"{folder}/out"], "shard 0"


def truncated_sae_weights(folder: Path) -> Case:
    path = Path(sae(folder), "sae_weights.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    words = ["probe", store(folder, labels=labels()), "--sae", str(path.parent)]
    return [*words, "--out", f"{folder}/out"], "sae_weights.safetensors"


def truncated_transport(folder: Path) -> Case:
    path = Path(rho(folder), "transport.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    words = ["probe", store(folder, labels=labels()), "--sae", sae(folder)]
    return [*words, "--rho", str(path.parent), "--out", f"{folder}/out"], "transport.safetensors"


def sae_of_another_width(folder: Path) -> Case:
    words = ["probe", store(folder, labels=labels()), "--sae", sae(folder, d_in=5)]
    return [*words, "--out", f"{folder}/out"], "d_in = 6"


def transport_of_another_group(folder: Path) -> Case:
    words = ["probe", store(folder, labels=labels()), "--sae", sae(folder)]
    return [*words, "--rho", rho(folder, order=3), "--out", f"{folder}/out"], "group C4"


def transport_of_another_layer(folder: Path) -> Case:
    words = ["probe", store(folder, labels=labels()), "--sae", sae(folder)]
    other = rho(folder, layer="deeper")
    return [*words, "--rho", other, "--out", f"{folder}/out"], "array:deeper"


def sae_where_a_transport_belongs(folder: Path) -> Case:
    words = ["probe", store(folder, labels=labels()), "--sae", rho(folder)]
    return [*words, "--out", f"{folder}/out"], "cfg.json"


def store_without_labels(folder: Path) -> Case:
    words = ["probe", store(folder), "--sae", sae(folder), "--out", f"{folder}/out"]
    return words, "one subfolder per class"


def missing_sae(folder: Path) -> Case:
    words = ["probe", store(folder, labels=labels()), "--sae", f"{folder}/none"]
    return [*words, "--out", f"{folder}/out"], "no such folder"


def probe_without_an_sae(folder: Path) -> Case:
    return ["probe", store(folder), "--out", f"{folder}/out"], "Missing option '--sae'"


def k_above_d_sae_when_training(folder: Path) -> Case:
    words = ["train", store(folder), "--d-sae", "4", "--k", "5", "--out", f"{folder}/out"]
    return words, "at most d_sae = 4"


def sae_of_another_model(folder: Path) -> Case:
    other = ol.save(ol.sae.topk_sae(6, 8, 2), folder / "sae", metadata={"model_name": "shapes-cnn"})
    words = ["probe", store(folder, labels=labels()), "--sae", str(other)]
    return [*words, "--out", f"{folder}/out"], "expected model_name 'array'"


def transport_of_a_vanilla_sae(folder: Path) -> Case:
    plain = ol.save(ol.sae.topk_sae(6, 8, 2), folder / "sae", metadata={"objective": "vanilla"})
    words = ["probe", store(folder, labels=labels()), "--sae", str(plain), "--rho", rho(folder)]
    return [*words, "--out", f"{folder}/out"], "a vanilla SAE reconstructs what it is given"


def sae_with_fields_missing(folder: Path) -> Case:
    path = Path(sae(folder), "cfg.json")
    path.write_text('{"architecture": "topk"}')
    words = ["probe", store(folder, labels=labels()), "--sae", str(path.parent)]
    return [*words, "--out", f"{folder}/out"], "every field that OrbitLens writes"


def half_turns_for_flips(folder: Path) -> Case:
    orbits = torch.randn(20, 2, 6)
    flips = folder / "flips"
    ol.store_from_array(orbits, group=ol.groups.dihedral(1), labels=labels(), out=flips)
    words = ["probe", str(flips), "--sae", sae(folder), "--rho", rho(folder, order=2)]
    return [*words, "--out", f"{folder}/out"], "group D1"


def report_of_a_harvest(folder: Path) -> Case:
    (folder / "h").mkdir()
    (folder / "h" / "metrics.json").write_text("{}")
    return ["report", f"{folder}/h"], "no SAEs there"


def seed_beyond_every_generator(folder: Path) -> Case:
    return run(folder, "--seed", "100000000000000000000"), "`seed`: expected 0 to"


def group_of_a_million_elements(folder: Path) -> Case:
    return run(folder, "--group", "C999xC999"), "at most 4096 elements"


def more_shapes_than_there_are(folder: Path) -> Case:
    return run(folder, "--n-samples", "5000"), "4096"


def latents_beyond_memory(folder: Path) -> Case:
    return run(folder, "--d-sae", "2000000000"), "`d_sae`"


def folder_with_other_files(folder: Path) -> Case:
    (folder / "out").mkdir()
    (folder / "out" / "thesis.txt").write_text("years of work")
    return run(folder), "one that holds other files"


def builder_that_exits(folder: Path) -> Case:
    (folder / "exits.py").write_text("import sys\nsys.exit(0)\n")
    return run(folder, "--model", f"python:{folder}/exits.py:build"), "SystemExit"


def positions_that_fail_late_in_a_folder_beside_others(folder: Path) -> Case:
    (folder / "notes").mkdir()
    (folder / "notes" / "thesis.txt").write_text("years of work")
    words = harvest(folder, "flat", "--layer", "0", "--positions", "cls")
    words[words.index("--out") + 1] = f"{folder}/missing/../notes/new"
    return words, "cls"


def positions_that_fail_late_in_an_empty_folder(folder: Path) -> Case:
    (folder / "out").mkdir()
    return harvest(folder, "flat", "--layer", "0", "--positions", "cls"), "cls"


CASES = [
    value
    for value in list(globals().values())
    if callable(value)
    and getattr(value, "__module__", None) == __name__
    and value.__annotations__.get("return") == Case
]


def files_below(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_ends_in_one_line_and_leaves_nothing(
    case: Callable[[Path], Case],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words, expected = case(tmp_path)
    before = files_below(tmp_path)
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json"])
    out, err = capfd.readouterr()
    assert ended.value.code == 2
    assert out == ""
    assert err.startswith("orbitlens: ")
    assert err.count("\n") == 1
    assert expected in err
    assert files_below(tmp_path) == before


def test_images_that_changed_since_are_noticed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for i in range(8):
        image(tmp_path / "images" / f"{i}.png", (20 + i, 20))
    words = ["run", f"{tmp_path}/images", *QUICK, "--image-size", "16", "--out", f"{tmp_path}/out"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json"])
    assert ended.value.code == 0
    (tmp_path / "images" / "3.png").unlink()
    for again in (["report", f"{tmp_path}/out"], [*words, "--resume"]):
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*again, "--json"])
        assert ended.value.code == 2
        assert "the images have changed since" in capfd.readouterr().err
    assert (tmp_path / "out" / "metrics.json").exists()


def test_there_are_at_least_forty_cases() -> None:
    assert len(CASES) >= 40


def test_non_square_images_under_quarter_turns_are_refused() -> None:
    with pytest.raises(ol.OrbitLensError, match="height = width, received 4 x 6"):
        ol.actions.images(ol.groups.cyclic(4)).check(torch.zeros(1, 1, 4, 6))
