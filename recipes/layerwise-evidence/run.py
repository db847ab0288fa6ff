"""How much symmetry does each layer want? Evidence, MAP and augmentation, on signals and digits.

Source: van der Ouderaa, Immer & van der Wilk 2023, arXiv 2310.06131, *Learning Layer-wise
Equivariances Automatically using Gradients*. Its tables could not be verified, so nothing is
compared.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import orbitlens as ol
from orbitlens.actions import move_on_plane
from orbitlens.data import placed
from orbitlens.groups import PlaneGroup
from orbitlens.reproduce import (
    Job,
    Recipe,
    keep_network,
    layer_figures,
    layer_table,
    line_panels,
    main,
    summarise,
)
from orbitlens.symmetry.relax.evidence import EvidenceFit, fit_with_evidence
from orbitlens.symmetry.relax.linear_gaussian import circulant, fit_linear_gaussian
from orbitlens.symmetry.relax.mixed import MixedBlock, mixed_network
from orbitlens.typing import Float, Int, Tensor

TRUTHS = ("conv", "mix", "fc")
EXACT = {
    "fc_map": (("fc",), False),
    "fc_evidence": (("fc",), True),
    "conv_evidence": (("conv",), True),
    "mixed_map": (("fc", "conv"), False),
    "mixed_evidence": (("fc", "conv"), True),
}
PLACES, SIGNALS, TESTED, NOISE, DENSE_SHARE = 16, 24, 400, 0.3, 0.3


class Arm(NamedTuple):
    """How a network on digits is built and trained."""

    paths: tuple[str, ...]
    lr: float = 0.05
    learn: bool = False  # whether precisions are learned
    shifted: bool = False  # whether every batch is shifted at random


DEEP = {
    "mixed_evidence": Arm(("f-fc", "conv"), learn=True),
    "mixed_map": Arm(("f-fc", "conv")),
    "mixed_augmented": Arm(("f-fc", "conv"), shifted=True),
    "conv_map": Arm(("conv",), lr=0.015),  # convolutions alone die at 0.05
    "factored_map": Arm(("f-fc",)),
    "factored_augmented": Arm(("f-fc",), shifted=True),
    "factored_evidence": Arm(("f-fc",), learn=True),
    "dense_map": Arm(("fc",), lr=0.015),
    "dense_evidence": Arm(("fc",), lr=0.015, learn=True),
}
MAIN_ARMS = ["mixed_evidence", "mixed_map", "mixed_augmented", "conv_map"]
SIDE, REPORTED = 16, 200
SHIFTS = ol.actions.cyclic_shift("C4")  # to the right, by quarters of the canvas
SMALL: dict[str, Any] = {
    "exact_seeds": 5,
    "exact_steps": 150,
    "tasks": {"quadrants": [400], "shifts": [700, 1000]},
    "arms": [*MAIN_ARMS, "factored_augmented"],
    "reported_arms": MAIN_ARMS,
    "n_test": 797,
    "seeds": {"shifts": 3, "quadrants": 3},
    "channels": [8, 16, 32],
    "strides": [2, 2, 4],
    "hidden": 64,
    "epochs": 120,
    "batch_size": 50,
    "burn_in": 10,
    "every": 5,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SMALL,
        "arms": MAIN_ARMS,
        "reported_arms": ["mixed_evidence"],
        "exact_seeds": 1,
        "exact_steps": 3,
        "tasks": {"quadrants": [400], "shifts": [64]},
        "n_test": 100,
        "seeds": {"shifts": 1, "quadrants": 1},
        "channels": [2, 3, 4],
        "hidden": 8,
        "epochs": 1,
        "burn_in": 1,
        "every": 1,
    },
    "small": SMALL,
    "medium": {
        **SMALL,
        "exact_seeds": 20,
        "tasks": {"quadrants": [400], "shifts": [500, 700, 1000]},
        "arms": list(DEEP),
        "seeds": {"shifts": 5, "quadrants": 3},
    },
    "full": {
        **SMALL,
        "exact_seeds": 20,
        "tasks": {"quadrants": [400], "shifts": [500, 700, 1000]},
        "arms": list(DEEP),
        "seeds": {"shifts": 10, "quadrants": 10},
        "epochs": 1000,
    },
}


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """One job for each seed of the exact test, and one for each network."""
    exact = [
        Job(f"exact-seed{seed}", {**settings, "task": "exact", "seed": seed})
        for seed in range(settings["exact_seeds"])
    ]
    networks = [
        Job(
            f"{task}-{n}-{arm}-seed{seed}",
            {**settings, "task": task, "n_train": n, "arm": arm, "seed": seed},
        )
        for task, sizes in settings["tasks"].items()
        for seed in range(settings["seeds"][task])
        for n in sizes
        for arm in settings["arms"]
    ]
    return exact + networks


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Compute the exact test of a seed, or train one network and look into it."""
    if arguments["task"] == "exact":
        return [row for truth in TRUTHS for row in exact(truth, arguments)]
    return trained(arguments, folder)


