"""Charged bodies: does a symmetrized transformer predict better than an augmented one?

Source: Kim et al. 2023, arXiv 2306.02866, the n-body experiment, in reduced size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import orbitlens as ol
from orbitlens.reproduce import (
    Job,
    Recipe,
    by_panel,
    draw_batches,
    layer_figures,
    layer_table,
    line_panels,
    main,
    summarise,
    train_steps,
)
from orbitlens.symmetry import Symmetrized, symmetrize
from orbitlens.symmetry.symmetrize import RotationHead

BODIES = 5
INPUTS = ol.actions.rotations(f"S{BODIES}xO3", vectors=2, centred=True)
MOVES = ol.actions.rotations(f"S{BODIES}xO3")
# How each arm is symmetrized. None: a network as it is, or no network.
ARMS: dict[str, str | None] = {
    "probabilistic": "probabilistic",
    "average": "average",
    "canonical": "canonical",
    "augmentation": None,
    "plain": None,
    "egnn": None,
}
FULL: dict[str, Any] = {
    "arms": list(ARMS),
    "seeds": 5,
    "train": 3000,
    "test": 2000,
    "width": 64,
    "blocks": 8,
    "egnn": {"hidden": 64, "layers": 4},
    "head": {"hidden": 64, "sinkhorn_steps": 20},
    "k": 20,
    "test_k": 200,
    "batch": 100,
    "checks": [10_000, 300_000],
    "lr": 1e-3,
    "clip": None,
    "entropy": 0.1,
    "report_k": 50,
    "reported": 400,
    "reported_arms": list(ARMS),
}
SMALL = {
    **FULL,
    "seeds": 3,
    "train": 1000,
    "test": 500,
    "width": 32,
    "blocks": 3,
    "egnn": {"hidden": 24, "layers": 4},
    "head": {"hidden": 24, "sinkhorn_steps": 6},
    "k": 4,
    "test_k": 20,
    "checks": [125, 250, 500],
    "report_k": 20,
    "reported": 200,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SMALL,
        "seeds": 1,
        "train": 16,
        "test": 60,
        "width": 8,
        "blocks": 1,
        "k": 2,
        "test_k": 2,
        "batch": 8,
        "checks": [1, 2],
        "report_k": 2,
        "reported": 60,
        "reported_arms": ["probabilistic", "egnn"],
    },
    "small": SMALL,
    "medium": {**SMALL, "seeds": 5, "train": 3000, "test": 1000, "checks": [600, 2000, 6000]},
    "full": FULL,
}


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """One job for each arm and seed."""
    return [
        Job(f"{arm}-seed{seed}", {**settings, "arm": arm, "seed": seed})
        for seed in range(settings["seeds"])
        for arm in (*settings["arms"], "no network")
    ]


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Train and test one arm, or test predictions that need no network."""
    del folder
    n = arguments["train"]
    data = ol.data.n_body(n + arguments["test"], bodies=BODIES, seed=arguments["seed"])
    train = ol.data.NBody(data.inputs[:n], data.targets[:n])
    test = ol.data.NBody(data.inputs[n:], data.targets[n:])
    if arguments["arm"] != "no network":
        return list(_trained(arguments, train, test))
    position, velocity = test.inputs[..., :3], test.inputs[..., 3:6]
    return [
        {"arm": arm, "seed": arguments["seed"], "parameters": 0, "steps": 0, "mse": error.item()}
        for arm, error in (
            ("last position", mse_loss(position, test.targets)),
            ("linear", mse_loss(position + velocity, test.targets)),
        )
    ]


