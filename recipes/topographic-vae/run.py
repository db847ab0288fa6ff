"""Capsules that roll: topographic VAEs beside a window that stands still and an ordinary VAE.

Source: Keller & Welling 2021, arXiv 2109.01394, *Topographic VAEs learn Equivariant Capsules*. Its
data sets need a network and its tables could not be verified, so drawn shapes stand in and nothing
is compared.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import nn

import orbitlens as ol
from orbitlens.data import MovingShapes, moving_shapes
from orbitlens.errors import OrbitLensWarning, missing_extra
from orbitlens.files import new_file
from orbitlens.reproduce import (
    Job,
    Recipe,
    keep_network,
    layer_row,
    layer_table,
    line_panels,
    main,
    summarise,
    worst_of_seeds,
)
from orbitlens.symmetry.split import (
    TopographicVAE,
    capsule_correlation,
    capsule_rolls,
    fit_topographic,
    roll_decode_error,
    roll_error,
    rolled,
)
from orbitlens.typing import Float, Tensor

COHERENCES = {"tvae_full": "shifting", "tvae_part": "shifting", "bubble": "still", "vae": "none"}
MOTIONS = ("rotation", "shift")
PICTURES = ("rolled", "partial")
SHOWN = 8  # frames of a sequence in the figures
SPEC = {
    "arms": [*COHERENCES],
    "frames": 16,
    "side": 16,
    "capsules": 4,
    "reach": 4,
    "spread": 1,
    "mu": 30.0,
    "n_train": 2000,
    "n_test": 200,
    "batch_size": 8,
    "lr": 2e-3,
    "steps": 8000,
    "samples": 10,
    "seeds": 3,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SPEC,
        "frames": 8,
        "capsules": 2,
        "reach": 2,
        "n_train": 32,
        "n_test": 60,
        "steps": 5,
        "samples": 2,
        "seeds": 1,
    },
    "small": SPEC,
    "medium": {**SPEC, "n_train": 10_000, "steps": 50_000, "seeds": 5},
    "full": {
        **SPEC,
        "frames": 18,
        "side": 28,
        "capsules": 18,
        "n_train": 48_000,
        "lr": 1e-3,
        "steps": 600_000,
    },
}
METRICS = dict.fromkeys(
    (
        *("elbo", "log_p", "kl_z", "kl_u", "e_eq"),
        *(f"cap_corr_{motion}" for motion in MOTIONS),
        *(f"joint_cap_corr_{motion}" for motion in MOTIONS),
        *(f"sampled_cap_corr_{motion}" for motion in MOTIONS),
        *("mse_roll", "mse_no_roll", "mse_partial", "mse_split", "mse_mean", "parameters"),
    ),
    "std",
)


@final
class FirstCapsules(nn.Module):
    """Sequences whose last axis is time, to the capsules of frame 0: what the layer report sees."""

    def __init__(self, model: TopographicVAE) -> None:
        super().__init__()
        self.model, self.capsules = model, nn.Identity()

    def forward(self, sequences: Float[Tensor, "n c h w frames"]) -> Float[Tensor, "n latents"]:
        """Return t of frame 0, without drawing."""
        shown: Tensor = self.capsules(
            self.model.capsules(sequences.movedim(-1, 1))[:, 0].flatten(1)
        )
        return shown


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """One job for each network."""
    return [
        Job(f"{arm}-seed{seed}", {**settings, "arm": arm, "seed": seed})
        for seed in range(settings["seeds"])
        for arm in settings["arms"]
    ]


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Train one network, and measure it before and after."""
    arm, seed = arguments["arm"], arguments["seed"]
    train, test = (sequences_of(arguments, train=train) for train in (True, False))
    x = train.inputs.values[:]
    model, key = build(arguments), {"arm": arm, "seed": seed}
    records = []
    for steps in (0, arguments["steps"]):
        if steps:
            fit = fit_topographic(
                model, x, steps=steps, batch=arguments["batch_size"], lr=arguments["lr"], seed=seed
            )
            key["status"] = fit.status
        state = {**key, "steps": steps}
        records.append({**state, **measure(model, test, x.mean((0, 1)), arguments)})
        if seed == 0 and (steps or arm.startswith("tvae")):
            records += [{**state, **row} for row in layers_of(model, test)]
    if seed == 0:
        keep_pictures(model, test, folder / f"pictures-{arm}.npy")
        if arm == "tvae_part":
            keep_network(
                folder,
                arm,
                FirstCapsules(model),
                arguments,
                inputs=time_last(test),
                action=delays(model),
                layer="capsules",
            )
    return records


def sequences_of(arguments: Mapping[str, Any], *, train: bool) -> MovingShapes:
    """Sequences to train on, or others to test with."""
    # Seeds of training and of test sequences never meet.
    return moving_shapes(
        arguments["n_train" if train else "n_test"],
        frames=arguments["frames"],
        side=arguments["side"],
        seed=2 * arguments["seed"] + train,
    )


