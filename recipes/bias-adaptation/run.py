"""Bias adaptation: resonance, an imbalanced mixture with every control, and orbits.

Source: Chen et al., arXiv 2506.14002 (Group Bias Adaptation). Controls with fixed directions: arXiv
2602.14111.
"""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize

import orbitlens as ol
from orbitlens import metrics, reproduce
from orbitlens.data import SparseMixtures, sparse_mixtures
from orbitlens.files import new_file
from orbitlens.kernels import SparseCodes, at_columns
from orbitlens.probe import invariant_readout
from orbitlens.reproduce import Job, Recipe, by_panel, line_panels, main, summarise, worst_of_seeds
from orbitlens.reproduce.shapes import shapes_base
from orbitlens.sae import SAE, FreeDictionary, ReLU, Sparsity, TopK, TransposedEncoder
from orbitlens.training import single_bias_adaptation
from orbitlens.typing import Float, StackedCodes, Tensor

# Highest and lowest target, and whether codes leave the bias out.
STEERED = {
    "gba": (0.1, 0.002, False),
    "gba_jump": (0.1, 0.002, True),
    "gba_full": (0.5, 0.001, False),
    "gba_full_jump": (0.5, 0.001, True),
    "gba_high": (0.5, 0.25, False),
    "gba_low": (0.004, 0.0005, False),
}
# Changes of the arm `gba`: what may cause drift, and what may stop it.
CHANGES: dict[str, dict[str, Any]] = {
    "gba_frozen_bias": {"frozen_after": 1 / 3},
    "gba_low_lr": {"lr": 4e-3},
    "gba_constant_lr": {"lr_decay": 0.0},
    "gba_trained_b_dec": {"centred": True},
    "gba_slow": {"rate": 0.01},
    # As the method is described.
    "gba_plain": {"lr": 2e-3, "scale": 1.0, "centred": True, "rate": 0.01},
}
# k with the weights and the scales of bias adaptation. 11.5 directions make a sample on average.
TOPK = {"topk12": 12, "topk20": 20, "topk30": 30, "topk50": 50}
L1 = {"l1_0.3": 0.3, "l1_1": 1.0, "l1_3": 3.0}
UNTIED = ("topk20_untied", "frozen", "soft_frozen")
UNTRAINED = ("random", "dictionary_learning")
DRAWN = {"steered": STEERED, "changes": ("gba", *CHANGES), "topk": ("gba", *TOPK, *UNTIED[:1])}
# Arms without a question about the length of training.
ONCE = (*L1, "frozen", "soft_frozen", *UNTRAINED)
USUAL_K, SOFT, MEASURED, FEWEST = 20, 0.8, 4096, 5
LARGER = ("gba_full_jump", "l1_0.3", "l1_3")  # not in `small`
FAR = 8  # times the frequency of the features
SPEC: dict[str, Any] = {
    "seeds": 3,
    "resonance": {
        "n_features": 256,
        "active": [3],
        "n_samples": 20_000,
        "neurons": 1024,
        "batch_size": 3000,
        "iterations": 25,
        "dims": [96, 32],
        # The features' own frequency is 3/256.
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
        "rate": 0.2,
        "scale": 0.1,
        "samples": 2560,
        "steps": [1000, 2000, 4000],
        "components": 256,
        "alpha": 0.1,
        "passes": 2,
        "arms": [*STEERED, *CHANGES, *TOPK, *UNTIED, *L1, *UNTRAINED],
    },
    "orbit": {
        "sources": ["toy", "shapes"],
        "atoms": 96,
        "groups": 3,
        "samples": 250,
        "arms": ["orbit_gba", "orbit_gba_wide", "orbit_topk_few", "orbit_topk_many"],
        # Highest and lowest target, or k, in the order of the arms.
        "choices": {
            "toy": [[0.1, 0.02], [0.2, 0.02], 2, 8],
            "shapes": [[0.5, 0.02], [0.5, 0.005], 4, 16],
        },
        "n_samples": 4000,
        "epochs": 60,
        "batch_size": 256,
        "lr": 5e-3,
        "rate": 0.2,
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
        "active": [1],
        "n_samples": 1000,
        "neurons": 96,
        "batch_size": 1000,
        "iterations": 5,
        "dims": [16, 4],
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
SMALL = {
    **SPEC,
    "mixture": {
        **SPEC["mixture"],
        "steps": [1000, 4000],
        "arms": [arm for arm in SPEC["mixture"]["arms"] if arm not in LARGER],
    },
    "orbit": {**SPEC["orbit"], "n_samples": 2000, "model_epochs": 5, "model_samples": 2048},
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": SMOKE,
    "small": SMALL,
    "medium": SPEC,
    "full": {**SPEC, "seeds": 5},
}
# What tells the jobs of a part apart, and the setting that lists it.
VARIED = {
    "resonance": {"dim": "dims"},
    "orbit": {"source": "sources", "arm": "arms"},
    "mixture": {"arm": "arms"},
}
# For each table its part, what tells its lines apart, and its figures.
CODES, FRR = ["l0", "dead_share", "normalised_mse"], ["frr_0.8", "frr_0.9"]
FOUND = ["recovery", "frr_0.9", "detection_top1", "detection_top4"]
MEANS = {
    "results.csv": ("mixture", ["arm", "steps"], [*FRR, *CODES]),
    "resonance.csv": ("resonance", ["dim", "frequency", "times_f"], FRR),
    "agreement.csv": ("agreement", ["arm", "steps"], ["firing", "mcs_mean", "mcs_above_0.9"]),
    "orbit.csv": ("orbit", ["source", "arm"], [*FOUND, *CODES]),
}


@final
class ScaledTopK(Sparsity):
    """TopK with what bias adaptation has besides its feedback: one set of weights, and scales."""

    ties = True

    def __init__(self, k: int, latents: int, scale: float) -> None:
        super().__init__()
        self.k = k
        self.scales = nn.Parameter(torch.full((latents,), scale))

    def forward(self, pre: StackedCodes) -> StackedCodes:
        """Return the scaled codes."""
        return TopK(self.k)(pre) * self.scales.unsqueeze(-2)

    def of_entries(self, pre: SparseCodes) -> Float[Tensor, " entries"]:
        """Return the scaled codes of the entries that are kept."""
        return at_columns(self.scales.flatten(), pre.pattern) * torch.relu(pre.values)


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """One job for each dimension, arm and seed; the agreement of seeds comes after them."""
    every = []
    for seed, (part, varied) in product(range(settings["seeds"]), VARIED.items()):
        own = settings[part]
        for values in product(*(own[name] for name in varied.values())):
            name = "-".join([part, *map(str, values), f"seed{seed}"])
            chosen = dict(zip(varied, values, strict=True))
            every.append(Job(name, {**own, **chosen, "part": part, "seed": seed}))
    agreement = {**settings["mixture"], "part": "agreement", "seeds": settings["seeds"]}
    return [*every, Job("agreement", agreement, phase=1)]


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Do one part."""
    parts = {"resonance": resonance, "mixture": mixture, "agreement": agreement, "orbit": orbits}
    own = parts[arguments["part"]]
    return [{"part": arguments["part"], **row} for row in own(arguments, folder)]


def resonance(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Recovery of decoupled neurons by their target frequency."""
    del folder
    dim, seed = arguments["dim"], arguments["seed"]
    data, rows = data_of(arguments, seed), []
    for frequency in arguments["frequencies"]:
        W = single_bias_adaptation(
            data.values,
            arguments["neurons"],
            frequency=frequency,
            iterations=arguments["iterations"],
            batch_size=arguments["batch_size"],
            seed=seed,
        )
        key = {"dim": dim, "frequency": frequency, "times_f": frequency / data.frequency}
        rows.append({**key, "seed": seed, **recovered(W, data)})
    return rows


def data_of(arguments: Mapping[str, Any], seed: int) -> SparseMixtures:
    """The samples of a part."""
    names = ("n_samples", "n_features", "dim", "active")
    return sparse_mixtures(**{name: arguments[name] for name in names}, seed=seed)


def recovered(W: Float[Tensor, "latents dim"], data: SparseMixtures) -> dict[str, float]:
    """Share of directions with a latent near by."""
    rate = partial(metrics.feature_recovery_rate, W, data.features)
    return {f"frr_{tau}": rate(threshold=tau) for tau in (0.8, 0.9)}


def mixture(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Train one arm for each number of steps, and measure it."""
    # The same samples for all seeds, so that dictionaries can agree.
    data, arm, seed = data_of(arguments, 0), arguments["arm"], arguments["seed"]
    lengths = arguments["steps"][-1:] if arm in ONCE else arguments["steps"]
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
        key = {"arm": arm, "steps": steps, "seed": seed}
        told = figures(data.values[: len(codes)], x_hat, codes)
        rows.append({**key, **recovered(W, data), **told})
    return rows


def figures(
    x: Float[Tensor, "n dim"], x_hat: Float[Tensor, "n dim"], codes: Float[Tensor, "n latents"]
) -> dict[str, float]:
    """What codes and reconstructions tell without the truth."""
    return {
        "l0": metrics.l0(codes).mean().item(),
        "dead_share": metrics.dead_latents(codes).item() / codes.shape[1],
        "normalised_mse": metrics.normalised_mse(x, x_hat).item(),
    }


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
    arm = arguments["arm"]
    sae, change = built(arguments), CHANGES.get(arm, {})
    if arm == "random":
        return sae
    if arm == "soft_frozen":
        return softly_frozen(sae, x, arguments, steps)
    epochs = max(1, round(steps * arguments["batch_size"] / len(x)))
    decay = change.get("lr_decay", arguments["lr_decay"])
    fit = partial(
        ol.fit,
        sae,
        ol.store_from_array(x[:, None], group="C1"),
        samples=np.arange(len(x)),
        batch_size=arguments["batch_size"],
        lr=change.get("lr", arguments["lr"]),
        seed=arguments["seed"],
    )
    if arm in L1:
        weight = partial(ol.objectives.l1_reconstruction, weight=L1[arm])
        fit(objective=weight, epochs=epochs, lr_decay=decay)
    elif arm in TOPK:
        fit(epochs=epochs, lr_decay=decay, revival_weight=0.0)
    elif "frozen_after" in change:
        first = max(1, round(epochs * change["frozen_after"]))
        fit(epochs=first, lr_decay=0.0)
        sae.sparsity.gamma_minus = sae.sparsity.gamma_plus = 0.0
        left = max(1, epochs - first)
        fit(epochs=left, lr_decay=min(1.0, decay * epochs / left))
    else:
        fit(epochs=epochs, lr_decay=decay)
    return sae


def built(arguments: Mapping[str, Any]) -> SAE:
    """Return the untrained SAE of an arm."""
    arm, latents, dim, seed = (arguments[name] for name in ("arm", "latents", "dim", "seed"))
    dictionary = FreeDictionary(latents, dim, seed=seed)
    if arm in L1:
        return ol.sae.compose(ReLU(), dictionary, seed=seed)
    if arm in UNTIED or arm == "random":
        sae = ol.sae.topk_sae(dim, latents, USUAL_K, seed=seed)
        sae.dictionary.W_dec.requires_grad_(arm != "frozen")
        return sae
    change = CHANGES.get(arm, {})
    if arm in TOPK:
        rule = ScaledTopK(TOPK[arm], latents, arguments["scale"])
        sae = SAE(TransposedEncoder(dictionary), rule, dictionary)
    else:
        highest, lowest, jump = STEERED.get(arm, STEERED["gba"])
        chosen = feedback({**arguments, **change}, highest, lowest)
        sae = ol.sae.bias_adaptation_sae(dim, latents, jump=jump, **chosen)
    # A bias of the input that is free to move undoes the biases of the latents.
    sae.dictionary.b_dec.requires_grad_(change.get("centred", False))
    return sae


def feedback(arguments: Mapping[str, Any], highest: float, lowest: float) -> dict[str, Any]:
    """The settings of bias adaptation."""
    return {
        "htf": highest,
        "ltf": lowest,
        # Fewer expected firings than this cannot be told from none.
        "samples": max(arguments["samples"], round(FEWEST / lowest)),
        "gamma_minus": arguments["rate"],
        "gamma_plus": arguments["rate"],
        **{name: arguments[name] for name in ("groups", "scale", "seed")},
    }


def softly_frozen(
    sae: SAE, x: Float[Tensor, "n dim"], arguments: Mapping[str, Any], steps: int
) -> SAE:
    """Train an SAE whose directions stay within a cosine of their random start."""
    start = sae.W_dec.detach().clone()
    generator = torch.Generator().manual_seed(arguments["seed"])
    batches = reproduce.draw_batches(len(x), arguments["batch_size"], generator)

    def loss(step: int) -> Float[Tensor, ""]:
        del step
        sae.dictionary.W_dec.data = held_near(sae.dictionary.W_dec.data, start)
        batch = x[next(batches)]
        return (sae(batch).x_hat - batch).square().sum(1).mean()

    list(reproduce.train_steps(sae, loss, checks=[steps], lr=arguments["lr"]))
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
    lasso = {"fit_algorithm": "cd", "transform_algorithm": "lasso_cd", "positive_code": True}
    model = MiniBatchDictionaryLearning(
        arguments["components"],
        **lasso,
        alpha=arguments["alpha"],
        batch_size=arguments["batch_size"],
        max_iter=arguments["passes"],
        transform_alpha=arguments["alpha"],
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
                similar = metrics.max_cosine_similarity(runs[first], runs[second])
                row = {"arm": arm, "steps": steps, "seeds": f"{first}-{second}"}
                near = (similar > 0.9).double().mean().item()
                told = {"firing": len(similar), "mcs_mean": similar.mean().item()}
                rows.append({**row, **told, "mcs_above_0.9": near})
    return rows


def orbits(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Train one orbit SAE, and ask whether it finds and detects the features."""
    source, arm, seed = (arguments[name] for name in ("source", "arm", "seed"))
    found: dict[str, Any] = {"recovery": None, "frr_0.9": None}
    if source == "toy":
        toy = ol.data.toy(n_samples=arguments["n_samples"], canonical="random", seed=seed)
        store, present = ol.store_from_array(toy.orbits, group=toy.group), toy.present
    else:
        effort = {name: arguments[name] for name in ("n_samples", "model_epochs", "model_samples")}
        base = shapes_base(folder, model="mlp", group="C4", seed=seed, **effort)
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
    if source == "toy":
        truth = (sae.W_dec[: arguments["atoms"]].detach(), toy.features)
        near = partial(metrics.feature_recovery_rate, threshold=0.9, matrices=toy.matrices)
        score = metrics.feature_recovery(*truth, toy.matrices).score
        found = {"recovery": score, "frr_0.9": near(*truth)}
    detected = partial(metrics.feature_detection, codes, present[torch.from_numpy(held_out)])
    row = {"source": source, "arm": arm, "seed": seed, **found}
    row |= {f"detection_top{m}": detected(m=m, seed=seed) for m in (1, 4)}
    return [{**row, **figures(x, output.x_hat, output.codes)}]


def orbit_arm(
    arguments: Mapping[str, Any], store: ol.ActivationStore, rho: ol.transport.Transport
) -> SAE:
    """Return the untrained orbit SAE of an arm."""
    dim, atoms, seed = store.dim, arguments["atoms"], arguments["seed"]
    choice = arguments["choices"][arguments["source"]][arguments["arms"].index(arguments["arm"])]
    if isinstance(choice, int):
        return ol.sae.orbit_sae(dim, atoms, choice, rho, seed=seed)
    chosen = feedback(arguments, *choice)
    sae = ol.sae.orbit_sae(dim, atoms, None, rho, sparsity="bias-adaptation", **chosen)
    sae.dictionary.center_(store.orbits(store.split()[0]).mean(0))
    sae.dictionary.bias.requires_grad_(False)
    return sae


def means(name: str, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds, or over pairs of them, for one table."""
    part, by, names = MEANS[name]
    own = [record for record in records if record["part"] == part]
    return summarise(own, by, dict.fromkeys(names, "std"))


# The published table (arXiv 2506.14002, as reported second hand) has 1 for the full range, 0.04 for
# a wrong one, and 0.98, 0.24 and 0.23 for TopK with k 20, 30 and 50.
WANTED = {
    "gba": ("frr_0.9", ">=", 0.9),
    "gba_jump": ("frr_0.9", ">=", 0.9),
    "gba_full": ("frr_0.9", ">=", 0.95),
    "gba_high": ("frr_0.9", "<=", 0.1),
    "gba_low": ("frr_0.9", "<=", 0.1),
    "topk20": ("frr_0.9", ">=", 0.9),
    "topk30": ("frr_0.9", "<=", 0.5),
    "topk50": ("frr_0.9", "<=", 0.5),
    "random": ("frr_0.8", "<=", 0.01),
}
ORDER = ("gba", "topk20", "topk30", "topk50")


def gate(
    part: str, subject: str, figure: str, values: Sequence[float], sign: str, limit: float
) -> dict[str, Any]:
    """The worst of some seeds beside what is wanted."""
    key = {"part": part, "subject": subject, "figure": figure}
    return {**key, **worst_of_seeds(values, sign, limit, digits=3)}


def gates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The worst seed of each promise, beside what is wanted."""
    return [row for part in (resonance_gates, mixture_gates, orbit_gates) for row in part(records)]


def runs_of(
    records: Sequence[Mapping[str, Any]], part: str, *names: str
) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    """The records of a part that agree in these fields, in the order of seeds."""
    runs: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        if record["part"] == part:
            runs.setdefault(tuple(record[name] for name in names), []).append(record)
    return runs


def resonance_gates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Whether the best target is near the frequency of the directions."""
    best: dict[int, list[Mapping[str, Any]]] = {}
    for (dim, _), run in runs_of(records, "resonance", "dim", "seed").items():
        best.setdefault(dim, []).append(max(run, key=lambda record: record["frr_0.9"]))
    wide, narrow = best
    places = [record["times_f"] for record in best[wide]]
    peaks, lower = ([record["frr_0.9"] for record in best[dim]] for dim in best)
    every = runs_of(records, "resonance", "dim")[wide,]
    far = [record["frr_0.9"] for record in every if record["times_f"] >= FAR]
    steps = [low - peak for low, peak in zip(lower, peaks, strict=True)]
    subject, at_best = f"d = {wide}", "frr_0.9 at the best p"
    return [
        gate("resonance", subject, "best p over f", places, ">=", 1 / 3),
        gate("resonance", subject, "best p over f", places, "<=", 2.0),
        gate("resonance", subject, at_best, peaks, ">=", 0.9),
        gate("resonance", subject, "frr_0.9 far above f", far, "<=", 0.1),
        gate("resonance", f"d = {narrow} minus {subject}", at_best, steps, "<=", 0.0),
    ]


def mixture_gates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Whether arms find what the published table has them find, and in which order."""
    rows, runs = [], runs_of(records, "mixture", "steps", "arm")
    for (steps, arm), run in runs.items():
        if arm in WANTED:
            figure, sign, limit = WANTED[arm]
            values = [record[figure] for record in run]
            rows.append(gate("mixture", f"{arm}, {steps} steps", figure, values, sign, limit))
    for steps, (first, second) in product(dict.fromkeys(key[0] for key in runs), pairwise(ORDER)):
        pairs = zip(runs[steps, first], runs[steps, second], strict=True)
        over = [one["frr_0.9"] - other["frr_0.9"] for one, other in pairs]
        subject = f"{first} minus {second}, {steps} steps"
        rows.append(gate("mixture", subject, "frr_0.9", over, ">=", 0.0))
    return rows


def orbit_gates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Whether bias adaptation detects more than TopK does, with each k."""
    rows, figure = [], "detection_top1"
    runs = runs_of(records, "orbit", "source", "arm")
    for (source, arm), run in runs.items():
        if "topk" in arm:
            pairs = zip(runs[source, "orbit_gba"], run, strict=True)
            over = [one[figure] - other[figure] for one, other in pairs]
            rows.append(gate("orbit", f"{source}, orbit_gba minus {arm}", figure, over, ">=", 0.0))
    return rows


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw recovery by frequency, and by the length of training."""
    rows, panels = by_panel(tables["resonance.csv"], "frr_0.9", "d = {dim}", "std")
    line_panels(
        [{**row, "target": "frr_0.9", "p": float(f"{row['frequency']:.3g}")} for row in rows],
        folder / "resonance.png",
        x=("p", "target frequency p"),
        series="target",
        metrics=panels,
        title="Features found by decoupled neurons: mean and standard deviation over seeds",
    )
    for name, arms in DRAWN.items():
        line_panels(
            [row for row in tables["results.csv"] if row["arm"] in arms],
            folder / f"{name}.png",
            x=("steps", "steps of training"),
            series="arm",
            metrics=dict.fromkeys([*FRR, "l0", "normalised_mse"], "std"),
            title="Imbalanced mixture: mean and standard deviation over seeds",
            dodge=0.3,
        )


RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    budgets=BUDGETS,
    jobs=jobs,
    compute=compute,
    tables={**{name: partial(means, name) for name in MEANS}, "gates.csv": gates},
    plot=plot,
)

if __name__ == "__main__":
    main(RECIPE)
