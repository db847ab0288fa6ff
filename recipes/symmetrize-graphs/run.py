"""Cycle pairs: does a symmetrized MLP tell graphs apart that no message passing separates?

Source: Kim et al. 2023, arXiv 2306.02866; the task stands in for EXP-classify, see the page.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import orbitlens as ol
from orbitlens.reproduce import (
    Job,
    Recipe,
    by_panel,
    draw_batches,
    keep_network,
    layer_figures,
    layer_table,
    line_panels,
    main,
    summarise,
    train_steps,
)
from orbitlens.symmetry import Symmetrized, symmetrize
from orbitlens.symmetry.symmetrize import FrameHead, Frames, PermutationHead


class Arm(NamedTuple):
    """How an arm is symmetrized, the settings of its head, and what else differs from the rest."""

    how: str | None  # None: a network as it is
    head: Mapping[str, Any] = {}
    settings: Mapping[str, Any] = {}


# Twelve nodes leave wide gaps between scores, as 64 nodes do not; this tau is as large beside them.
_WARM = {"tau": 0.12}
_FEW = {"train": 50}
ARMS = {
    "probabilistic": Arm("probabilistic"),
    "soft_permutations": Arm("probabilistic", {"hard": False}),
    "soft_without_penalty": Arm("probabilistic", {"hard": False}, {"entropy": 0.0}),
    "fixed_noise": Arm("probabilistic"),
    "canonical": Arm("probabilistic", {"noise_scale": 0.0}),
    "average": Arm("average"),
    "augmentation": Arm(None),
    "gin": Arm(None),
    "untrained": Arm("probabilistic"),
    "probabilistic_tau_0.12": Arm("probabilistic", _WARM),
    "soft_permutations_tau_0.12": Arm("probabilistic", {"hard": False, **_WARM}),
    "probabilistic_50_graphs": Arm("probabilistic", {}, _FEW),
    "fixed_noise_50_graphs": Arm("probabilistic", {}, _FEW),
}
# The arms of each panel of the figure, and the part of their names that the panel says.
PANELS = {
    "the method and its rivals": (
        ("probabilistic", "canonical", "average", "augmentation", "augmentation_averaged", "gin"),
        "",
    ),
    "other frames": (
        ("probabilistic", "soft_permutations", "soft_without_penalty", "fixed_noise"),
        "",
    ),
    "tau 0.12": (("probabilistic_tau_0.12", "soft_permutations_tau_0.12"), "_tau_0.12"),
    "50 training graphs": (("probabilistic_50_graphs", "fixed_noise_50_graphs"), "_50_graphs"),
}
KEPT = "probabilistic"
FIRST_SEED = 5  # seeds 0 to 4 chose the momentum of the batch norms in the graph network
FULL: dict[str, Any] = {
    "arms": list(ARMS),
    "seeds": 10,
    "nodes": 12,
    "hidden": [512, 512],
    "train": 800,
    "test": 400,
    "k": 10,
    "batch": 100,
    "checks": [200, 400, 1000, 2000],
    "lr": 1e-3,
    "warmup": 200,
    "clip": 0.1,
    "entropy": 0.1,
    "gin": {"hidden": 32, "layers": 3, "tau": 0.01, "sinkhorn_steps": 20},
    "report_k": 50,
    "reported": 400,
    "reported_arms": ["probabilistic", "canonical", "average", "augmentation"],
    "samples": [1, 10, 100, 1000],
    "free_seeds": 20,
}
SMALL = {
    **FULL,
    "seeds": 3,
    "k": 5,
    "batch": 64,
    "checks": [200, 400],
    "reported": 200,
    "gin": {**FULL["gin"], "sinkhorn_steps": 6},
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SMALL,
        "seeds": 1,
        "hidden": [32, 32],
        "train": 32,
        "test": 60,
        "k": 2,
        "batch": 16,
        "checks": [1, 2],
        "report_k": 2,
        "reported": 50,
        "reported_arms": ["probabilistic"],
        "samples": [1, 10],
        "free_seeds": 2,
    },
    "small": SMALL,
    "medium": {**SMALL, "seeds": 5, "checks": [200, 400, 1000]},
    "full": FULL,
}


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """One job for each arm and seed, and one for each seed of the check without training."""
    training = [
        Job(f"{arm}-seed{seed}", {**settings, "arm": arm, "seed": seed})
        for seed in range(FIRST_SEED, FIRST_SEED + settings["seeds"])
        for arm in settings["arms"]
    ]
    free = [
        Job(f"free-seed{seed}", {**settings, "arm": None, "seed": seed})
        for seed in range(settings["free_seeds"])
    ]
    return training + free


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Train and test one arm, or measure untrained networks."""
    if arguments["arm"] is None:
        return list(_free(arguments))
    return list(_trained({**arguments, **ARMS[arguments["arm"]].settings}, folder))