def exact(truth: str, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Fit each arm to circular signals by the exact evidence."""
    generator = torch.Generator().manual_seed(arguments["seed"])

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    spread = PLACES**-0.5
    shifts, dense = circulant(spread * draw(PLACES)), spread * draw(PLACES, PLACES)
    matrix = {"conv": shifts, "mix": shifts + DENSE_SHARE * dense, "fc": dense}[truth]
    x, tests = draw(SIGNALS, PLACES), draw(TESTED, PLACES)
    y = x @ matrix.T + NOISE * draw(SIGNALS, PLACES)
    wanted, rows = tests @ matrix.T, []
    for arm, (paths, learn) in EXACT.items():
        found = fit_linear_gaussian(
            x, y, paths, learn=learn, noise=NOISE, steps=arguments["exact_steps"]
        )
        error = (tests @ found.matrix().T - wanted).square().sum() / wanted.square().sum()
        rows.append(
            {
                "truth": truth,
                "fit": arm,
                "seed": arguments["seed"],
                "error": float(error),
                "log_z": found.negative_log_evidence / y.numel(),
                "log_precision_fc": found.log_precisions.get("fc"),
                "log_precision_conv": found.log_precisions.get("conv"),
                "noise": found.noise,
            }
        )
    return rows


def digits(arguments: Mapping[str, Any], task: str) -> tuple[Tensor, Int[Tensor, " n"]]:
    """Digits on a canvas of twice their side, in a random order: images and labels."""
    images = ol.data.digits(SIDE // 2)
    order = np.random.default_rng(arguments["seed"]).permutation(len(images.values))
    labels = torch.from_numpy(images.labels)
    if task == "shifts":
        values = placed(images, side=SIDE, seed=arguments["seed"]).inputs.values[:]
    else:
        generator = torch.Generator().manual_seed(arguments["seed"])
        quadrant = torch.randint(4, (len(order),), generator=generator)
        canvas = nn.functional.pad(images.values[:], (0, SIDE // 2, 0, SIDE // 2))
        moved = [
            each.roll((SIDE // 2 * (int(q) // 2), SIDE // 2 * (int(q) % 2)), (1, 2))
            for each, q in zip(canvas, quadrant, strict=True)
        ]
        values, labels = torch.stack(moved), 4 * labels + quadrant
    return values[order], labels[order]


def shifted(
    images: Float[Tensor, "n c h w"], generator: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Augmentation: shift each image on the torus by an element of its own."""
    group = PlaneGroup("p1", SIDE)
    return move_on_plane(images, group.random(len(images), generator), group)


def built(arguments: Mapping[str, Any]) -> nn.Module:
    """The untrained network of an arm."""
    return mixed_network(
        1,
        arguments["classes"],
        SIDE,
        channels=arguments["channels"],
        strides=arguments["strides"],
        hidden=arguments["hidden"],
        paths=DEEP[arguments["arm"]].paths,
        seed=arguments["seed"],
    )


def trained(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Train one network, test it, and report the use of its paths and its layers."""
    task, seed = arguments["task"], arguments["seed"]
    arm = DEEP[arguments["arm"]]
    images, labels = digits(arguments, task)
    n, classes = arguments["n_train"], 10 if task == "shifts" else 40
    images = (images - images[:n].mean()) / images[:n].std()
    network = built({**arguments, "classes": classes})
    how = {name: arguments[name] for name in ("epochs", "batch_size", "every")}
    file = folder / f"{task}-{n}-{arguments['arm']}-{seed}.checkpoint"
    found = fit_with_evidence(
        network,
        images[:n],
        labels[:n],
        **how,
        lr=arm.lr,
        burn_in=arguments["burn_in"] if arm.learn else arguments["epochs"] + 1,
        augment=shifted if arm.shifted else None,
        seed=seed,
        checkpoint=file,
    )
    file.unlink(missing_ok=True)
    tests = images[-arguments["n_test"] :], labels[-arguments["n_test"] :]
    key = {"task": task, "n_train": n, "arm": arguments["arm"], "seed": seed}
    rows = [
        {**key, **measure(network, *tests), "log_z": _per_sample(found, n)},
        *({**key, **row} for row in use(network, found)),
    ]
    largest = task == "shifts" and n == max(arguments["tasks"]["shifts"])
    if largest and arguments["arm"] in arguments["reported_arms"]:
        rows += [{**key, **row} for row in layers_of(network, images[-REPORTED:])]
        if seed == 0:
            keep_network(
                folder,
                arguments["arm"],
                network,
                {**arguments, "classes": classes},
                inputs=images[-REPORTED:],
                action=SHIFTS,
                layer="hidden",
                main=arguments["arm"] == "mixed_evidence",
            )
    return rows


def _per_sample(found: EvidenceFit, n: int) -> float | None:
    total = found.negative_log_evidence
    return None if total is None else total / n


@torch.no_grad()
def measure(
    network: nn.Module, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
) -> dict[str, float]:
    """Accuracy and mean -log p on test images."""
    logits = network(images)
    return {
        "accuracy": float((logits.argmax(1) == labels).float().mean()),
        "nll": float(cross_entropy(logits, labels)),
        "parameters": sum(each.numel() for each in network.parameters()),
    }


def use(network: nn.Module, found: EvidenceFit) -> list[dict[str, Any]]:
    """Effective dimension of each path of each block."""
    rows = []
    for name, block in network.named_children():
        if not isinstance(block, MixedBlock):
            continue
        for path in block.paths:
            own = [t for t in found.tensors if t.name.startswith(f"{name}.paths.{path}.")]
            size = sum(each.size for each in own)
            gamma = sum(each.effective_dimension for each in own)
            rows.append({"block": name, "path": path, "size": size, "gamma": gamma})
    return rows


def layers_of(network: nn.Module, images: Float[Tensor, "n c h w"]) -> list[dict[str, Any]]:
    """The layer report under shifts to the right by quarters of the canvas."""
    blocks = {name: m for name, m in network.named_children() if isinstance(m, MixedBlock)}
    shown = {**blocks, "hidden": network.get_submodule("hidden")}
    return layer_figures(network, shown, inputs=images, action=SHIFTS)


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Test accuracy, mean and standard deviation over seeds."""
    measured = [record for record in records if "accuracy" in record]
    metrics = dict.fromkeys(("accuracy", "nll", "log_z", "parameters"), "std")
    return summarise(measured, ["task", "n_train", "arm"], metrics)


def exact_table(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The exact test, mean and standard deviation over seeds."""
    measured = [record for record in records if "truth" in record]
    names = ("error", "log_z", "log_precision_fc", "log_precision_conv", "noise")
    return summarise(measured, ["truth", "fit"], dict.fromkeys(names, "std"))


def use_table(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Effective dimensions, mean and standard deviation over seeds."""
    measured = [record for record in records if "gamma" in record]
    rows = summarise(
        measured, ["task", "n_train", "arm", "block", "path", "size"], {"gamma": "std"}
    )
    return [{**row, "share_mean": row["gamma_mean"] / row["size"]} for row in rows]


def layers(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The layer reports."""
    return layer_table(records, ["task", "n_train", "arm"])


def gates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each promise beside what is wanted: the mean over seeds, and the worst seed."""
    return [*_exact_gates(records), *_deep_gates(records)]


def _exact_gates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    measured = [record for record in records if "truth" in record]
    error, log_z = (
        {(r["truth"], r["fit"], r["seed"]): r[name] for r in measured}
        for name in ("error", "log_z")
    )
    seeds = sorted({record["seed"] for record in measured})

    def ratio(truth: str, over: str, under: str) -> list[float]:
        return [error[truth, over, s] / error[truth, under, s] for s in seeds]

    def gap(one: str, other: str) -> list[float]:
        return [log_z["conv", other, s] - log_z["conv", one, s] for s in seeds]

    best = [
        min(error["mix", arm, s] for arm in ("fc_map", "fc_evidence", "conv_evidence"))
        / error["mix", "mixed_evidence", s]
        for s in seeds
    ]
    collapse = [abs(each - 1) for truth in TRUTHS for each in ratio(truth, "mixed_map", "fc_map")]
    return [
        _gate(
            "conv: error over that of conv",
            ratio("conv", "mixed_evidence", "conv_evidence"),
            max,
            2.5,
        ),
        _gate("conv: error of fc_map over it", ratio("conv", "fc_map", "mixed_evidence"), min, 15),
        _gate("mix: error of the best other over it", best, min, 1),
        _gate("fc: error over that of fc", ratio("fc", "mixed_evidence", "fc_evidence"), max, 1.03),
        _gate("mixed_map: relative distance from fc_map", collapse, max, 0.1),
        _gate("conv: -log Z of mixed less conv", gap("conv_evidence", "mixed_evidence"), min, 0),
        _gate("conv: -log Z of fc less mixed", gap("mixed_evidence", "fc_evidence"), min, 0),
    ]


def _deep_gates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    measured = [r for r in records if "accuracy" in r and r["task"] == "shifts"]
    found = {(r["n_train"], r["arm"], r["seed"]): r["accuracy"] for r in measured}
    rows = []
    for n in sorted({record["n_train"] for record in measured}):
        seeds = sorted({r["seed"] for r in measured if r["n_train"] == n})

        def less(one: str, other: str, n: int = n, seeds: Sequence[int] = seeds) -> list[float]:
            return [found[n, one, s] - found[n, other, s] for s in seeds]

        gain, lag = less("mixed_evidence", "mixed_map"), less("conv_map", "mixed_evidence")
        rows += [
            _gate(f"shifts, {n}: accuracy over mixed_map", gain, min, 0.1),
            _gate(f"shifts, {n}: accuracy below conv_map", lag, max, 0.03),
        ]
    return rows


def _gate(
    name: str, values: Sequence[float], worst: Callable[[Sequence[float]], float], limit: float
) -> dict[str, Any]:
    mean = sum(values) / len(values)
    within = (lambda value: value >= limit) if worst is min else (lambda value: value <= limit)
    return {
        "figure": name,
        "mean": mean,
        "worst_seed": worst(values),
        "wanted": f"{'>=' if worst is min else '<='} {limit:g}",
        "met_by_mean": within(mean),
        "met_by_every_seed": within(worst(values)),
    }


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw the errors of the exact test, and the use of the paths."""
    line_panels(
        tables["exact.csv"],
        folder / "exact.png",
        x=("truth", "what the signals were made by"),
        series="fit",
        metrics={"error": "std", "log_z": "std"},
        title="Exact evidence: relative test error, and -log Z for each observation",
        log=True,
        dodge=0.5,
        joined=False,
    )
    shares = [
        {
            **row,
            f"{row['task']}_mean": row["share_mean"],
            f"{row['task']}_std": (row["gamma_std"] or 0.0) / row["size"],
            "series": f"{row['path']} {row['arm'].removeprefix('mixed_')}",
        }
        for row in tables["use.csv"]
        if row["arm"].startswith("mixed") and row["n_train"] in _largest(tables)
    ]
    line_panels(
        shares,
        folder / "use.png",
        x=("block", "block"),
        series="series",
        metrics=dict.fromkeys(dict.fromkeys(row["task"] for row in shares), "std"),
        title="Effective dimension of each path as a share of its parameters",
    )


def _largest(tables: Mapping[str, list[dict[str, Any]]]) -> list[int]:
    """The largest training set of each task."""
    largest: dict[str, int] = {}
    for row in tables["use.csv"]:
        largest[row["task"]] = max(row["n_train"], largest.get(row["task"], 0))
    return list(largest.values())


RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    budgets=BUDGETS,
    jobs=jobs,
    compute=compute,
    tables={
        "results.csv": results,
        "exact.csv": exact_table,
        "use.csv": use_table,
        "gates.csv": gates,
        "layers.csv": layers,
    },
    plot=plot,
    network=built,
)

if __name__ == "__main__":
    main(RECIPE)
