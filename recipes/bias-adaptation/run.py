"""Bias adaptation: resonance, an imbalanced mixture with every control, and orbits.

Source: Chen et al., arXiv 2506.14002 (Group Bias Adaptation). Controls with fixed directions: arXiv
2602.14111.
"""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

import orbitlens as ol
from orbitlens.data import SparseMixtures, sparse_mixtures
from orbitlens.files import new_file
from orbitlens.metrics import (
    dead_latents,
    feature_detection,
    feature_recovery,
    feature_recovery_rate,
    l0,
    max_cosine_similarity,
    normalised_mse,
)
from orbitlens.probe import invariant_readout
from orbitlens.reproduce import (
    Job,
    Recipe,
    by_panel,
    draw_batches,
    line_panels,
    main,
    summarise,
    train_steps,
)
from orbitlens.reproduce.shapes import shapes_base
from orbitlens.sae import SAE, FreeDictionary, bias_adaptation_sae, compose, orbit_sae, topk_sae
from orbitlens.sae.sparsity import ReLU
from orbitlens.training import single_bias_adaptation
from orbitlens.typing import Float, Tensor

# Highest and lowest target, and whether codes leave the bias out.
STEERED = {
    "gba": (0.1, 0.002, False),
    "gba_jump": (0.1, 0.002, True),
    "gba_full": (0.5, 0.001, False),
    "gba_full_jump": (0.5, 0.001, True),
    "gba_high_jump": (0.5, 0.25, True),
    "gba_low_jump": (0.004, 0.0005, True),
}
# What might stop the decay: changes of the arm `gba`.
REMEDIES = {
    "gba_frozen_bias": {"frozen_after": 1 / 3},
    "gba_low_lr": {"lr_factor": 0.25},
    "gba_constant_lr": {"lr_decay": 0.0},
    # As the method is described: everything is trained, from scales of one, at a lower rate.
    "gba_plain": {"lr_factor": 0.2, "scale": 1.0, "centred": True},
}
TOPK = {"topk20": 20, "topk30": 30, "topk50": 50}
L1 = {"l1_0.3": 0.3, "l1_1": 1.0, "l1_3": 3.0}
FIXED = ("frozen", "soft_frozen")
UNTRAINED = ("random", "dictionary_learning")
SOFT, MEASURED, FEWEST = 0.8, 4096, 5
LONGER = ("gba_full", "gba_low_lr", "gba_constant_lr", "l1_0.3", "l1_3")  # not in `small`
FAR = 8  # times the frequency of the features
SPEC = {
    "seeds": 3,
    "resonance": {
        "n_features": 256,
        "active": [3],
        "n_samples": 20_000,
        "neurons": 1024,
        "batch_size": 3000,
        "iterations": 25,
        "dims": [96, 32],
        # In units of the features' own frequency, 3/256.
        "frequencies": [0.5, 0.1, 0.02, 3 / 256, 0.006, 0.002],
    },
    "mixture": {
        "n_features": 128,
        "dim": 42,
        "active": [3, 20],
        "n_samples": 40_000,
        "latents": 1536,
        "groups": 6,
        "batch_size": 256,
        "lr": 1e-2,
        "lr_decay": 0.5,
        "scale": 0.1,
        "samples": 2560,
        "steps": [1000, 2000, 4000],
        "components": 256,
        "alpha": 0.1,
        "passes": 2,
        "arms": [*STEERED, *REMEDIES, *TOPK, *L1, *FIXED, *UNTRAINED],
    },
    "orbit": {
        "sources": ["toy", "shapes"],
        "atoms": 96,
        "groups": 3,
        "targets": {"toy": [0.2, 0.02], "shapes": [0.5, 0.02]},
        "arms": ["orbit_gba", "orbit_topk_right", "orbit_topk_wrong"],
        "k": {"toy": [2, 8], "shapes": [4, 16]},
        "n_samples": 4000,
        "epochs": 60,
        "batch_size": 256,
        "lr": 5e-3,
        "scale": 0.1,
        "model_epochs": 20,
        "model_samples": 4096,
    },
}
SMOKE = {
    "seeds": 1,
    "resonance": {
        **SPEC["resonance"],
        "n_features": 24,
        "n_samples": 1000,
        "neurons": 96,
        "batch_size": 1000,
        "iterations": 5,
        "dims": [16, 4],
        "active": [1],
        "frequencies": [0.5, 1 / 24, 0.02],
    },
    "mixture": {
        **SPEC["mixture"],
        "n_features": 24,
        "dim": 16,
        "active": [1, 4],
        "n_samples": 2600,
        "latents": 60,
        "steps": [40],
        "components": 24,
    },
    "orbit": {
        **SPEC["orbit"],
        "sources": ["toy"],
        "atoms": 24,
        "n_samples": 400,
        "epochs": 4,
        "batch_size": 64,
    },
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": SMOKE,
    "small": {
        **SPEC,
        "mixture": {
            **SPEC["mixture"],
            "latents": 768,
            "groups": 3,
            "steps": [500, 1000],
            "arms": [arm for arm in SPEC["mixture"]["arms"] if arm not in LONGER],
        },
        "orbit": {
            **SPEC["orbit"],
            "n_samples": 2000,
            "model_epochs": 5,
            "model_samples": 2048,
        },
    },
    "medium": SPEC,
    "full": {**SPEC, "seeds": 5},
}
METRICS = dict.fromkeys(("frr_0.8", "frr_0.9", "l0", "dead_share", "normalised_mse"), "std")


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """One job for each dimension, arm and seed; the agreement of seeds comes after them."""
    resonance, mixture, orbit = (settings[name] for name in ("resonance", "mixture", "orbit"))
    seeds = range(settings["seeds"])
    every = [
        Job(
            f"resonance-{dim}-seed{seed}",
            {**resonance, "part": "resonance", "dim": dim, "seed": seed},
        )
        for seed in seeds
        for dim in resonance["dims"]
    ]
    every += [
        Job(
            f"orbit-{source}-{arm}-seed{seed}",
            {**orbit, "part": "orbit", "source": source, "arm": arm, "seed": seed},
        )
        for seed in seeds
        for source in orbit["sources"]
        for arm in orbit["arms"]
    ]
    every += [
        Job(f"mixture-{arm}-seed{seed}", {**mixture, "part": "mixture", "arm": arm, "seed": seed})
        for seed in seeds
        for arm in mixture["arms"]
    ]
    agreement = {**mixture, "part": "agreement", "seeds": settings["seeds"]}
    return [*every, Job("agreement", agreement, phase=1)]


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Do one part."""
    parts = {"resonance": resonance, "mixture": mixture, "agreement": agreement, "orbit": orbits}
    own = parts[arguments["part"]]
    return [{"part": arguments["part"], **row} for row in own(arguments, folder)]


def resonance(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Recovery of decoupled neurons by their target frequency."""
    del folder
    names = ("n_samples", "n_features", "dim", "active", "seed")
    data = sparse_mixtures(**{name: arguments[name] for name in names})
    rows = []
    for frequency in arguments["frequencies"]:
        W = single_bias_adaptation(
            data.values,
            arguments["neurons"],
            frequency=frequency,
            iterations=arguments["iterations"],
            batch_size=arguments["batch_size"],
            seed=arguments["seed"],
        )
        key = {
            "dim": arguments["dim"],
            "frequency": frequency,
            "times_f": frequency / data.frequency,
        }
        rows.append({**key, "seed": arguments["seed"], **recovered(W, data)})
    return rows


