"""Meta-learned sharing of weights: do tasks that share a symmetry teach it to a layer?

Source: Zhou, Knowles & Finn 2021, arXiv 2007.02933, *Meta-Learning Symmetries by
Reparameterization*. Its tables could not be verified, so nothing is compared.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from torch import nn
from torch.nn.functional import mse_loss, pad

import orbitlens as ol
from orbitlens.data import Episodes, TaskFamily, TurnedFields, shift_tasks
from orbitlens.files import new_file
from orbitlens.reproduce import Job, Recipe, by_panel, keep_network, line_panels, main, summarise
from orbitlens.reps import Representation, permutation, restrict
from orbitlens.symmetry.relax.known_sharing import intertwiners, orbits_under, toeplitz
from orbitlens.symmetry.relax.meta import MetaLearner
from orbitlens.symmetry.relax.meta_learn import meta_learn
from orbitlens.symmetry.relax.shared_weights import SharedConv2d, SharedLinear
from orbitlens.symmetry.relax.sharing import measure_sharing
from orbitlens.typing import Float, Tensor


class Arm(NamedTuple):
    """A layer, the first inner rates to try, and whether its support is augmented."""

    layer: str
    rates: tuple[float, ...] = (0.1,)
    augmented: bool = False


LINE_ARMS = {
    "maml_fc": Arm("dense"),
    "maml_lc": Arm("local", (0.1, 8.0)),
    "maml_conv": Arm("convolution"),
    "maml_fc_augmented": Arm("dense", (8.0,), augmented=True),
    "maml_lc_augmented": Arm("local", (30.0,), augmented=True),
    "msr_fc": Arm("shared"),
}
FIELD_ARMS = {
    "maml_conv": "convolution",
    "msr_conv": "Kronecker",
    "msr_patches": "shared",
}
LONG = ("maml_conv", "msr_fc")  # arms that are compared after more steps
KEPT = "msr_patches"
NOTHING = ("maml_fc", "msr_fc")  # arms on tasks that share nothing
SPEC: dict[str, Any] = {
    "ranks": {"1": 3, "2": 6, "5": 30, "0": 3},
    "length": 70,
    "width": 3,
    "tasks": 10_000,
    "examples": 20,
    "inner_steps": 3,
    "steps": [1000, 3000],
    "tests": 2000,
    "flips": [False],
    "fields": 3,
    "side": 12,
    "field_steps": 300,
    "field_tasks": 8,
    "field_tests": 200,
    "field_rates": [0.1, 1.0, 12.0],
    "adapted": 3,
    "reported": 600,
    "seeds": 3,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SPEC,
        "ranks": {"1": 3, "0": 3},
        "length": 18,
        "tasks": 100,
        "steps": [2, 4],
        "tests": 20,
        "fields": 1,
        "side": 5,
        "field_steps": 2,
        "field_tests": 10,
        "field_rates": [1.0],
        "adapted": 2,
        "reported": 300,
        "seeds": 1,
    },
    "small": SPEC,
    "medium": {**SPEC, "steps": [1000, 3000, 10_000], "flips": [False, True], "seeds": 5},
    "full": {
        **SPEC,
        "steps": [1000, 3000, 10_000],
        "flips": [False, True],
        "side": 32,
        "field_steps": 1000,
        "field_tasks": 32,
        "seeds": 10,
    },
}


@final
class LocalFilters(nn.Module):
    """A filter of its own for each place of a line, or one for all: no padding."""

    def __init__(self, places: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = width**-0.5  # as layers of torch begin
        taps = torch.rand(places, width, generator=generator)
        self.taps = nn.Parameter(bound * (2 * taps - 1))

    def forward(self, x: Float[Tensor, "n length"]) -> Float[Tensor, "n places"]:
        """Return the outputs of all places."""
        patches = x.unfold(1, self.taps.shape[1], 1)
        return (patches * self.taps).sum(-1)


@dataclass(frozen=True)
class Shifted:
    """Tasks on a line whose support has all shifts of itself: plain augmentation.

    Input and target move along a ring of all places of the input. The filter would straddle the
    ends of the line at width - 1 places of each copy; their targets are unknown, and 0.
    """

    tasks: TaskFamily

    @property
    def identity(self) -> str:
        """That of the tasks, and what was done to them."""
        return f"{self.tasks.identity}, support shifted"

    def draw(
        self, n_tasks: int, *, support: int, query: int, generator: torch.Generator
    ) -> Episodes:
        """Draw tasks, and shift their support."""
        drawn = self.tasks.draw(n_tasks, support=support, query=query, generator=generator)
        x, y = drawn.support_x, drawn.support_y
        length, places = x.shape[-1], y.shape[-1]
        ring = pad(y, (0, length - places))
        shifted_x = [x.roll(step, -1) for step in range(length)]
        shifted_y = [ring.roll(step, -1)[..., :places] for step in range(length)]
        return replace(drawn, support_x=torch.cat(shifted_x, 1), support_y=torch.cat(shifted_y, 1))


def known_loss(
    prediction: Float[Tensor, "n places"], target: Float[Tensor, "n places"]
) -> Float[Tensor, ""]:
    """Squared error over the places whose target is known, divided by the number of all."""
    return ((prediction - target).square() * (target != 0)).mean()


@final
class OnPatches(nn.Module):
    """A linear layer on every 3 x 3 patch, which is a convolution."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Float[Tensor, "n 1 height width"]) -> Float[Tensor, "n out high wide"]:
        """Return the maps of all outputs."""
        patches = x[:, 0].unfold(1, 3, 1).unfold(2, 3, 1).flatten(-2)
        maps: Tensor = self.layer(patches)
        return maps.movedim(-1, 1)


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """One job for each family, arm, first inner rate and seed."""
    listed = []
    for seed in range(settings["seeds"]):
        for rank in settings["ranks"]:
            for arm, (_, rates, _) in LINE_ARMS.items():
                if rank == "0" and arm not in NOTHING:
                    continue
                own = {"rank": int(rank)}
                listed += [(f"rank{rank}", arm, rate, seed, own) for rate in rates]
        for flips in settings["flips"]:
            for arm in FIELD_ARMS:
                for rate in settings["field_rates"]:
                    name = "fields-flips" if flips else "fields"
                    listed.append((name, arm, rate, seed, {"flips": flips}))
    return [
        Job(
            f"{family}-{arm}-{rate:g}-seed{seed}",
            {**settings, **own, "family": family, "arm": arm, "rate": rate, "seed": seed},
        )
        for family, arm, rate, seed, own in listed
    ]


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Meta-learn with one layer, test it, and look at what it shares."""
    key = {name: arguments[name] for name in ("family", "arm", "rate", "seed")}
    file = folder / f"training-{'-'.join(map(str, key.values()))}-.safetensors"
    on_line = "rank" in arguments
    records = list((line if on_line else field)(arguments, file))
    # The job is done; only an interrupted one goes on from its checkpoints.
    for each in folder.glob(f"{file.stem}*"):
        each.unlink()
    return [{**key, **record} for record in records]


def line(arguments: Mapping[str, Any], file: Path) -> list[dict[str, Any]]:
    """Tasks on a line."""
    rank, seed, length = (arguments[name] for name in ("rank", "seed", "length"))
    drawn = shift_tasks(
        arguments["tasks"],
        rank=rank or None,
        examples=arguments["examples"],
        length=length,
        width=arguments["width"],
        seed=seed,
    )
    train: TaskFamily
    test: TaskFamily
    train, test = drawn.tasks.split()
    augmented = LINE_ARMS[arguments["arm"]].augmented
    if augmented:
        train, test = Shifted(train), Shifted(test)
    places = length - arguments["width"] + 1
    layer = line_layer(arguments, places)
    settings = {"inner_steps": arguments["inner_steps"], "inner_rate": arguments["rate"]}
    learner = MetaLearner(layer, **settings, loss=known_loss if augmented else mse_loss)
    records, base = [], file.stem
    checks = arguments["steps"]
    if arguments["arm"] not in LONG or rank in (0, 1):
        checks = checks[:1]
    for steps in checks:
        earlier, file = file, file.with_name(f"{base}-{steps}.safetensors")
        # A training that was stopped between two checks must be looked at after the first.
        if earlier.exists() and not file.exists():
            with new_file(file) as copy:
                shutil.copyfile(earlier, copy)
        meta_learn(learner, train, steps=steps, seed=seed, checkpoint=file)
        records.append({"steps": steps, **tested(learner, train, test, arguments["tests"])})
        if isinstance(layer, SharedLinear):
            shifts = toeplitz(places, length, arguments["width"])
            mirrored = shifts.unflatten(0, (places, length)).flip(0).flatten(0, 1)
            known = {"shifts": shifts, "mirrored shifts": mirrored}
            if drawn.basis is not None and rank > 1:
                known["the tasks"] = drawn.basis
            records += sharing_of(layer, known, steps, seed)
    if seed == 0:
        records += layers_of(learner, test, line_groups(length, places), arguments, steps)
    return records


def line_layer(arguments: Mapping[str, Any], places: int) -> nn.Module:
    """Return the untrained layer of an arm."""
    seed, length, width = (arguments[name] for name in ("seed", "length", "width"))
    generator = torch.Generator().manual_seed(seed)
    kind = LINE_ARMS[arguments["arm"]].layer
    if kind == "shared":
        k = arguments["ranks"][str(arguments["rank"])]
        return SharedLinear(length, places, k, seed=seed)
    if kind == "dense":
        torch.manual_seed(seed)
        return nn.Linear(length, places, bias=False)
    return LocalFilters(places if kind == "local" else 1, width, generator)


def field(arguments: Mapping[str, Any], file: Path) -> list[dict[str, Any]]:
    """Tasks on images, whose targets are fields of turned filters."""
    seed, steps = arguments["seed"], arguments["field_steps"]
    tasks = TurnedFields(arguments["fields"], arguments["side"], arguments["flips"])
    channels = tasks.channels.dim
    kind = FIELD_ARMS[arguments["arm"]]
    torch.manual_seed(seed)
    layer: nn.Module
    if kind == "Kronecker":
        layer = SharedConv2d(1, channels, 3, seed=seed)
    elif kind == "shared":
        layer = OnPatches(SharedLinear(9, channels, 9 * arguments["fields"], seed=seed))
    else:
        layer = OnPatches(nn.Linear(9, channels, bias=False))
    learner = MetaLearner(layer, inner_steps=arguments["inner_steps"], inner_rate=arguments["rate"])
    settings = {"steps": steps, "n_tasks": arguments["field_tasks"], "seed": seed}
    meta_learn(learner, tasks, **settings, checkpoint=file)
    records = [{"steps": steps, **tested(learner, tasks, tasks, arguments["field_tests"])}]
    if kind == "shared":
        known = {
            name: intertwiners(*pair) for name, pair in field_groups(tasks).items() if len(pair) > 1
        }
        records += sharing_of(layer.get_submodule("layer"), known, steps, seed)
    if seed == 0:
        groups = {name: pair[0] for name, pair in field_groups(tasks).items()}
        records += layers_of(learner, tasks, groups, arguments, steps)
        last = arguments["rate"] == arguments["field_rates"][-1]
        if arguments["arm"] == KEPT and last and not tasks.flips:
            keep(learner, tasks, arguments, file.parent)
    return records


def tested(
    learner: MetaLearner, train: TaskFamily, test: TaskFamily, n_tasks: int
) -> dict[str, float]:
    """The error on new tasks, on tasks that choose the first inner rate, and of zero."""
    losses = {
        "mse": learner.losses_on(test, n_tasks, seed=1),
        "validation": learner.losses_on(train, n_tasks, seed=2),
    }
    generator = torch.Generator().manual_seed(1)
    drawn = test.draw(n_tasks, support=1, query=19, generator=generator)
    return {
        **{name: float(each.mean()) for name, each in losses.items()},
        "mse_zero": float(drawn.query_y.square().mean()),
        "inner_rate": max(learner.inner_rates.values()),
    }


def sharing_of(
    layer: nn.Module, known: Mapping[str, Float[Tensor, "weights dim"]], steps: int, seed: int
) -> list[dict[str, Any]]:
    """The angles of a learned U with known symmetries, beside a random U."""
    found = measure_sharing(layer, known, seed=seed)
    lowest = found.singular_values[-1] / found.singular_values[0]
    return [{**row, "steps": steps, "lowest_singular": lowest} for row in found.table()]


def line_groups(length: int, places: int) -> dict[str, Representation]:
    """Groups that move the inputs of a line.

    Shifts of the inner places as a ring, the mirror image, and a wrong group: four turns of places
    in a random order. Shifts of a ring are those of the line but for the filters at its border.
    """
    ring = range(1, places + 1)

    def shift(order: int, at: Sequence[int], name: str) -> Representation:
        step, moved = len(at) // order, list(range(length))
        for i, place in enumerate(at):
            moved[place] = at[(i + step) % len(at)]
        group = replace(ol.groups.cyclic(order), name=name)
        return permutation(group, [moved])

    mixed = torch.randperm(places, generator=torch.Generator().manual_seed(0)) + 1
    orders = [order for order in (2, 4) if places % order == 0]
    mirror = permutation(replace(ol.groups.dihedral(1), name="mirror"), [list(range(length))[::-1]])
    return {
        **{f"C{order}": shift(order, ring, f"C{order}") for order in orders},
        "mirror": mirror,
        "C4 of random places": shift(4, mixed.tolist(), "C4 of random places"),
    }


def field_groups(tasks: TurnedFields) -> dict[str, tuple[Representation, ...]]:
    """Groups that move the taps, with what they do to the channels, where that is known."""
    taps, channels = tasks.taps, tasks.channels
    whole = taps.group
    turns = [ol.groups.cyclic(order) for order in (2, 4, 8)]
    pairs: dict[str, tuple[Representation, ...]] = {
        group.name: tuple(
            restrict(each, group, list(range(0, 8, 8 // group.order))) for each in (taps, channels)
        )
        for group in turns
    }
    pairs["D8"] = (TurnedFields(1, flips=True).taps,)
    if tasks.flips:
        pairs["D8"] = (taps, channels)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    wrong = replace(whole, name=f"{whole.name} of random taps")
    mixed = Representation(wrong, taps.matrices[:, order][:, :, order], "mixed")
    pairs[wrong.name] = (mixed, Representation(wrong, channels.matrices, "regular"))
    return pairs


class SideBySide(nn.Module):
    """Networks whose outputs stand side by side, after a ReLU."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks, self.relu = nn.ModuleList(networks), nn.ReLU()

    def forward(self, x: Float[Tensor, "n *axes"]) -> Float[Tensor, "n out"]:
        """Return the outputs of all networks as one vector."""
        outputs = [network(x).flatten(1) for network in self.networks]
        joined: Tensor = self.relu(torch.cat(outputs, 1))
        return joined


