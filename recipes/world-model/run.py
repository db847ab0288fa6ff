"""World models that know how actions turn and not how pictures do: an action that was never tried.

Source: Park et al. 2022, arXiv 2204.11371, *Learning Symmetric Embeddings for Equivariant World
Models*. Its tables could not be read in their published form, so nothing is compared.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, final

import torch
from torch import nn

import orbitlens as ol
from orbitlens.actions import Action
from orbitlens.data import BLOCK_MOVES, BlockEpisodes, block_episodes, block_moves, render_blocks
from orbitlens.models import Prepare
from orbitlens.reproduce import (
    Job,
    Recipe,
    keep_network,
    layer_figures,
    layer_table,
    line_panels,
    main,
    summarise,
    worst_of_seeds,
)
from orbitlens.symmetry.split import (
    WorldModel,
    distance_invariance_error,
    embedding_error,
    hits_at_k,
    mean_reciprocal_rank,
    strict_ranks,
    train_world_model,
)
from orbitlens.typing import Float, Int, Tensor

THREE = ("up", "right", "down")


class Arm(NamedTuple):
    """A kind of model and of training."""

    group: str
    kind: str = "plain"
    copies: int = 2
    moves: tuple[str, ...] = THREE


ARMS = {
    "sen": Arm("C4"),
    "none": Arm("C1"),
    "full": Arm("C4", kind="equivariant"),
    "none_all_moves": Arm("C1", moves=BLOCK_MOVES),
    "sen_d4": Arm("D4"),
    "none_wide": Arm("C1", copies=8),
}
WORLD = "D4"  # the whole symmetry of the grid
TURNS, FLIPS = (1, 2, 3), (4, 5, 6, 7)
REPORTED, KEPT = 300, ("sen", "none", "full", "sen_d4")
SPEC = {
    "arms": list(ARMS),
    "side": 5,
    "blocks": 2,
    "hidden": {"C4": 48, "C1": 96, "D4": 34},
    "width": {"plain": 16, "equivariant": 8},
    "n_train": 4000,
    "n_test": 1000,
    "n_states": 300,
    "horizon": 5,
    "batch_size": 128,
    "lr": 5e-4,
    "steps": 600,
    "stuck": 0.1,
    "restarts": 4,
    "seeds": 3,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SPEC,
        "arms": ["sen", "none", "full", "sen_d4"],
        "side": 3,
        "hidden": {"C4": 4, "C1": 8, "D4": 3},
        "width": {"plain": 8, "equivariant": 4},
        "n_train": 64,
        "n_test": 200,
        "n_states": 60,
        "horizon": 2,
        "batch_size": 16,
        "lr": 5e-3,
        "steps": 12,
        "stuck": 100.0,
        "seeds": 1,
    },
    "small": SPEC,
    "medium": {**SPEC, "blocks": 3, "n_train": 10_000, "steps": 2000, "horizon": 10},
    "full": {
        **SPEC,
        "blocks": 5,
        "hidden": {"C4": 256, "C1": 512, "D4": 181},
        "width": {"plain": 32, "equivariant": 16},
        "n_train": 100_000,
        "n_test": 10_000,
        "n_states": 10_000,
        "horizon": 10,
        "batch_size": 1024,
        "steps": 10_000,
    },
}
RANKS = ("h1", "h10", "mrr", "h1_plain", "h10_plain", "mrr_plain", "h1_left")
METRICS = dict.fromkeys(
    (
        *RANKS,
        *("die", "die_flips", "ee", "exact_e", "exact_t", "exact_e_32", "exact_t_32"),
        *("loss", "restarts", "parameters", "states"),
    ),
    "std",
)


@final
class OfGrids(nn.Module):
    """A world model that draws the pictures of grids itself."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, grids: Float[Tensor, "n k h h"]) -> Float[Tensor, "n k dim"]:
        """Return the latents of the states."""
        latents: Tensor = self.model(render_blocks(grids))
        return latents


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """One job for each training."""
    return [
        Job(f"{arm}-seed{seed}", {**settings, "arm": arm, "seed": seed})
        for arm in settings["arms"]
        for seed in range(settings["seeds"])
    ]


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Train one model, and measure it before and at the end."""
    arm, seed = arguments["arm"], arguments["seed"]
    key = {"arm": arm, "seed": seed}
    test = episodes(arguments, BLOCK_MOVES, train=False)
    untrained = build(arguments, seed).eval()
    records = [{**key, "steps": 0, **measure(untrained, test, arguments)}]
    data = episodes(arguments, ARMS[arm].moves, train=True)
    fit = train_world_model(
        lambda own: build(arguments, own),
        render_blocks(data.grids[:, 0]),
        data.actions[:, 0],
        render_blocks(data.grids[:, 1]),
        steps=arguments["steps"],
        batch=arguments["batch_size"],
        lr=arguments["lr"],
        stuck=arguments["stuck"],
        restarts=arguments["restarts"],
        seed=seed,
    )
    told = {"loss": fit.loss, "restarts": fit.restarts, "starts": list(fit.starts)}
    records += [{**key, "steps": arguments["steps"], **measure(fit.model, test, arguments), **told}]
    records += [{**key, **row} for row in over_time(fit.model, test, arguments)]
    records += [{**key, **row} for row in by_move(fit.model, test, arguments)]
    records += [
        {**key, "step": at + 1, "training_loss": value}
        for at, value in enumerate(averaged(fit.losses))
    ]
    if seed == 0 and arm in KEPT:
        records += [{**key, **row} for row in layers_of(fit.model, test)]
        keep_network(
            folder,
            arm,
            fit.model,
            arguments,
            inputs=states(test),
            action=turns_of(fit.model),
            layer="embedding",
            main=arm == "sen",
        )
    return records


def network(arguments: Mapping[str, Any]) -> tuple[nn.Module, Prepare]:
    """The untrained network of a job, for states whose pictures it is shown."""
    return build(arguments, 0), render_blocks


def build(arguments: Mapping[str, Any], seed: int) -> WorldModel:
    """Return the untrained model of an arm."""
    arm = ARMS[arguments["arm"]]
    pictures = render_blocks(block_episodes(1, side=arguments["side"], seed=0).grids[:, 0])
    return WorldModel(
        arm.group,
        side=pictures.shape[-1],
        objects=arguments["blocks"],
        width=arguments["width"][arm.kind],
        hidden=arguments["hidden"][arm.group],
        copies=arm.copies,
        kind=arm.kind,
        seed=seed,
    )


def episodes(arguments: Mapping[str, Any], moves: Sequence[str], *, train: bool) -> BlockEpisodes:
    """Single steps to train on, or whole episodes of all moves to test on."""
    return block_episodes(
        arguments["n_train" if train else "n_test"],
        side=arguments["side"],
        blocks=arguments["blocks"],
        steps=1 if train else arguments["horizon"],
        moves=moves,
        # Seeds of training and of test episodes never meet.
        seed=2 * arguments["seed"] + train,
    )


def moved(test: BlockEpisodes, element: int) -> BlockEpisodes:
    """The same episodes with states and actions moved."""
    turn, moves = ol.actions.images(WORLD), torch.from_numpy(block_moves(WORLD)[element])
    grids = turn(test.grids.flatten(0, 1), element).unflatten(0, test.grids.shape[:2])
    many = len(moves)
    return BlockEpisodes(grids, test.actions - test.actions % many + moves[test.actions % many])


def rolled(
    model: WorldModel, test: BlockEpisodes, steps: int
) -> tuple[Float[Tensor, "n k dim"], Float[Tensor, "n k dim"]]:
    """The prediction after some steps, and the latents of what came."""
    found = model.roll_out(render_blocks(test.grids[:, 0]), test.actions, steps)[:, -1]
    return found, model(render_blocks(test.grids[:, steps]))


def different(test: BlockEpisodes, steps: int, most: int) -> Int[Tensor, " chosen"]:
    """The first episode that ends in each state: a state that two reach is no one's miss."""
    first: dict[tuple[float, ...], int] = {}
    for episode, state in enumerate(test.grids[:, steps].flatten(1).tolist()):
        first.setdefault(tuple(state), episode)
    return torch.tensor(list(first.values())[:most])