class PairTransformer(nn.Module):
    """A transformer on all ordered pairs of bodies, with learned places: it knows no symmetry.

    Each pair is a token of both states about the centroid, the product of the charges and the
    squared distance. A body moves by a linear map of the mean over its pairs.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.embed = nn.Linear(2 * 7 + 2, width)
        self.places = nn.Parameter(0.02 * torch.randn(BODIES**2, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(blocks)
        )
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3))

    def forward(self, states: Float[Tensor, "n bodies columns"]) -> Float[Tensor, "n bodies 3"]:
        """Return how far each body moves."""
        states, _ = INPUTS.centre(states)
        first, second = torch.broadcast_tensors(states[:, :, None], states[:, None])
        charges = first[..., 6:] * second[..., 6:]
        distances = (first - second)[..., :3].square().sum(3, keepdim=True)
        h = self.embed(torch.cat([first, second, charges, distances], 3).flatten(1, 2))
        h = h + self.places
        for block in self.blocks:
            h = block(h)
        return self.out(h.unflatten(1, (BODIES, BODIES)).mean(2))


class MovesOfEGNN(nn.Module):
    """The equivariant network, with its answer as the way from the first position."""

    def __init__(self, hidden: int, layers: int, seed: int) -> None:
        super().__init__()
        self.network = ol.models.EGNN(1, hidden, layers, seed)

    def forward(self, states: Float[Tensor, "n bodies columns"]) -> Float[Tensor, "n bodies 3"]:
        """Return how far each body moves."""
        return self.network(states) - states[..., :3]


def _build(arguments: Mapping[str, Any]) -> nn.Module:
    """Return the untrained network of an arm; transformers of one seed start from one another."""
    arm, seed = arguments["arm"], arguments["seed"]
    if arm == "egnn":
        return MovesOfEGNN(**arguments["egnn"], seed=seed)
    torch.manual_seed(seed)
    network = PairTransformer(arguments["width"], arguments["blocks"])
    how = ARMS[arm]
    if how is None:
        return network
    noise = {"noise_scale": 0.0, "ties": "order"} if how == "canonical" else {}
    head = None
    if how != "average":
        head = RotationHead(2, 1, permutes=True, **arguments["head"], **noise, seed=seed)
    samples = None if how == "canonical" else arguments["k"]
    return symmetrize(network, INPUTS, how, MOVES, n_samples=samples, head=head, seed=seed)


def _trained(
    arguments: Mapping[str, Any], train: ol.data.NBody, test: ol.data.NBody
) -> Iterator[dict[str, Any]]:
    """Train one arm; yield its errors, and the report of its layers."""
    model = _build(arguments)
    named = {
        "arm": arguments["arm"],
        "seed": arguments["seed"],
        "parameters": sum(each.numel() for each in model.parameters()),
    }
    for steps, seconds in train_steps(
        model,
        _loss(model, train, arguments),
        checks=arguments["checks"],
        lr=arguments["lr"],
        clip=arguments["clip"],
    ):
        for arm, error in _errors(model, test, arguments):
            figures = {"steps": steps, "mse": error, "seconds": round(seconds, 1)}
            yield {**named, "arm": arm, **figures}
    if arguments["arm"] in arguments["reported_arms"]:
        yield from _layers(model, test, arguments)


def _loss(
    model: nn.Module, train: ol.data.NBody, arguments: Mapping[str, Any]
) -> Callable[[int], Float[Tensor, ""]]:
    """Return the loss of a step: each asks the network for batch * k answers, in every arm.

    Symmetrized networks take k frames of each state, augmentation k moved copies, and the others
    k times as many states.
    """
    generator = torch.Generator().manual_seed(arguments["seed"])
    arm, k, batch = arguments["arm"], arguments["k"], arguments["batch"]
    single = arm in ("plain", "egnn", "canonical")
    batches = draw_batches(len(train.inputs), batch * k if single else batch, generator)
    moves = train.targets - train.inputs[..., :3]

    def loss(step: int) -> Float[Tensor, ""]:
        chosen = next(batches)
        states, wanted = train.inputs[chosen], moves[chosen]
        if isinstance(model, Symmetrized):
            found = model.predict(states)
            return mse_loss(found.mean, wanted) + arguments["entropy"] * found.penalty.mean()
        if arm == "augmentation":
            states, wanted = (each.repeat_interleave(k, 0) for each in (states, wanted))
            elements = INPUTS.draw(len(states), generator, states)
            states, wanted = INPUTS(states, elements), MOVES(wanted, elements)
        return mse_loss(model(states), wanted)

    return loss


@torch.no_grad()
def _errors(
    model: nn.Module, test: ol.data.NBody, arguments: Mapping[str, Any]
) -> Iterator[tuple[str, float]]:
    """Test a network; the augmented one also as the mean over moved states."""
    tested = {arguments["arm"]: model}
    if arguments["arm"] == "augmentation":
        tested["augmentation_averaged"] = symmetrize(
            model, INPUTS, "average", MOVES, n_samples=arguments["test_k"], seed=arguments["seed"]
        )
    for name, network in tested.items():
        network.eval()
        found = []
        for states in test.inputs.split(arguments["batch"]):
            drawn = isinstance(network, Symmetrized) and network.draws
            move = network.predict(states, arguments["test_k"]).mean if drawn else network(states)
            found.append(states[..., :3] + move)
        yield name, mse_loss(torch.cat(found), test.targets).item()


def _layers(
    model: nn.Module, test: ol.data.NBody, arguments: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the layer report under quarter turns about z."""
    network = model.network if hasattr(model, "network") else model
    if isinstance(network, PairTransformer):
        shown = {f"block{i}": block for i, block in enumerate(network.blocks, 1)}
    else:
        shown = {f"h{i}": layer.phi_h for i, layer in enumerate(network.layers, 1)}
    if isinstance(model, Symmetrized) and model.draws:
        model.n_samples = arguments["report_k"]
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    turns = [torch.linalg.matrix_power(turn, g) for g in range(4)]
    matrices = torch.stack([torch.block_diag(each, each) for each in turns])
    for figures in layer_figures(
        model,
        shown,
        inputs=test.inputs[: arguments["reported"]],
        action=ol.actions.points("C4", matrices=matrices),
        seed=arguments["seed"],
    ):
        yield {"arm": arguments["arm"], "seed": arguments["seed"], **figures}


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds."""
    measured = [{"seconds": None, **record} for record in records if "mse" in record]
    return summarise(measured, ["arm", "steps", "parameters"], {"mse": "std", "seconds": "std"})


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw the errors by step."""
    trained = [row for row in tables["results.csv"] if row["steps"]]
    rows, metrics = by_panel(trained, "mse", "position MSE", spread="std")
    line_panels(
        rows,
        folder / "mse.png",
        x=("steps", "steps"),
        series="arm",
        metrics=metrics,
        title="n-body: mean and standard deviation over seeds",
        dodge=0.3,
    )


RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    budgets=BUDGETS,
    jobs=jobs,
    compute=compute,
    tables={"results.csv": results, "layers.csv": partial(layer_table, by=["arm"])},
    plot=plot,
)

if __name__ == "__main__":
    main(RECIPE)