def adapted(
    learner: MetaLearner,
    tasks: TaskFamily,
    arguments: Mapping[str, Any],
    generator: torch.Generator,
) -> SideBySide:
    """Networks that have adapted to new tasks."""
    drawn = tasks.draw(arguments["adapted"], support=1, query=19, generator=generator)
    pairs = zip(drawn.support_x, drawn.support_y, strict=True)
    return SideBySide([learner.adapt(*pair) for pair in pairs])


def kept(arguments: Mapping[str, Any]) -> SideBySide:
    """The untrained network that is kept: layers on patches, for some tasks."""
    channels = TurnedFields(arguments["fields"], arguments["side"], arguments["flips"]).channels
    return SideBySide(
        [
            OnPatches(SharedLinear(9, channels.dim, 9 * arguments["fields"]))
            for _ in range(arguments["adapted"])
        ]
    )


def keep(
    learner: MetaLearner, tasks: TaskFamily, arguments: Mapping[str, Any], folder: Path
) -> None:
    """Keep networks that have adapted to new tasks, with patches to look into them with."""
    generator = torch.Generator().manual_seed(3)
    keep_network(
        folder,
        KEPT,
        adapted(learner, tasks, arguments, generator),
        arguments,
        inputs=torch.rand(arguments["reported"], 1, 3, 3, generator=generator),
        action=ol.actions.images("C4"),
        layer="relu",
    )