def states(test: BlockEpisodes) -> Float[Tensor, "n k h h"]:
    """Different states to look into layers with."""
    return test.grids[different(test, 0, REPORTED), 0]


@torch.no_grad()
def measure(
    model: WorldModel, test: BlockEpisodes, arguments: Mapping[str, Any]
) -> dict[str, float | None]:
    """Ranks after the last step, and what turning the world changes."""
    horizon, most = arguments["horizon"], arguments["n_states"]
    found, came = rolled(model, test, horizon)
    chosen = different(test, horizon, most)
    rows: dict[str, Any] = {}
    for name, part in (("", chosen), ("_plain", torch.arange(min(400, len(found))))):
        rows[f"h1{name}"] = 100 * hits_at_k(found[part], came[part], 1)
        rows[f"h10{name}"] = 100 * hits_at_k(found[part], came[part], 10)
        rows[f"mrr{name}"] = 100 * mean_reciprocal_rank(found[part], came[part])
    turned = {g: rolled(model, moved(test, g), horizon) for g in (*TURNS, *FLIPS)}
    for name, elements in (("die", TURNS), ("die_flips", FLIPS)):
        errors = [
            distance_invariance_error(
                found[chosen], came[chosen], *(each[chosen] for each in turned[g])
            )
            for g in elements
        ]
        rows[name] = sum(errors) / len(errors)
    left = [row["hit"] for row in by_move(model, test, arguments) if row["move"] == "left"]
    return {
        **rows,
        "h1_left": left[0],
        "ee": embedding_errors(model, test),
        **exactness(model, test),
        "loss": None,
        "restarts": None,
        "parameters": sum(each.numel() for each in model.parameters()),
        "states": len(chosen),
    }