class AdjacencyMLP(nn.Module):
    """An MLP that reads the adjacency matrix as a vector: any order of the nodes is another."""

    def __init__(self, nodes: int, hidden: Sequence[int], out: int) -> None:
        super().__init__()
        self.nodes = nodes
        widths = [nodes**2, *hidden]
        self.hidden = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))
        self.out = nn.Linear(widths[-1], out)

    def forward(self, graphs: Float[Tensor, "n nodes columns"]) -> Float[Tensor, "n out"]:
        """Return the outputs for each graph."""
        h = graphs[:, :, : self.nodes].flatten(1)
        for layer in self.hidden:
            h = layer(h).relu()
        return self.out(h)


class GraphNetwork(nn.Module):
    """The graph network of the heads, alone: message passing with a virtual node, then a mean."""

    def __init__(self, settings: Mapping[str, Any], seed: int) -> None:
        super().__init__()
        self.gin = PermutationHead(1, **settings, seed=seed).gin

    def forward(self, graphs: Float[Tensor, "n nodes columns"]) -> Float[Tensor, "n 1"]:
        """Return one logit for each graph."""
        nodes = graphs.shape[1]
        scores = self.gin(graphs[:, None, :, nodes:], graphs[:, :, :nodes], None)
        return scores.mean(2)


class FixedNoise(FrameHead):
    """A head whose noise does not depend on the input: the same for every graph and every call."""

    def __init__(self, head: PermutationHead) -> None:
        super().__init__()
        self.head = head

    def forward(
        self,
        inputs: Float[Tensor, "n nodes columns"],
        n_samples: int,
        generator: torch.Generator | None = None,
        noise: Float[Tensor, "n samples nodes noise"] | None = None,
        mask: Bool[Tensor, "n nodes"] | None = None,
    ) -> Frames:
        """Return the frames for the one noise; moved graphs do not have moved frames."""
        del generator, noise
        one = self.head.draw_noise(inputs[:1], n_samples, torch.Generator().manual_seed(0))
        return self.head(inputs, n_samples, noise=one.expand(len(inputs), -1, -1, -1), mask=mask)


def _build(arguments: Mapping[str, Any]) -> nn.Module:
    """Return the untrained network of an arm; MLPs of one seed start from the same weights."""
    seed, nodes = arguments["seed"], arguments["nodes"]
    how, settings, _ = ARMS[arguments["arm"]]
    if arguments["arm"] == "gin":
        return GraphNetwork(arguments["gin"], seed)
    torch.manual_seed(seed)
    network = AdjacencyMLP(nodes, arguments["hidden"], 1)
    if how is None:
        return network
    head: FrameHead | None = None
    # Without noise the head is a canonicaliser; how="canonical" would warn that all nodes are tied.
    if how == "probabilistic":
        head = PermutationHead(1, **{**arguments["gin"], **settings}, seed=seed)
    if arguments["arm"].startswith("fixed_noise"):
        head = FixedNoise(head)
    return symmetrize(
        network,
        ol.actions.relabelling(nodes),
        how,
        n_samples=1 if arguments["arm"] == "canonical" else arguments["k"],
        head=head,
        seed=seed,
    )


def _in_a_container(model: nn.Module) -> nn.Module:
    """Return a network whose prediction is the output of a layer, so that it can be measured."""
    return nn.Sequential(OrderedDict(prediction=model))


def _kept(arguments: Mapping[str, Any]) -> nn.Module:
    """Return the untrained network that is kept."""
    return _in_a_container(_build(arguments))


def _keep(
    model: Symmetrized, test: ol.data.Inputs, arguments: Mapping[str, Any], folder: Path
) -> None:
    """Keep a network with graphs, whose nodes a ring moves: the whole group is too large."""
    model.n_samples = arguments["k"]
    keep_network(
        folder,
        KEPT,
        _in_a_container(model),
        arguments,
        inputs=test.values[: arguments["reported"]],
        action=ol.actions.graphs(f"C{arguments['nodes']}"),
        layer="prediction",
        seed_forward=0,
    )