def recovered(W: Float[Tensor, "latents dim"], data: SparseMixtures) -> dict[str, float]:
    """Share of directions with a latent near by."""
    return {
        f"frr_{tau}": feature_recovery_rate(W, data.features, threshold=tau) for tau in (0.8, 0.9)
    }


def mixture_of(arguments: Mapping[str, Any]) -> SparseMixtures:
    """The imbalanced mixture, the same for all seeds, so that their dictionaries can agree."""
    names = ("n_samples", "n_features", "dim", "active")
    return sparse_mixtures(**{name: arguments[name] for name in names}, seed=0)


def mixture(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Train one arm for each number of steps, and measure it."""
    data, arm, seed = mixture_of(arguments), arguments["arm"], arguments["seed"]
    lengths = arguments["steps"][-1:] if arm in UNTRAINED else arguments["steps"]
    rows = []
    for steps in lengths:
        if arm == "dictionary_learning":
            W, codes = learned_dictionary(data, arguments)
            x_hat = codes @ W
        else:
            sae = trained(data.values, arguments, steps)
            W = sae.W_dec.detach()
            with torch.no_grad():
                output = sae(data.values[:MEASURED])
            codes, x_hat = output.codes, output.x_hat
        keep(W[(codes != 0).any(0)], place_of(folder, arm, steps, seed))
        rows.append(
            {
                "arm": arm,
                "steps": steps,
                "seed": seed,
                **recovered(W, data),
                "l0": l0(codes).mean().item(),
                "dead_share": dead_latents(codes).item() / len(W),
                "normalised_mse": normalised_mse(data.values[: len(codes)], x_hat).item(),
            }
        )
    return rows


def place_of(folder: Path, arm: str, steps: int, seed: int) -> Path:
    """The file of a dictionary."""
    return folder / "dictionaries" / f"{arm}-{steps}-seed{seed}.npy"


def keep(W: Float[Tensor, "latents dim"], path: Path) -> None:
    """Keep the directions that fire, for the agreement of seeds."""
    path.parent.mkdir(exist_ok=True)
    with new_file(path) as file, file.open("wb") as stream:
        np.save(stream, W.numpy())


def trained(x: Float[Tensor, "n dim"], arguments: Mapping[str, Any], steps: int) -> SAE:
    """Build and train the SAE of an arm."""
    arm, seed = arguments["arm"], arguments["seed"]
    sae = built(arguments)
    if arm == "random":
        return sae
    store = ol.store_from_array(x[:, None], group="C1")
    epochs = max(1, round(steps * arguments["batch_size"] / len(x)))
    settings: dict[str, Any] = {
        "samples": np.arange(len(x)),
        "batch_size": arguments["batch_size"],
        "lr": arguments["lr"] * REMEDIES.get(arm, {}).get("lr_factor", 1.0),
        "lr_decay": REMEDIES.get(arm, {}).get("lr_decay", arguments["lr_decay"]),
        "seed": seed,
    }
    if arm == "soft_frozen":
        return softly_frozen(sae, x, arguments, steps)
    if arm in L1:
        weight = partial(ol.objectives.l1_reconstruction, weight=L1[arm])
        ol.fit(sae, store, objective=weight, epochs=epochs, **settings)
    elif "frozen_after" in REMEDIES.get(arm, {}):
        first = max(1, round(epochs * REMEDIES[arm]["frozen_after"]))
        ol.fit(sae, store, epochs=first, **{**settings, "lr_decay": 0.0})
        sae.sparsity.gamma_minus = sae.sparsity.gamma_plus = 0.0
        left = max(1, epochs - first)
        decay = min(1.0, settings["lr_decay"] * epochs / left)
        ol.fit(sae, store, epochs=left, **{**settings, "lr_decay": decay})
    else:
        ol.fit(sae, store, epochs=epochs, **settings)
    return sae


def built(arguments: Mapping[str, Any]) -> SAE:
    """Return the untrained SAE of an arm."""
    arm, latents, dim = arguments["arm"], arguments["latents"], arguments["dim"]
    seed = arguments["seed"]
    if arm in STEERED or arm in REMEDIES:
        highest, lowest, jump = STEERED.get(arm, STEERED["gba"])
        sae = bias_adaptation_sae(
            dim,
            latents,
            groups=arguments["groups"],
            htf=highest,
            ltf=lowest,
            jump=jump,
            # Fewer expected firings than this cannot be told from none.
            samples=max(arguments["samples"], round(FEWEST / lowest)),
            seed=seed,
        )
        change = REMEDIES.get(arm, {})
        sae.sparsity.scales.data.fill_(change.get("scale", arguments["scale"]))
        # A bias of the input that is free to move undoes the biases of the latents.
        sae.dictionary.b_dec.requires_grad_(change.get("centred", False))
        return sae
    if arm in L1:
        return compose(ReLU(), FreeDictionary(latents, dim, seed=seed), seed=seed)
    sae = topk_sae(dim, latents, TOPK.get(arm, TOPK["topk20"]), seed=seed)
    sae.dictionary.W_dec.requires_grad_(arm != "frozen")
    return sae


def softly_frozen(
    sae: SAE, x: Float[Tensor, "n dim"], arguments: Mapping[str, Any], steps: int
) -> SAE:
    """Train an SAE whose directions stay within a cosine of their random start."""
    start = sae.W_dec.detach().clone()
    generator = torch.Generator().manual_seed(arguments["seed"])
    batches = draw_batches(len(x), arguments["batch_size"], generator)

    def loss(step: int) -> Float[Tensor, ""]:
        del step
        sae.dictionary.W_dec.data = held_near(sae.dictionary.W_dec.data, start)
        batch = x[next(batches)]
        return (sae(batch).x_hat - batch).square().sum(1).mean()

    list(train_steps(sae, loss, checks=[steps], lr=arguments["lr"]))
    sae.dictionary.W_dec.data = held_near(sae.dictionary.W_dec.data, start)
    return sae.eval()


def held_near(
    W: Float[Tensor, "latents dim"], start: Float[Tensor, "latents dim"]
) -> Float[Tensor, "latents dim"]:
    """Turn rows back to the cone of cosine SOFT around their start."""
    W = normalize(W)
    cosine = (W * start).sum(1, keepdim=True)
    across = normalize(W - cosine * start)
    return torch.where(cosine < SOFT, SOFT * start + (1 - SOFT**2) ** 0.5 * across, W)


def learned_dictionary(
    data: SparseMixtures, arguments: Mapping[str, Any]
) -> tuple[Float[Tensor, "components dim"], Float[Tensor, "n components"]]:
    """Return the dictionary of scikit-learn's online dictionary learning, and its codes."""
    from sklearn.decomposition import MiniBatchDictionaryLearning
    from sklearn.exceptions import ConvergenceWarning

    x = data.values.double().numpy()
    model = MiniBatchDictionaryLearning(
        arguments["components"],
        alpha=arguments["alpha"],
        batch_size=arguments["batch_size"],
        max_iter=arguments["passes"],
        fit_algorithm="cd",
        transform_algorithm="lasso_cd",
        transform_alpha=arguments["alpha"],
        positive_code=True,
        random_state=arguments["seed"],
    )
    with warnings.catch_warnings():
        # Codes that are near the optimum serve as well as the optimum.
        warnings.simplefilter("ignore", ConvergenceWarning)
        codes = model.fit(x).transform(x[:MEASURED])
    return torch.from_numpy(model.components_).float(), torch.from_numpy(codes).float()


def agreement(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """How many of the firing directions of one seed another seed has found too."""
    rows = []
    for arm in arguments["arms"]:
        steps = arguments["steps"][-1]
        runs = [np.load(place_of(folder, arm, steps, seed)) for seed in range(arguments["seeds"])]
        for first, second in combinations(range(len(runs)), 2):
            if len(runs[first]) and len(runs[second]):
                similar = max_cosine_similarity(runs[first], runs[second])
                rows.append(
                    {
                        "arm": arm,
                        "steps": steps,
                        "seeds": f"{first}-{second}",
                        "firing": len(similar),
                        "mcs_mean": similar.mean().item(),
                        "mcs_above_0.9": (similar > 0.9).double().mean().item(),
                    }
                )
    return rows


def orbits(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Train one orbit SAE, and ask whether it finds and detects the features."""
    source, arm, seed = (arguments[name] for name in ("source", "arm", "seed"))
    n = arguments["n_samples"]
    if source == "toy":
        toy = ol.data.toy(n_samples=n, canonical="random", seed=seed)
        store, present = ol.store_from_array(toy.orbits, group=toy.group), toy.present
    else:
        base = shapes_base(
            folder,
            model="mlp",
            group="C4",
            seed=seed,
            n_samples=n,
            model_epochs=arguments["model_epochs"],
            model_samples=arguments["model_samples"],
        )
        store, glyphs = base.store, torch.from_numpy(base.shape_ids)
        present = (glyphs[:, :, None] == torch.arange(int(glyphs.max()) + 1)).any(1)
    rho = ol.fit_transport(store, "exact")
    sae = orbit_arm(arguments, store, rho)
    rate = {name: arguments[name] for name in ("epochs", "batch_size", "lr")}
    ol.fit(sae, store, seed=seed, **rate)
    held_out = store.split()[1]
    x = store.orbits(held_out)[:, 0]
    with torch.no_grad():
        output = sae(x)
    codes = invariant_readout(sae, output.codes)
    found: dict[str, Any] = {"recovery": None, "frr_0.9": None}
    if source == "toy":
        atoms = sae.W_dec[: arguments["atoms"]].detach()
        found = {
            "recovery": feature_recovery(atoms, toy.features, toy.matrices).score,
            "frr_0.9": feature_recovery_rate(
                atoms, toy.features, threshold=0.9, matrices=toy.matrices
            ),
        }
    shown = present[torch.from_numpy(held_out)]
    return [
        {
            "source": source,
            "arm": arm,
            "seed": seed,
            **found,
            "detection_top1": feature_detection(codes, shown, m=1, seed=seed),
            "detection_top4": feature_detection(codes, shown, m=4, seed=seed),
            "l0": l0(output.codes).mean().item(),
            "dead_share": dead_latents(codes).item() / arguments["atoms"],
            "normalised_mse": normalised_mse(x, output.x_hat).item(),
        }
    ]


def orbit_arm(
    arguments: Mapping[str, Any], store: ol.ActivationStore, rho: ol.transport.Transport
) -> SAE:
    """Return the untrained orbit SAE of an arm."""
    dim, source, atoms, seed = store.dim, *(arguments[n] for n in ("source", "atoms", "seed"))
    if arguments["arm"] == "orbit_gba":
        highest, lowest = arguments["targets"][source]
        sae = orbit_sae(
            dim,
            atoms,
            None,
            rho,
            sparsity="bias-adaptation",
            groups=arguments["groups"],
            htf=highest,
            ltf=lowest,
            samples=round(FEWEST / lowest),
            seed=seed,
        )
        sae.sparsity.scales.data.fill_(arguments["scale"])
        sae.dictionary.center_(store.orbits(store.split()[0]).mean(0))
        sae.dictionary.bias.requires_grad_(False)
        return sae
    right, wrong = arguments["k"][source]
    return orbit_sae(
        dim, atoms, wrong if arguments["arm"].endswith("wrong") else right, rho, seed=seed
    )


def part_of(records: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The records of one part."""
    return [record for record in records if record["part"] == name]


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The imbalanced mixture: mean and standard deviation over seeds."""
    return summarise(part_of(records, "mixture"), ["arm", "steps"], METRICS)


def resonances(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Recovery by dimension and frequency."""
    names = dict.fromkeys(("frr_0.8", "frr_0.9"), "std")
    return summarise(part_of(records, "resonance"), ["dim", "frequency", "times_f"], names)


def agreements(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Agreement of seeds, over pairs of them."""
    names = dict.fromkeys(("firing", "mcs_mean", "mcs_above_0.9"), "std")
    return summarise(part_of(records, "agreement"), ["arm", "steps"], names)


def orbit_results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Orbit SAEs."""
    names = ("recovery", "frr_0.9", "detection_top1", "detection_top4")
    wanted = dict.fromkeys((*names, "l0", "dead_share", "normalised_mse"), "std")
    return summarise(part_of(records, "orbit"), ["source", "arm"], wanted)


# From the published table (arXiv 2506.14002, as reported second hand), rounded to what one seed of
# a smaller training may be asked for.
WANTED = {
    "gba": ("frr_0.9", ">=", 0.9),
    "gba_jump": ("frr_0.9", ">=", 0.9),
    "gba_full": ("frr_0.9", ">=", 0.95),
    "gba_full_jump": ("frr_0.9", ">=", 0.95),
    "gba_high_jump": ("frr_0.9", "<=", 0.1),
    "gba_low_jump": ("frr_0.9", "<=", 0.1),
    "topk20": ("frr_0.9", ">=", 0.9),
    "topk30": ("frr_0.9", "<=", 0.3),
    "topk50": ("frr_0.9", "<=", 0.3),
    "random": ("frr_0.8", "<=", 0.01),
}


def gate(
    part: str, subject: str, figure: str, values: Sequence[float], sign: str, limit: float
) -> dict[str, Any]:
    """The worst of some seeds beside what is wanted."""
    worst = min(values) if sign == ">=" else max(values)
    met = worst >= limit if sign == ">=" else worst <= limit
    wanted = f"{sign} {limit:.3g}"
    row = {"part": part, "subject": subject, "figure": figure, "worst_seed": worst}
    return {**row, "wanted": wanted, "met": met}


def gates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The worst seed of each promise, beside what is wanted."""
    own = part_of(records, "resonance")
    dims = list(dict.fromkeys(record["dim"] for record in own))
    # For each dimension, the row of the best frequency of each seed.
    best = {
        dim: [
            max(
                (r for r in own if (r["dim"], r["seed"]) == (dim, seed)), key=lambda r: r["frr_0.9"]
            )
            for seed in sorted({record["seed"] for record in own})
        ]
        for dim in dims
    }
    wide, narrow = f"d = {dims[0]}", f"d = {dims[-1]}"
    places = [record["times_f"] for record in best[dims[0]]]
    peaks = [record["frr_0.9"] for record in best[dims[0]]]
    far = [r["frr_0.9"] for r in own if r["dim"] == dims[0] and r["times_f"] >= FAR]
    lower = [
        other["frr_0.9"] - record["frr_0.9"]
        for record, other in zip(best[dims[0]], best[dims[-1]], strict=True)
    ]
    rows = [
        gate("resonance", wide, "best p over f", places, ">=", 1 / 3),
        gate("resonance", wide, "best p over f", places, "<=", 2.0),
        gate("resonance", wide, "frr_0.9 at the best p", peaks, ">=", 0.9),
        gate("resonance", wide, "frr_0.9 far above f", far, "<=", 0.1),
        gate("resonance", f"{narrow} minus {wide}", "frr_0.9 at the best p", lower, "<=", 0.0),
    ]
    trained_rows = part_of(records, "mixture")
    for arm, (figure, sign, limit) in WANTED.items():
        for steps in dict.fromkeys(r["steps"] for r in trained_rows if r["arm"] == arm):
            values = [r[figure] for r in trained_rows if (r["arm"], r["steps"]) == (arm, steps)]
            rows.append(gate("mixture", f"{arm}, {steps} steps", figure, values, sign, limit))
    detected = {
        (r["source"], r["arm"], r["seed"]): r["detection_top1"] for r in part_of(records, "orbit")
    }
    for source in dict.fromkeys(key[0] for key in detected):
        over = [
            value - detected[source, "orbit_topk_wrong", seed]
            for (where, arm, seed), value in detected.items()
            if (where, arm) == (source, "orbit_gba")
        ]
        figure = "detection_top1 over that of the wrong k"
        rows.append(gate("orbit", source, figure, over, ">=", 0.0))
    return rows


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw recovery by frequency, and by the length of training."""
    rows, metrics = by_panel(tables["resonance.csv"], "frr_0.9", "d = {dim}", "std")
    line_panels(
        [{**row, "target": "frr_0.9", "p": float(f"{row['frequency']:.3g}")} for row in rows],
        folder / "resonance.png",
        x=("p", "target frequency p"),
        series="target",
        metrics=metrics,
        title="Features found by decoupled neurons: mean and standard deviation over seeds",
    )
    groups = {
        "steered": STEERED,
        "remedies": ("gba", *REMEDIES),
        "controls": (*TOPK, *L1, *FIXED),
    }
    for name, arms in groups.items():
        line_panels(
            [row for row in tables["results.csv"] if row["arm"] in arms],
            folder / f"{name}.png",
            x=("steps", "steps of training"),
            series="arm",
            metrics={each: "std" for each in METRICS if each != "dead_share"},
            title="Imbalanced mixture: mean and standard deviation over seeds",
            dodge=0.3,
        )


RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    budgets=BUDGETS,
    jobs=jobs,
    compute=compute,
    tables={
        "results.csv": results,
        "gates.csv": gates,
        "resonance.csv": resonances,
        "agreement.csv": agreements,
        "orbit.csv": orbit_results,
    },
    plot=plot,
)

if __name__ == "__main__":
    main(RECIPE)