def embedding_errors(model: WorldModel, test: BlockEpisodes) -> float:
    """How far S is from turning its maps as the states turn, as a mean over quarter turns."""
    turns, grids = ol.actions.images("C4"), test.grids[:, 0]
    maps = model.embedding.maps(render_blocks(grids))
    errors = [
        embedding_error(turns(maps, g), model.embedding.maps(render_blocks(turns(grids, g))))
        for g in TURNS
    ]
    return sum(errors) / len(errors)


def exactness(model: WorldModel, test: BlockEpisodes) -> dict[str, float | None]:
    """Largest error of equivariance of E and of T under the model's own group, in both types."""
    if model.group.order == 1:
        return dict.fromkeys(("exact_e", "exact_t", "exact_e_32", "exact_t_32"))
    turns, actions = ol.actions.images(model.group), test.actions[:, 0]
    rows: dict[str, float | None] = {}
    for name, dtype in (("", torch.float64), ("_32", torch.float32)):
        own = copy.deepcopy(model).to(dtype)
        maps = own.embedding.maps(render_blocks(test.grids[:, 0]).to(dtype))
        z = own.embedding.of_maps(maps)
        change = own.transition(z, actions)
        worst_e = worst_t = 0.0
        for g in range(model.group.order):
            wrong_e = own.embedding.of_maps(turns(maps, g)) - own.act(g, z)
            step = own.transition(own.act(g, z), own.move_actions(g, actions))
            wrong_t = step - own.act(g, change)
            worst_e = max(worst_e, float(wrong_e.abs().max() / z.abs().max()))
            worst_t = max(worst_t, float(wrong_t.abs().max() / change.abs().max()))
        rows |= {f"exact_e{name}": worst_e, f"exact_t{name}": worst_t}
    return rows