def build(arguments: Mapping[str, Any]) -> TopographicVAE:
    """Return the untrained network of an arm."""
    arm = arguments["arm"]
    return TopographicVAE(
        arguments["frames"],
        (1, arguments["side"], arguments["side"]),
        arguments["capsules"],
        coherence=COHERENCES[arm],
        reach=None if arm == "tvae_full" else arguments["reach"],
        spread=arguments["spread"],
        mu=arguments["mu"],
        seed=arguments["seed"],
    )


def network(arguments: Mapping[str, Any]) -> nn.Module:
    """Return the untrained network of an arm as it is kept."""
    return FirstCapsules(build(arguments))


@torch.no_grad()
def measure(
    model: TopographicVAE,
    test: MovingShapes,
    mean: Float[Tensor, "c h w"],
    arguments: Mapping[str, Any],
) -> dict[str, float | None]:
    """The bound, the source's two figures, and errors of frames that were decoded by rolling."""
    x, half = test.inputs.values[:], model.frames // 2
    generator = torch.Generator().manual_seed(arguments["seed"])
    log_likelihood, kl_z, kl_u = (term.mean().item() for term in model.elbo(x, generator))
    log_p = model.log_likelihood(x, arguments["samples"], generator).mean().item()
    t, drawn = model.capsules(x), model.sampled_capsules(x, generator)
    hidden = hide_the_last_half(x)
    # A frame in the middle of those that are seen.
    seen, blind = half // 2, model.capsules(hidden)

    def error(capsules: Tensor, **options: Any) -> float:
        return roll_decode_error(model.frames_of, capsules, x, **options).mean().item()

    with warnings.catch_warnings():
        # Poses that are tied belong to networks that have learned little, as the errors show.
        warnings.simplefilter("ignore", OrbitLensWarning)
        split = (model(x) - x).square().mean().item()
    return {
        "elbo": log_likelihood - kl_z - kl_u,
        "log_p": log_p,
        "kl_z": kl_z,
        "kl_u": kl_u,
        "e_eq": roll_error(t).mean().item(),
        **correlations(t, test, "cap_corr"),
        **correlations(t, test, "joint_cap_corr"),
        **correlations(drawn, test, "sampled_cap_corr"),
        "mse_roll": error(t[:, 0]),
        "mse_no_roll": error(t[:, 0], roll=False),
        "mse_partial": error(blind[:, seen], seen=seen, first=half),
        "mse_split": split,
        "mse_mean": (x - mean).square().mean().item(),
        "parameters": sum(each.numel() for each in model.parameters()),
    }