def layers_of(
    learner: MetaLearner,
    tasks: TaskFamily,
    groups: Mapping[str, Representation],
    arguments: Mapping[str, Any],
    steps: int,
) -> list[dict[str, Any]]:
    """How groups act on layers that have adapted to new tasks, after their ReLU, and the choice.

    Without the ReLU every group would act: a linear layer that loses nothing carries all of them.
    The outputs of several tasks stand side by side, as channels do: a task whose filter is nearly
    one tap would commute with every permutation.
    """
    generator = torch.Generator().manual_seed(3)
    network = adapted(learner, tasks, arguments, generator)

    def outputs(x: Float[Tensor, "n dim"]) -> Float[Tensor, "n out"]:
        return network(x if "rank" in arguments else x.unflatten(1, (1, 3, 3)))

    dim = next(iter(groups.values())).dim
    inputs = torch.randn(arguments["reported"], dim, generator=generator)
    stores = [
        ol.store_from_array(orbits_under(outputs, inputs, rho), group=rho.group)
        for rho in groups.values()
    ]
    choice = ol.choose_group(stores)
    return [
        {
            "steps": steps,
            "group": figures.group,
            "r2": figures.r2,
            "identity_r2": figures.identity_r2,
            "control_r2": figures.control_r2,
            "verdict": figures.verdict,
            "chosen": figures.group == choice.chosen,
        }
        for figures in (*choice.ranking, *choice.unranked)
    ]


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean, standard deviation and worst seed, and which first inner rate the tasks choose."""
    measured = [record for record in records if "mse" in record]
    metrics = dict.fromkeys(("mse", "validation", "mse_zero", "inner_rate"), "std")
    rows = summarise(measured, ["family", "arm", "rate", "steps"], metrics)
    for row in rows:
        names = ("family", "arm", "steps")
        own = [each for each in rows if all(each[name] == row[name] for name in names)]
        row["tuned"] = row["validation_mean"] == min(each["validation_mean"] for each in own)
        names = (*names, "rate")
        seeds = [r["mse"] for r in measured if all(r[name] == row[name] for name in names)]
        row["mse_worst"] = max(seeds)
    return rows


def sharing(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The angles of learned sharings, their worst seeds, and whether a symmetry was found."""
    measured = [record for record in records if "smallest_cosine" in record]
    metrics = dict.fromkeys(("smallest_cosine", "control_largest", "lowest_singular"), "std")
    rows = summarise(
        measured, ["family", "arm", "rate", "steps", "symmetry", "dim", "rank"], metrics
    )
    for row in rows:
        names = ("family", "arm", "rate", "steps", "symmetry", "dim", "rank")
        own = [r for r in measured if all(r[name] == row[name] for name in names)]
        row["smallest_cosine_worst"] = min(record["smallest_cosine"] for record in own)
        row["control_largest_worst"] = max(record["control_largest"] for record in own)
        row["found_in"] = sum(record["found"] for record in own)
    return rows


