"""Agents that start symmetric: function fitting, a grid with four goals, CartPole and Pendulum.

Source: Park et al. 2025, arXiv 2411.04225, *Approximate Equivariance in Reinforcement Learning*;
gated arm after Chang et al. 2025, arXiv 2512.00915. Nothing published could be verified.
"""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

import orbitlens as ol
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.reproduce import (
    Job,
    Recipe,
    by_panel,
    keep_network,
    layer_figures,
    layer_table,
    line_panels,
    main,
    summarise,
)
from orbitlens.reps import Representation, direct_sum, irreps, regular
from orbitlens.symmetry.check import break_symmetry, reflection
from orbitlens.symmetry.relax.agents import QNetwork, learned_parameters, q_network
from orbitlens.symmetry.relax.dqn import GymnasiumTask, VectorTask, train_dqn
from orbitlens.symmetry.relax.gate import SymmetryGate
from orbitlens.symmetry.relax.grid import FourGoalGrid
from orbitlens.symmetry.relax.heads import PermutedActionsHead
from orbitlens.symmetry.relax.relaxation import group_penalty
from orbitlens.symmetry.relax.relaxed import RelaxedGroupLinear, RelaxedLiftingLinear
from orbitlens.symmetry.relax.sac import make_sac, train_sac
from orbitlens.symmetry.relax.use import symmetry_uses
from orbitlens.typing import Float

# Kind and filter banks of each arm; "augmented" and "gated" learn from moved transitions.
ARMS: dict[str, tuple[Any, int]] = {
    "exact": ("exact", 1),
    "relaxed_1": ("relaxed", 1),
    "relaxed_2": ("relaxed", 2),
    "plain": ("plain", 1),
    "augmented": ("plain", 1),
    "gated": ("plain", 1),
}
# "exact_2" has the code of "relaxed_2", with relaxation weights that are frozen.
STUDENTS: dict[str, tuple[Any, int]] = {
    "exact": ("exact", 1),
    "exact_2": ("exact", 2),
    "relaxed_2": ("relaxed", 2),
    "plain": ("plain", 1),
    "augmented": ("plain", 1),
}
NOISE, TESTED, PENALTY, REPORTED = 0.05, 2000, 0.01, 100
KEPT = "relaxed_2"
SPEC: dict[str, Any] = {
    "breakings": ["none 0", "gain 0.3", "gain 0.8", "teacher 0.3", "teacher 0.8"],
    "students": [*STUDENTS],
    "n_train": 150,
    "fit_steps": 1500,
    "fit_parameters": 1450,
    "e": [0.0, 0.3, 0.6],
    "grid_arms": [*ARMS],
    "reported_arms": [*ARMS],
    "side": 13,
    "updates": 3000,
    "check_every": 250,
    "grid_parameters": 4825,
    "kappas": [0.0, 0.6],
    "cart_arms": [*ARMS],
    "cart_updates": 4000,
    "pole_arms": ["exact", "relaxed_2", "plain"],
    "pole_steps": 4000,
    "control_parameters": 4480,
    "control_seeds": 3,
    "episodes": 5,
    "seeds": 5,
}
NO_CONTROL = {"cart_arms": [], "pole_arms": []}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SPEC,
        "breakings": ["gain 0.8"],
        "fit_steps": 3,
        "e": [0.6],
        "reported_arms": ["relaxed_2"],
        "side": 3,
        "updates": 4,
        "check_every": 2,
        "kappas": [0.3],
        "cart_arms": ["relaxed_2"],
        "cart_updates": 4,
        "pole_arms": ["relaxed_2"],
        "pole_steps": 110,
        "control_seeds": 1,
        "episodes": 1,
        "seeds": 1,
    },
    "small": {
        **SPEC,
        **NO_CONTROL,
        "breakings": ["none 0", "gain 0.3", "gain 0.8", "teacher 0.8"],
        "updates": 2000,
    },
    "medium": SPEC,
    "full": {
        **SPEC,
        "kappas": [0.0, 0.3, 0.6],
        "cart_updates": 6000,
        "pole_steps": 15_000,
        "control_seeds": 5,
        "seeds": 10,
        "updates": 6000,
    },
}


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """One job for each kind of student, and one for each agent."""
    kinds = [
        ("fit", ["functions"], settings["students"], 1),
        ("grid", settings["e"], settings["grid_arms"], settings["seeds"]),
        ("cartpole", settings["kappas"], settings["cart_arms"], settings["control_seeds"]),
        ("pendulum", settings["kappas"], settings["pole_arms"], settings["control_seeds"]),
    ]
    return [
        Job(
            f"{task}-{str(broken).replace(' ', '-')}-{arm}-{seed}",
            {**settings, "task": task, "broken": broken, "arm": arm, "seed": seed},
        )
        for task, breakings, arms, seeds in kinds
        for seed in range(seeds)
        for broken in breakings
        for arm in arms
    ]


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Fit all functions by one kind of student, or train one agent."""
    how = {"fit": fit_all, "cartpole": on_cartpole, "pendulum": on_pendulum}
    how["grid"] = partial(on_grid, folder)
    key = {name: arguments[name] for name in ("task", "broken", "seed")}
    rows = how[arguments["task"]](arguments)
    return [{**key, "arm": arguments["arm"], **row} for row in rows]


# Part A: functions


def fit_all(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Fit all functions by one kind of student, all students side by side."""
    maps = direct_sum(*[irreps("C4")[-1]] * 3), regular("C4")
    tasks = [
        (broken, seed) for broken in arguments["breakings"] for seed in range(arguments["seeds"])
    ]
    data = [functions(maps, *task, arguments["n_train"]) for task in tasks]
    kind, banks = STUDENTS[arguments["arm"]]
    size = {"parameters": arguments["fit_parameters"], "layers": 2}
    widths = q_network(*maps, kind=kind, banks=banks, **size).widths
    students = []
    for _, seed in tasks:
        torch.manual_seed(seed)
        students.append(student(maps, kind, banks, widths))
    measured = [
        {
            "error_at_start": symmetry_error(net, maps, test),
            "error_after_one_step": symmetry_error(stepped(net, x, y), maps, test),
        }
        for net, (x, y, test, _) in zip(students, data, strict=True)
    ]
    pairs = [torch.stack([each[i] for each in data]) for i in (0, 1)]
    fit(students, *pairs, arguments, moved_by=maps if arguments["arm"] == "augmented" else None)
    return [
        {
            "broken": broken,
            "seed": seed,
            "figure": "mse over variance",
            "value": error_of(net, *each[2:]),
            "parameters": learned_parameters(net),
            "spread": max(use_of(net).values(), default=0.0),
            **errors,
        }
        for (broken, seed), net, each, errors in zip(tasks, students, data, measured, strict=True)
    ]