def hide_the_last_half(x: Float[Tensor, "n frames c h w"]) -> Float[Tensor, "n frames c h w"]:
    """Sequences whose last half is black."""
    hidden = x.clone()
    hidden[:, x.shape[1] // 2 :] = 0
    return hidden


def correlations(
    t: Float[Tensor, "n frames capsules slots"], test: MovingShapes, name: str
) -> dict[str, float | None]:
    """CapCorr of each motion; None where the rolls do not vary."""
    starts = torch.from_numpy(test.starts)
    reference = t[torch.arange(len(t)), -starts % t.shape[1]]
    rolls = capsule_rolls(reference, t[:, 0], together=name.startswith("joint"))
    found = {}
    for number, motion in enumerate(MOTIONS):
        own = torch.from_numpy(test.inputs.labels == number)
        value = capsule_correlation(rolls[own], starts[own])
        found[f"{name}_{motion}"] = None if math.isnan(value) else value
    return found


def time_last(test: MovingShapes) -> Float[Tensor, "n c h w frames"]:
    """Sequences as `actions.cyclic_shift` moves them."""
    return test.inputs.values[:].movedim(1, -1).contiguous()


def delays(model: TopographicVAE) -> ol.actions.Action:
    """The group C_S, which delays sequences."""
    return ol.actions.cyclic_shift(f"C{model.frames}")


def layers_of(model: TopographicVAE, test: MovingShapes) -> list[dict[str, Any]]:
    """The layer report of the capsules of frame 0 under delays of the sequence."""
    action = delays(model)
    regular = ol.reps.regular(action.group)
    found = ol.measure_network(
        FirstCapsules(model),
        inputs=time_last(test),
        action=action,
        layers=["capsules"],
        layout="n c",
        lie_inputs=0,
    )
    wanted = ol.reps.direct_sum(*[regular] * model.n_capsules)
    return [{"layer": row["layer"], **layer_row(row, action.group, wanted)} for row in found.table]


@torch.no_grad()
def keep_pictures(model: TopographicVAE, test: MovingShapes, path: Path) -> None:
    """Keep a sequence of each motion, decoded from frame 0, and from the first half alone."""
    x = test.inputs.values[: len(MOTIONS)]
    seen, steps = model.frames // 4, torch.arange(model.frames)
    frames = model.frames_of(rolled(model.capsules(x)[:, 0], steps))
    blind = model.capsules(hide_the_last_half(x))[:, seen]
    partial = model.frames_of(rolled(blind, steps - seen))
    with new_file(path) as file, file.open("wb") as stream:
        np.save(stream, torch.stack([x, frames, partial]).numpy())


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds, before and after training."""
    measured = [record for record in records if "elbo" in record]
    return summarise(measured, ["arm", "steps"], METRICS)


def gates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The worst seed of each promise, beside what is wanted; before training too."""
    measured = [record for record in records if "elbo" in record]
    rows = []
    for steps in dict.fromkeys(record["steps"] for record in measured):
        at = {(r["arm"], r["seed"]): r for r in measured if r["steps"] == steps}
        seeds = sorted({seed for _, seed in at})
        for arm, figure, values, sign, limit in promises(at, seeds):
            key = {"steps": steps, "arm": arm, "figure": figure}
            rows.append({**key, **worst_of_seeds(values, sign, limit)})
    return rows


def promises(
    at: Mapping[tuple[str, int], Mapping[str, Any]], seeds: Sequence[int]
) -> list[tuple[str, str, list[float], str, float]]:
    """Each figure with its values over the seeds, and what is wanted of all of them."""
    part, vae = ([at[arm, seed] for seed in seeds] for arm in ("tvae_part", "vae"))
    pairs = list(zip(part, vae, strict=True))
    rows = [
        ("mse_roll over mse_no_roll", [r["mse_roll"] / r["mse_no_roll"] for r in part], "<=", 0.25),
        ("mse_roll over mse_mean", [r["mse_roll"] / r["mse_mean"] for r in part], "<=", 0.5),
        ("elbo less that of vae", [r["elbo"] - v["elbo"] for r, v in pairs], ">=", -1),
        ("e_eq of vae over e_eq", [v["e_eq"] / r["e_eq"] for r, v in pairs], ">=", 5),
    ]
    found = [("tvae_part", *row) for row in rows]
    for name in ("cap_corr", "joint_cap_corr"):
        for arm, sign, limit in (
            ("tvae_part", ">=", 0.9),
            ("bubble", "<=", 0.5),
            ("vae", "<=", 0.5),
        ):
            # Rolls that do not vary correlate with nothing.
            values = [at[arm, s][f"{name}_{motion}"] or 0.0 for s in seeds for motion in MOTIONS]
            found.append((arm, name, values, sign, limit))
    return found


def layers(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The layer reports, before and after training."""
    return layer_table(records, ["arm", "steps"])


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw the figures before and after training, and frames that were decoded by rolling."""
    shown = ("elbo", "e_eq", *(f"cap_corr_{motion}" for motion in MOTIONS), "mse_roll")
    line_panels(
        tables["results.csv"],
        folder / "training.png",
        x=("steps", "steps of training"),
        series="arm",
        metrics=dict.fromkeys((*shown, "mse_no_roll", "mse_partial", "log_p"), "std"),
        title="Before and after training, mean and standard deviation over seeds",
        dodge=0.2,
    )
    arms = list(dict.fromkeys(row["arm"] for row in tables["results.csv"]))
    kept = {arm: np.load(folder / f"pictures-{arm}.npy") for arm in arms}
    for number, name in enumerate(PICTURES, start=1):
        lines = {
            f"{motion}: {label}": images
            for place, motion in enumerate(MOTIONS)
            for label, images in {
                "true": kept[arms[0]][0, place],
                **{arm: each[number, place] for arm, each in kept.items()},
            }.items()
        }
        pictures(lines, folder / f"pictures-{name}.png")


def pictures(lines: Mapping[str, Float[np.ndarray, "frames c h w"]], path: Path) -> None:
    """Draw one line of frames for each name."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_extra("matplotlib", extra="report") from None
    figure = Figure(figsize=(0.8 * SHOWN + 2, 0.8 * len(lines)), layout="constrained")
    axis = figure.subplots()
    # Pixels of 1 between the frames.
    rows = [
        np.pad(each[:: len(each) // SHOWN][:SHOWN, 0], ((0, 0), (1, 1), (1, 1)), constant_values=1)
        for each in lines.values()
    ]
    axis.imshow(np.vstack([np.hstack(list(row)) for row in rows]), cmap="gray", vmin=0, vmax=1)
    height = rows[0].shape[1]
    axis.set_yticks(
        [height * (place + 0.5) for place in range(len(lines))],
        [name.replace("_", " ") for name in lines],
    )
    axis.set_xticks([])
    axis.set_frame_on(False)
    with new_file(path) as file:
        figure.savefig(file, dpi=100, format="png", bbox_inches="tight")


RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    budgets=BUDGETS,
    jobs=jobs,
    compute=compute,
    tables={"results.csv": results, "gates.csv": gates, "layers.csv": layers},
    plot=plot,
    network=network,
)

if __name__ == "__main__":
    main(RECIPE)
