"""The R^2 of the transport on activations of the Shapes autoencoders.

Source: Erdogan & Lucic, arXiv 2511.09432, Table 1.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orbitlens as ol
from orbitlens.errors import missing_extra
from orbitlens.files import new_file
from orbitlens.reproduce import Job, Recipe, main, summarise
from orbitlens.reproduce.shapes import shapes_base
from orbitlens.typing import Tensor

FULL = {
    "models": ["mlp", "cnn"],
    "groups": ["C4", "D4"],
    "seeds": 3,
    "model_epochs": 100,
    "model_samples": 10_000,
    "n_samples": 4096,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **FULL,
        "groups": ["C4"],
        "seeds": 2,
        "model_epochs": 1,
        "model_samples": 64,
        "n_samples": 60,
    },
    "small": {**FULL, "models": ["mlp"], "seeds": 1, "model_epochs": 50},
    "medium": {**FULL, "seeds": 1},
    "full": FULL,
}
METHODS = ("gradient", "least_squares")
METRICS = {"r2_trained": "stderr", "r2_identity": "stderr", "relation_error": "stderr"}


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """One job for each network."""
    return [
        Job(
            f"{model}-{group}-seed{seed}",
            {**settings, "model": model, "group": group, "seed": seed},
        )
        for seed in range(settings["seeds"])
        for model in settings["models"]
        for group in settings["groups"]
    ]


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Train one network, fit its transports and measure them on held-out orbits."""
    base = shapes_base(
        folder,
        model=arguments["model"],
        group=arguments["group"],
        seed=arguments["seed"],
        model_epochs=arguments["model_epochs"],
        model_samples=arguments["model_samples"],
        n_samples=arguments["n_samples"],
    )
    held_out = base.store.orbits(base.store.split()[1]).double()
    records = []
    for method in METHODS:
        settings = {"seed": arguments["seed"]} if method == "gradient" else {}
        rho = ol.fit_transport(base.store, method, **settings)
        for definition, r2 in DEFINITIONS.items():
            for element, name in enumerate(["all", *base.store.group.element_names[1:]]):
                chosen = slice(1, None) if name == "all" else slice(element, element + 1)
                target = held_out[:, chosen]
                moved = held_out[:, 0] @ rho.matrices[chosen].double().mT
                still = held_out[:, :1].expand_as(target)
                records.append(
                    {
                        "dataset": "Shapes",
                        "model": arguments["model"].upper(),
                        "group": arguments["group"],
                        "method": method,
                        "definition": definition,
                        "element": name,
                        "seed": arguments["seed"],
                        "r2_trained": r2(target, moved.transpose(0, 1)),
                        "r2_identity": r2(target, still),
                        "relation_error": rho.relation_error,
                    }
                )
    return records


def strict(target: Tensor, prediction: Tensor) -> float:
    """1 - SSE / SST about the mean of each feature under each element."""
    return _r2(target, prediction, target.mean(0))


def scalar_mean(target: Tensor, prediction: Tensor) -> float:
    """1 - SSE / SST about one number, the mean of all entries: constant features count as power."""
    return _r2(target, prediction, target.mean())


def _r2(target: Tensor, prediction: Tensor, mean: Tensor) -> float:
    return float(1 - (target - prediction).square().sum() / (target - mean).square().sum())


DEFINITIONS = {"strict": strict, "scalar_mean": scalar_mean}


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard error over seeds."""
    keys = ["dataset", "model", "group", "method", "definition", "element"]
    return summarise(records, keys, METRICS)


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw the share that each transport does not predict, 1 - R^2, element by element."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_extra("matplotlib", extra="report") from None
    rows = [
        row
        for row in tables["results.csv"]
        if row["definition"] == "strict" and row["element"] != "all"
    ]
    panels = list(dict.fromkeys((row["model"], row["group"]) for row in rows))
    figure = Figure(figsize=(3.2 * len(panels), 3.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, panel in zip(axes, panels, strict=True):
        for method in METHODS:
            own = [r for r in rows if (r["model"], r["group"], r["method"]) == (*panel, method)]
            missed = [max(1 - row["r2_trained_mean"], 1e-12) for row in own]
            axis.plot([row["element"] for row in own], missed, "o", label=method)
        axis.set_yscale("log")
        axis.set_title(" ".join(panel), fontsize=10)
        axis.tick_params(axis="x", rotation=60)
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("1 - R², held out")
    axes[-1].legend(fontsize=8)
    with new_file(folder / "elements.png") as file:
        figure.savefig(file, dpi=150, format="png", bbox_inches="tight")


RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    budgets=BUDGETS,
    jobs=jobs,
    compute=compute,
    tables={"results.csv": results},
    where={"method": "gradient", "definition": "strict", "element": "all"},
    plot=plot,
)

if __name__ == "__main__":
    main(RECIPE)