@torch.no_grad()
def over_time(
    model: WorldModel, test: BlockEpisodes, arguments: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """H@1 after each number of steps."""
    rows = []
    for steps in range(1, arguments["horizon"] + 1):
        chosen = different(test, steps, arguments["n_states"])
        found, came = (each[chosen] for each in rolled(model, test, steps))
        rows.append({"after": steps, "h1_after": 100 * hits_at_k(found, came, 1)})
    return rows


@torch.no_grad()
def by_move(
    model: WorldModel, test: BlockEpisodes, arguments: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """H@1 of a single step, for each move."""
    chosen = different(test, 1, arguments["n_states"])
    found, came = (each[chosen] for each in rolled(model, test, 1))
    hits = (strict_ranks(found, came) == 1).float()
    move = test.actions[chosen, 0] % len(BLOCK_MOVES)
    return [
        {"move": name, "hit": 100 * float(hits[move == at].mean())}
        for at, name in enumerate(BLOCK_MOVES)
    ]


def averaged(losses: Sequence[float], parts: int = 30) -> list[float]:
    """The training loss as means over equal parts of the training."""
    size = max(1, len(losses) // parts)
    return [sum(losses[at : at + size]) / size for at in range(0, len(losses) - size + 1, size)]


def layers_of(model: WorldModel, test: BlockEpisodes) -> list[dict[str, Any]]:
    """The layer report: states are moved, and their pictures are drawn anew."""
    promised = {} if model.group.order == 1 else {"prediction": model.representation}
    return layer_figures(
        OfGrids(model),
        {"first_convolution": model.embedding.maps[0], "maps": model.embedding.maps},
        inputs=states(test),
        action=turns_of(model),
        promised=promised,
    )


def turns_of(model: WorldModel) -> Action:
    """How the group of a model moves states; quarter turns, if it knows none."""
    return ol.actions.images("C4" if model.group.order == 1 else model.group.name)


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds."""
    measured = [record for record in records if "h1" in record]
    return summarise(measured, ["arm", "steps"], METRICS)


def gates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The worst seed of each promise and the median, beside what is wanted."""
    measured = [record for record in records if "h1" in record]
    last = max(record["steps"] for record in measured)
    own = {
        arm: {r["seed"]: r for r in measured if (r["arm"], r["steps"]) == (arm, last)}
        for arm in dict.fromkeys(record["arm"] for record in measured)
    }
    sen, none = own["sen"], own["none"]
    found: list[tuple[str, str, list[float], str, float]] = [
        ("sen", "h1", [r["h1"] for r in sen.values()], ">=", 75),
        ("none", "h1", [r["h1"] for r in none.values()], "<=", 50),
        ("sen", "h1 less that of none", [sen[s]["h1"] - none[s]["h1"] for s in sen], ">=", 30),
        ("sen", "die over that of none", [sen[s]["die"] / none[s]["die"] for s in sen], "<=", 0.25),
    ]
    for arm in own:
        every = [r for r in measured if r["arm"] == arm and r["exact_e"] is not None]
        if every:
            for name, limit in (("", 1e-12), ("_32", 1e-5)):
                for part in ("exact_e", "exact_t"):
                    values = [r[f"{part}{name}"] for r in every]
                    found.append((arm, f"{part}{name}", values, "<=", limit))
    rows = []
    for arm, figure, values, sign, limit in found:
        worst, middle = worst_of_seeds(values, sign, limit), median(values)
        rows.append(
            {
                "arm": arm,
                "figure": figure,
                "worst_seed": worst["worst_seed"],
                "median": middle,
                "wanted": worst["wanted"],
                "met": worst["met"],
                "met_by_median": worst_of_seeds([middle], sign, limit)["met"],
            }
        )
    return rows


def layers(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The layer reports under quarter turns of the states."""
    return layer_table(records, ["arm"])


def horizons(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """H@1 by the number of steps."""
    measured = [record for record in records if "after" in record]
    return summarise(measured, ["arm", "after"], {"h1_after": "std"})


def moves(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """H@1 of a single step, by the move."""
    measured = [record for record in records if "move" in record]
    return summarise(measured, ["arm", "move"], {"hit": "std"})


def training(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The training loss of the starts that were kept."""
    measured = [record for record in records if "training_loss" in record]
    return summarise(measured, ["arm", "step"], {"training_loss": "std"})


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw hits by the number of steps and by the move, and the training."""
    line_panels(
        tables["horizons.csv"],
        folder / "horizons.png",
        x=("after", "steps that were predicted"),
        series="arm",
        metrics={"h1_after": "std"},
        title="H@1 in percent, of different states, mean and standard deviation over seeds",
        dodge=0.2,
    )
    line_panels(
        tables["moves.csv"],
        folder / "moves.png",
        x=("move", "move; all but none_all_moves never saw left"),
        series="arm",
        metrics={"hit": "std"},
        title="H@1 in percent of a single step",
        dodge=0.5,
        joined=False,
    )
    line_panels(
        [row for row in tables["training.csv"] if row["step"] % 3 == 0],
        folder / "training.png",
        x=("step", "thirtieths of the training"),
        series="arm",
        metrics={"training_loss": "std"},
        title="Training loss of the starts that were kept",
        log=True,
    )


RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    budgets=BUDGETS,
    jobs=jobs,
    compute=compute,
    tables={
        "results.csv": results,
        "gates.csv": gates,
        "layers.csv": layers,
        "horizons.csv": horizons,
        "moves.csv": moves,
        "training.csv": training,
    },
    plot=plot,
    network=network,
)

if __name__ == "__main__":
    main(RECIPE)