def student(
    maps: tuple[Representation, Representation], kind: str, banks: int, widths: Sequence[int]
) -> nn.Module:
    """Three layers from states to the values of actions."""
    first, second = widths
    if kind == "plain":
        return nn.Sequential(
            nn.Linear(maps[0].dim, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, maps[1].dim),
        )
    frozen = kind == "exact"
    return nn.Sequential(
        RelaxedLiftingLinear(maps[0], first, banks=banks, frozen=frozen),
        nn.ReLU(),
        RelaxedGroupLinear(maps[0].group, first, second, banks=banks, frozen=frozen),
        nn.ReLU(),
        PermutedActionsHead(maps[1], second, banks=banks, frozen=frozen),
    )


@torch.no_grad()
def functions(
    maps: tuple[Representation, Representation], broken: str, seed: int, n: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs and noisy values to train on, and others to test on, without noise.

    The function is an exactly symmetric network of unit spread, broken by gains on two actions or
    by a plain network beside it.
    """
    kind, delta = broken.split()
    torch.manual_seed(1000 + seed)
    teacher, other = student(maps, "exact", 1, (8, 8)), student(maps, "plain", 1, (40, 40))
    x = torch.randn(n + TESTED, maps[0].dim)
    y, z = teacher(x), other(x)
    # One scale for all actions, which the group permutes.
    y, z = (y - y.mean()) / y.std(), (z - z.mean(0)) / z.std(0)
    if kind == "gain":
        y = y * (1 + float(delta) * torch.tensor([1.0, 0.0, -1.0, 0.0]))
    elif kind == "teacher":
        y = y + float(delta) * z
    return x[:n], y[:n] + NOISE * torch.randn(n, y.shape[1]), x[n:], y[n:]


def fit(
    students: list[nn.Module],
    x: Float[Tensor, "students n d"],
    y: Float[Tensor, "students n actions"],
    arguments: Mapping[str, Any],
    *,
    moved_by: tuple[Representation, Representation] | None,
) -> None:
    """Fit by Adam on the whole set, the learning rate falling along a cosine.

    With `moved_by`, a random element moves each sample in each step.

    Adam treats each number alone, so each student learns as it would by itself.
    """
    weights, buffers = stack_module_state(students)
    call = vmap(partial(functional_call, copy.deepcopy(students[0])))
    learned = [each for each in weights.values() if each.requires_grad]
    relaxed = [w for name, w in weights.items() if name.endswith("weights") and w.requires_grad]
    optimiser = torch.optim.Adam(learned, lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, arguments["fit_steps"])
    for _ in range(arguments["fit_steps"]):
        optimiser.zero_grad()
        inputs, wanted = (x, y) if moved_by is None else moved(x, y, moved_by, generator)
        loss = (call((weights, buffers), inputs) - wanted).square().mean((1, 2)).sum()
        for each in relaxed:
            loss = loss + PENALTY * vmap(partial(group_penalty, group="C4"))(each).sum()
        loss.backward()
        optimiser.step()
        schedule.step()
    for i, each in enumerate(students):
        each.load_state_dict({name: w[i].detach() for name, w in weights.items()}, strict=False)


def moved(
    x: Float[Tensor, "students n d"],
    y: Float[Tensor, "students n actions"],
    maps: tuple[Representation, Representation],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Samples moved by random elements, their values alike."""
    elements = torch.randint(maps[0].group.order, x.shape[:2], generator=generator)
    on_x, on_y = (each.matrices.float()[elements] for each in maps)
    return (on_x @ x[..., None]).squeeze(-1), (on_y @ y[..., None]).squeeze(-1)


@torch.no_grad()
def error_of(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Mean squared error over the variance."""
    return float((network(x) - y).square().mean() / y.var())


def stepped(network: nn.Module, x: Tensor, wanted: Tensor) -> nn.Module:
    """A copy after one step down the gradient; Adam's first step moves all weights alike."""
    network = copy.deepcopy(network)
    (network(x) - wanted).square().mean().backward()
    torch.optim.SGD([each for each in network.parameters() if each.requires_grad], lr=1e-2).step()
    return network


@torch.no_grad()
def symmetry_error(
    network: nn.Module, maps: tuple[Representation, Representation], x: Tensor
) -> float:
    """Largest |Q(gs, ga) - Q(s, a)| over the elements, in units of the spread of Q."""
    states, actions = (each.matrices.float() for each in maps)
    q = network(x)
    gaps = [network(x @ s.T) - q @ a.T for s, a in zip(states, actions, strict=True)]
    return float(torch.stack(gaps).abs().max() / q.std())


def use_of(network: nn.Module) -> dict[str, float]:
    """The spread of each filter bank, by layer and bank."""
    uses = symmetry_uses(network).items()
    return {f"{name}, {part}": value for name, use in uses for part, value in use.parts.items()}


# Parts B and C: agents


def on_grid(folder: Path, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Train one agent on the grid."""
    grid = FourGoalGrid(arguments["broken"], side=arguments["side"])
    bounds = {"optimum": grid.optimum(), "symmetric_optimum": grid.symmetric_optimum()}
    network = on_states_of_grid(arguments)[0]
    rows = trained(network, grid, arguments, arguments["updates"], gamma=grid.gamma)
    rows = [{**row, **bounds} if "updates" in row else row for row in rows]
    if rows[-1]["value"] is None:
        return rows
    return [*rows, *looked_into(network, arguments, folder)]


def on_states_of_grid(
    arguments: Mapping[str, Any],
) -> tuple[QNetwork, Callable[[Float[Tensor, "n 1 2"]], Float[Tensor, "n 2"]]]:
    """The untrained network of an arm on the grid, and how points in the plane become states."""
    maps = FourGoalGrid(arguments["broken"], side=arguments["side"]).maps
    return built(arguments, *maps, "grid_parameters", layers=3), partial(torch.squeeze, dim=1)


def on_cartpole(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Train one agent on CartPole."""
    task = GymnasiumTask(
        lambda: break_symmetry("CartPole-v1", arguments["broken"]), episodes=arguments["episodes"]
    )
    network = built(arguments, *reflection("CartPole-v1"), "control_parameters", layers=2)
    return trained(network, task, arguments, arguments["cart_updates"], gamma=0.99, lr=5e-4)


def built(
    arguments: Mapping[str, Any], states: object, actions: object, budget: str, layers: int
) -> QNetwork:
    """The untrained network of an arm."""
    torch.manual_seed(arguments["seed"])
    size = {"parameters": arguments[budget], "layers": layers}
    kind, banks = ARMS[arguments["arm"]]
    return q_network(states, actions, kind=kind, banks=banks, **size)


def trained(
    network: QNetwork,
    task: VectorTask,
    arguments: Mapping[str, Any],
    updates: int,
    **how: float,
) -> list[dict[str, Any]]:
    """The curve of one run of double DQN, and its end; a run that fails is a row too."""
    every = max(arguments["check_every"], updates // 12)
    end = {"figure": "score", "parameters": learned_parameters(network)}
    augment: bool | SymmetryGate = arguments["arm"] == "augmented"
    if arguments["arm"] == "gated":
        augment = SymmetryGate(network.on_states, network.on_actions)
    try:
        with warnings.catch_warnings():
            # In the middle of the grid all moves are as good as each other.
            warnings.simplefilter("ignore", OrbitLensWarning)
            settings = {"seed": arguments["seed"], "check_every": every, **how}
            run = train_dqn(network, task, updates=updates, augment=augment, **settings)
    except OrbitLensError as error:
        return [{**end, "value": None, "failure": str(error)}]
    curve = [{**row, "updates": int(row["updates"])} for row in run.history]
    spread = run.history[-1]["spread"]
    return [*curve, {**end, "value": run.score, "collapsed": run.collapsed, "spread": spread}]


def on_pendulum(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Train one agent on Pendulum by SAC."""
    kind, banks = ARMS[arguments["arm"]]
    steps = arguments["pole_steps"]
    envs = [break_symmetry("Pendulum-v1", arguments["broken"]) for _ in range(2)]
    agent = make_sac(
        envs[0],
        *reflection("Pendulum-v1"),
        kind=kind,
        banks=banks,
        parameters=arguments["control_parameters"],
        seed=arguments["seed"],
        scale=[1.0, 1.0, 4.0],
        learning_rate=1e-3,
    )
    end = {"figure": "score", "parameters": learned_parameters(agent.policy.actor)}
    try:
        how = {"check_every": max(steps // 10, 100), "episodes": arguments["episodes"]}
        run = train_sac(agent, envs[1], steps=steps, **how)
    except OrbitLensError as error:
        return [{**end, "value": None, "failure": str(error)}]
    figures = ("score", "spread", "q_scale")
    curve = [
        {"updates": int(row["steps"]), **{name: row[name] for name in figures}}
        for row in run.history
    ]
    return [*curve, {**end, "value": run.score, "spread": run.history[-1]["spread"]}]


def looked_into(
    network: QNetwork, arguments: Mapping[str, Any], folder: Path
) -> list[dict[str, Any]]:
    """The use of each layer; for the first seed, broken most, the layer report under turns."""
    uses = [{"module": name, "use": value} for name, value in use_of(network).items()]
    most = arguments["broken"] == max(arguments["e"]) and arguments["seed"] == 0
    if not most or arguments["arm"] not in arguments["reported_arms"]:
        return uses
    shown = {"first_hidden": network.trunk[1], "last_hidden": network.trunk[-1]}
    x = 2 * torch.rand(REPORTED, 2, generator=torch.Generator().manual_seed(0)) - 1
    turns = ol.actions.own(
        "C4", partial(_turned, network.on_states.matrices.float()), example=x[:8]
    )
    if arguments["arm"] == KEPT:
        points = {"inputs": x[:, None], "action": ol.actions.points("C4"), "layer": "trunk.1"}
        keep_network(folder, KEPT, network, arguments, **points)
    # Before it breaks, a hidden layer of width w is w copies of the regular representation.
    widths = dict(zip(shown, (network.widths[0], network.widths[-1]), strict=True))
    regular_copies = {name: [width] * len(irreps("C4")) for name, width in widths.items()}
    promised = None if network.kind == "plain" else regular_copies
    return [*uses, *layer_figures(network, shown, inputs=x, action=turns, promised=promised)]


def _turned(matrices: Tensor, states: Tensor, g: int) -> Tensor:
    return states @ matrices[g].T.to(states.dtype)


# Tables


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the seeds that ended, and how many failed or collapsed."""
    keys, found = ("task", "broken", "arm", "figure"), []
    measured = [record for record in records if "figure" in record]
    for key in dict.fromkeys(tuple(each[name] for name in keys) for each in measured):
        own = [each for each in measured if tuple(each[name] for name in keys) == key]
        ended = [each for each in own if each["value"] is not None]
        metrics = {"value": "std", "spread": "std"}
        rows = summarise(ended, keys, metrics) or [dict(zip(keys, key, strict=True))]
        found.append(
            {
                **rows[0],
                "worst": min((each["value"] for each in ended), default=None),
                "best": max((each["value"] for each in ended), default=None),
                "parameters": own[0]["parameters"],
                "collapsed": sum(each.get("collapsed", False) for each in ended),
                "failed": len(own) - len(ended),
            }
        )
    return found


def curves(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds at each check; failed runs have no curve."""
    keys = ("task", "broken", "arm", "updates")
    checked = [record for record in records if "updates" in record]
    return summarise(checked, keys, {"score": "std", "spread": "std", "q_scale": "std"})


def gates(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The promises of function fitting; nothing is promised of agents."""
    fits = [record for record in records if record["task"] == "fit"]
    means = {(row["broken"], row["arm"]): row["value_mean"] for row in results(fits)}
    pairs: list[tuple[str, float, str, float]] = []
    for broken, arm in means:
        if arm == "relaxed_2" and broken == "none 0":
            pairs.append(
                (f"{broken}: relaxed over exact", 1.1, "<=", _over(means, broken, "exact"))
            )
        if arm == "relaxed_2" and broken.startswith("gain"):
            for rival in ("exact", "exact_2", "plain"):
                ratio = _over(means, broken, rival)
                pairs.append((f"{broken}: relaxed_2 over {rival}", 1.0, "<", ratio))
    symmetric = [each for each in fits if STUDENTS[each["arm"]][0] != "plain"]
    relaxed = [
        each for each in symmetric if each["arm"] == "relaxed_2" and each["broken"] != "none 0"
    ]
    start = max(each["error_at_start"] for each in symmetric)
    step = min(each["error_after_one_step"] for each in relaxed)
    pairs.append(("largest symmetry error at the start, exact and relaxed", 1e-5, "<", start))
    pairs.append(("least symmetry error of relaxed after one step, broken", 1e-5, ">", step))
    tests = {"<=": float.__le__, "<": float.__lt__, ">": float.__gt__}
    return [
        {"promise": name, "found": found, "wanted": f"{sign} {limit:g}",
         "met": tests[sign](float(found), limit)}
        for name, limit, sign, found in pairs
    ]  # fmt: skip


def _over(means: Mapping[tuple[str, str], float], broken: str, rival: str) -> float:
    return means[broken, "relaxed_2"] / means[broken, rival]


def uses(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The spread of each filter bank of each layer, over seeds."""
    measured = [record for record in records if "module" in record]
    return summarise(measured, ("broken", "arm", "module"), {"use": "std"})


def layers(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The layer reports of the first seed."""
    return layer_table(records, ["broken", "arm"])


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw the errors of function fitting, and the curves of all agents."""
    fits = [row for row in tables["results.csv"] if row["task"] == "fit"]
    line_panels(
        [{**row, "test_error_mean": row["value_mean"], "test_error_std": row["value_std"]}
         for row in fits],
        folder / "fitting.png",
        x=("broken", "breaking"),
        series="arm",
        metrics={"test_error": "std"},
        title="Test error over variance, mean and standard deviation over seeds",
        dodge=0.5,
        joined=False,
    )  # fmt: skip
    for task in dict.fromkeys(row["task"] for row in tables["curves.csv"]):
        own = [row for row in tables["curves.csv"] if row["task"] == task]
        end = max(row["updates"] for row in own)
        # In hundreds, so that labels do not overlap; a check just before the end would hide it.
        rows = [
            {**row, "updates": round(row["updates"] / 100, 1 if task == "grid" else None)}
            for row in own
            if row["updates"] == end or end - row["updates"] >= 100
        ]
        sign = "e" if task == "grid" else "kappa"
        shown, panels = by_panel(rows, "score", f"{sign} = {{broken}}", spread="std")
        line_panels(
            shown,
            folder / f"{task}.png",
            x=("updates", f"hundreds of {'steps' if task == 'pendulum' else 'updates'}"),
            series="arm",
            metrics=panels,
            title=f"{task}: score without exploration, mean and standard deviation over seeds",
        )


RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    budgets=BUDGETS,
    jobs=jobs,
    compute=compute,
    tables={
        "results.csv": results,
        "curves.csv": curves,
        "gates.csv": gates,
        "layers.csv": layers,
        "use.csv": uses,
    },
    plot=plot,
    network=on_states_of_grid,
)

if __name__ == "__main__":
    main(RECIPE)