def gates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The worst seed of each promise, beside what is wanted."""
    mse = {
        (r["family"], r["arm"], r["rate"], r["steps"], r["seed"]): r["mse"]
        for r in records
        if "mse" in r
    }
    rows: list[dict[str, Any]] = []

    def gate(family: str, figure: str, values: Sequence[float], sign: str, limit: float) -> None:
        if values:
            worst = max(values) if sign == "<" else min(values)
            met = worst < limit if sign == "<" else worst > limit
            rows.append(
                {
                    "family": family,
                    "figure": figure,
                    "worst_seed": worst,
                    "wanted": f"{sign} {limit:g}",
                    "met": met,
                    "n": len(values),
                }
            )

    def ratio(family: str, arm: str, steps: int) -> list[float]:
        ours = {key[-1]: value for key, value in mse.items() if key[:2] == (family, "msr_fc")
                and key[3] == steps}  # fmt: skip
        return [
            value / ours[key[-1]]
            for key, value in mse.items()
            if key[:2] == (family, arm) and key[3] == steps and key[-1] in ours
        ]

    checks = sorted({key[3] for key in mse if key[0].startswith("rank")})
    first = checks[0]
    own = [v for key, v in mse.items() if key[:2] == ("rank1", "msr_fc") and key[3] == first]
    gate("rank1", f"mse of msr_fc, {first} steps", own, "<", 0.05)
    gate("rank1", f"maml_fc over msr_fc, {first} steps", ratio("rank1", "maml_fc", first), ">", 50)
    for family in ("rank2", "rank5"):
        for steps in checks[:2]:
            times = ratio(family, "maml_conv", steps)
            wanted = 2 if steps == first else 3
            gate(family, f"maml_conv over msr_fc, {steps} steps", times, ">", wanted)
    angles = [r for r in records if r.get("symmetry") == "shifts" and r["family"] == "rank1"]
    gate("rank1", "smallest cosine", [r["smallest_cosine"] for r in angles], ">", 0.99)
    gate("rank1", "largest cosine of a random U", [r["control_largest"] for r in angles], "<", 0.2)
    gate("rank0", "maml_fc over msr_fc", ratio("rank0", "maml_fc", first), "<", 1.1)
    return rows


def layers(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How groups act on adapted layers, and which one was chosen; seed 0."""
    return [dict(record) for record in records if "verdict" in record]


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw the errors by the family, and by the first inner rate on images."""
    rows = tables["results.csv"]
    first = min(row["steps"] for row in rows if row["family"].startswith("rank"))
    at_first = [
        {**row, "arm": f"{row['arm']}, rate {row['rate']:g}", "rank": row["family"][4:]}
        for row in rows
        if row["family"].startswith("rank") and row["steps"] == first and row["family"] != "rank0"
    ]
    line_panels(
        at_first,
        folder / "lines.png",
        x=("rank", "rank"),
        series="arm",
        metrics={"mse": "std"},
        title=f"Tasks on a line, {first} outer steps: test error, mean and standard deviation",
        log=True,
    )
    fields = [row for row in rows if row["family"].startswith("fields")]
    laid_out, metrics = by_panel(fields, "mse", "{family}", spread="std")
    line_panels(
        laid_out,
        folder / "fields.png",
        x=("rate", "first inner rate"),
        series="arm",
        metrics=metrics,
        title="Fields of turned filters: test error, mean and standard deviation",
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
        "sharing.csv": sharing,
        "layers.csv": layers,
    },
    plot=plot,
    network=kept,
)

if __name__ == "__main__":
    main(RECIPE)