def _trained(arguments: Mapping[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Train one arm; yield its accuracies, and the report of its layers."""
    arm, seed = arguments["arm"], arguments["seed"]
    train, test = (
        ol.data.cycle_pairs(arguments[part], nodes=arguments["nodes"], seed=2 * seed + i)
        for i, part in enumerate(("train", "test"))
    )
    model = _build(arguments)
    named = {"arm": arm, "seed": seed, "parameters": sum(p.numel() for p in model.parameters())}
    for steps, seconds in train_steps(
        model,
        _loss(model, train, arguments),
        checks=[0] if arm == "untrained" else arguments["checks"],
        lr=arguments["lr"],
        warmup=arguments["warmup"],
        clip=arguments["clip"],
    ):
        for name, accuracy in _accuracies(model, test, arguments):
            figures = {"steps": steps, "accuracy": accuracy, "seconds": round(seconds, 1)}
            yield {**named, "arm": name, **figures}
    if arm in arguments["reported_arms"]:
        yield from _layers(model, test, arguments)
    if arm == KEPT and seed == FIRST_SEED:
        _keep(model, test, arguments, folder)


def _loss(
    model: nn.Module, train: ol.data.Inputs, arguments: Mapping[str, Any]
) -> Callable[[int], Float[Tensor, ""]]:
    """Return the loss of a step: of the mean logit and the penalty, or of relabelled copies."""
    generator = torch.Generator().manual_seed(arguments["seed"])
    batches = draw_batches(len(train.values), arguments["batch"], generator)
    labels, copies = torch.from_numpy(train.labels).float(), arguments["k"]

    def loss(step: int) -> Float[Tensor, ""]:
        chosen = next(batches)
        graphs, wanted = train.values[chosen], labels[chosen]
        if isinstance(model, Symmetrized):
            found = model.predict(graphs)
            fit = binary_cross_entropy_with_logits(found.mean[:, 0], wanted)
            return fit + arguments["entropy"] * found.penalty.mean()
        if arguments["arm"] == "augmentation":
            action = ol.actions.relabelling(arguments["nodes"])
            graphs = graphs.repeat_interleave(copies, 0)
            graphs = action(graphs, action.draw(len(graphs), generator, graphs))
            wanted = wanted.repeat_interleave(copies)
        return binary_cross_entropy_with_logits(model(graphs)[:, 0], wanted)

    return loss


@torch.no_grad()
def _accuracies(
    model: nn.Module, test: ol.data.Inputs, arguments: Mapping[str, Any]
) -> Iterator[tuple[str, float]]:
    """Test a network; a plain MLP is also tested as the mean over relabelled graphs."""
    tested = {arguments["arm"]: model}
    if arguments["arm"] == "augmentation":
        action = ol.actions.relabelling(arguments["nodes"])
        tested["augmentation_averaged"] = symmetrize(
            model, action, "average", n_samples=arguments["k"], seed=arguments["seed"]
        )
    for name, network in tested.items():
        network.eval()
        answers = network(test.values)[:, 0] > 0
        yield name, float((answers.numpy() == test.labels).mean())


def _layers(
    model: nn.Module, test: ol.data.Inputs, arguments: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the layer report under a subgroup: S3, which moves nodes six by six."""
    group = ol.groups.from_name("S3")
    blocks = np.arange(0, arguments["nodes"], group.order)
    permutations = (group.table[:, None] + blocks[:, None]).reshape(group.order, -1)
    network = model
    if isinstance(model, Symmetrized):
        network = model.network
        model.n_samples = 1 if arguments["arm"] == "canonical" else arguments["report_k"]
    for figures in layer_figures(
        model,
        {f"hidden{i}": layer for i, layer in enumerate(network.hidden, 1)},
        inputs=test.values[: arguments["reported"]],
        action=ol.actions.graphs(group, permutations),
        seed=arguments["seed"],
    ):
        yield {"arm": arguments["arm"], "seed": arguments["seed"], **figures}


def _edges(nodes: int, edges: Sequence[tuple[int, int]]) -> Float[Tensor, "1 nodes columns"]:
    """Return one graph as inputs: its adjacency matrix and the degrees."""
    adjacency = torch.zeros(nodes, nodes)
    for i, j in edges:
        adjacency[i, j] = adjacency[j, i] = 1
    return torch.cat([adjacency, adjacency.sum(1, keepdim=True)], 1)[None]


def _symmetric_graphs() -> dict[str, tuple[Float[Tensor, "1 nodes columns"], list[int]]]:
    """Return graphs with symmetries of their own, and the orbit of each node under these."""
    side = 5
    places = [divmod(i, side) for i in range(side**2)]
    near = [
        (side * y + x, side * (y + down) + x + right)
        for y, x in places
        for down, right in ((0, 1), (1, 0))
        if y + down < side and x + right < side
    ]
    # Turns and flips of the square keep the two distances from its centre lines.
    corners = [tuple(sorted((abs(y - 2), abs(x - 2)))) for y, x in places]
    kinds = sorted(set(corners))
    return {
        "grid 5x5": (_edges(side**2, near), [kinds.index(each) for each in corners]),
        "cycle 7": (_edges(7, [(i, (i + 1) % 7) for i in range(7)]), [0] * 7),
        "star 7": (_edges(7, [(0, i) for i in range(1, 7)]), [0, *[1] * 6]),
    }


FREE: dict[str, dict[str, Any] | None] = {
    "probabilistic": {},
    "average": None,
    "canonical": {"noise_scale": 0.0, "ties": "order"},
    "canonical_random_ties": {"noise_scale": 0.0},
}


@torch.no_grad()
def _free(arguments: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the spread of node embeddings within orbits, for untrained networks and heads."""
    seed = arguments["seed"]
    for graph, (inputs, orbits) in _symmetric_graphs().items():
        nodes = inputs.shape[1]
        torch.manual_seed(seed)
        network = nn.Sequential(AdjacencyMLP(nodes, [64], nodes), nn.Unflatten(1, (nodes, 1)))
        for method, settings in FREE.items():
            head = None
            if settings is not None:
                head = PermutationHead(1, **arguments["gin"], **settings, seed=seed)
            model = symmetrize(
                network,
                ol.actions.relabelling(nodes),
                "average" if settings is None else "probabilistic",
                output=ol.actions.relabelling(nodes, pairs=False),
                head=head,
                seed=seed,
            ).eval()
            for samples in arguments["samples"]:
                embeddings = model.predict(inputs, n_samples=samples).mean[0, :, 0]
                yield {
                    "graph": graph,
                    "method": method,
                    "seed": seed,
                    "samples": samples,
                    "deviation": _deviation(embeddings, torch.tensor(orbits)),
                }


def _deviation(embeddings: Float[Tensor, " nodes"], orbits: Int[Tensor, " nodes"]) -> float:
    """Return the standard deviation within orbits, pooled over the orbits."""
    parts = [embeddings[orbits == orbit] for orbit in orbits.unique()]
    squares = sum(float((part - part.mean()).square().sum()) for part in parts)
    return math.sqrt(squares / sum(len(part) - 1 for part in parts))


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds, and the worst seed."""
    measured = [record for record in records if "accuracy" in record]
    metrics = {"accuracy": "std", "seconds": "std"}
    rows = summarise(measured, ["arm", "steps", "parameters"], metrics)
    for row in rows:
        own = [r for r in measured if (r["arm"], r["steps"]) == (row["arm"], row["steps"])]
        row["accuracy_worst"] = min(record["accuracy"] for record in own)
        row["accuracy_best"] = max(record["accuracy"] for record in own)
    return rows


def within_orbits(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over untrained networks."""
    measured = [record for record in records if "deviation" in record]
    return summarise(measured, ["graph", "method", "samples"], {"deviation": "std"})


def slopes(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The slope of log deviation against log k, fitted for each network, over networks."""
    curves: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    for record in records:
        if "deviation" in record:
            key = (record["graph"], record["method"], record["seed"])
            point = (math.log(record["samples"]), math.log(record["deviation"]))
            curves.setdefault(key, []).append(point)
    fitted = [
        {"graph": graph, "method": method, "slope": float(np.polyfit(*np.transpose(curve), 1)[0])}
        for (graph, method, _), curve in curves.items()
    ]
    return summarise(fitted, ["graph", "method"], {"slope": "std"})


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw the accuracies by step, and the deviations within orbits by the number of samples."""
    accuracies = [
        {**row, "panel": panel, "arm": row["arm"].removesuffix(suffix)}
        for panel, (arms, suffix) in PANELS.items()
        for row in tables["results.csv"]
        if row["arm"] in arms and row["steps"]
    ]
    rows, metrics = by_panel(accuracies, "accuracy", "{panel}", spread="std")
    line_panels(
        rows,
        folder / "accuracy.png",
        x=("steps", "steps"),
        series="arm",
        metrics=metrics,
        title="Cycle pairs, accuracy: mean and standard deviation over seeds",
        dodge=0.4,
    )
    rows, metrics = by_panel(tables["within_orbit.csv"], "deviation", "{graph}", spread="std")
    line_panels(
        rows,
        folder / "within_orbit.png",
        x=("samples", "samples k"),
        series="method",
        metrics=metrics,
        title="Deviation of node embeddings within orbits, untrained networks",
        log=True,
        dodge=0.3,
    )


RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    budgets=BUDGETS,
    jobs=jobs,
    compute=compute,
    tables={
        "results.csv": results,
        "within_orbit.csv": within_orbits,
        "slopes.csv": slopes,
        "layers.csv": partial(layer_table, by=["arm"]),
    },
    plot=plot,
    network=_kept,
)

if __name__ == "__main__":
    main(RECIPE)
