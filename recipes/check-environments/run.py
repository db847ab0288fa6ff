"""Is a reflection a symmetry of an environment? Steps and a fitted model as judges.

Source of eps_R, eps_P and the bound on Q: Park et al., Approximate Equivariance in Reinforcement
Learning, arXiv 2411.04225. Nothing is published for these figures.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

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
from orbitlens.symmetry.check import (
    break_symmetry,
    check_environment,
    check_mdp,
    reflection,
)

STATES, ACTIONS = 12, 4  # of the random processes
WIDTH, LR, BATCH = 64, 3e-3, 128
EPISODE = 50
FULL = {
    "environments": ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "InvertedPendulum-v5"],
    "kappas": [0.0, 0.1, 0.3, 0.6],
    "seeds": 10,
    "n_states": 1024,
    "n_transitions": 8000,
    "processes": 200,
    "noises": [0.0, 0.05, 0.3, 1.0],
    "train_steps": 4000,
    "reported": 1000,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **FULL,
        "environments": ["CartPole-v1"],
        "kappas": [0.0, 0.3],
        "seeds": 2,
        "n_states": 64,
        "n_transitions": 600,
        "processes": 6,
        "train_steps": 50,
        "reported": 100,
    },
    "small": {
        **FULL,
        "seeds": 3,
        "n_states": 256,
        "n_transitions": 2000,
        "train_steps": 1000,
        "reported": 400,
    },
    "medium": {**FULL, "seeds": 5, "n_transitions": 4000, "train_steps": 2000},
    "full": FULL,
}
METRICS = ("eps_r", "eps_p", "miss_observations", "miss_rewards", "wrong_least", "wrong_median")


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    """One job for each environment and seed, and one for the processes with tables."""
    checks = [
        Job(f"{name}-{seed}", {**settings, "environment": name, "seed": seed})
        for name in settings["environments"]
        for seed in range(settings["seeds"])
    ]
    return [*checks, Job("processes", settings)]


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Check one environment and train its one-step network, or check the processes."""
    del folder
    if "environment" not in arguments:
        return [
            check_process(seed, noise)
            for seed in range(arguments["processes"])
            for noise in arguments["noises"]
        ]
    name, seed = arguments["environment"], arguments["seed"]
    states, actions = reflection(name)
    wrong = states.clone()
    wrong[1, -1, -1] *= -1
    found = []
    for judge, n in (("steps", arguments["n_states"]), ("model", arguments["n_transitions"])):
        check = partial(check_environment, actions=actions, judge=judge, n=n, seed=seed)
        for kappa in arguments["kappas"]:
            right = check(break_symmetry(name, kappa), states)
            found.append({"map": "reflection", "kappa": kappa, **figures_of(right)})
        found.append({"map": "one sign wrong", "kappa": 0.0, **figures_of(check(name, wrong))})
    return [{"environment": name, "seed": seed, **row} for row in (*found, *layers_of(arguments))]


def figures_of(check: Any) -> dict[str, Any]:
    """The figures of a check that the table shows."""
    return {
        "judge": check.judged_by,
        "eps_r": check.eps_r,
        "eps_p": check.eps_p,
        "miss_observations": check.wrong_maps["observations"],
        "miss_rewards": check.wrong_maps["rewards"],
        "wrong_least": check.wrong_maps["least"],
        "wrong_median": check.wrong_maps["median"],
        "finding": check.verdict,
        "better": check.wrong_maps["better"],
    }


def check_process(seed: int, noise: float) -> dict[str, Any]:
    """The gap of Q and its bound for a random process, symmetric but for a share `noise`."""
    generator, order = np.random.default_rng(seed), (2, 4)[seed % 2]
    turns = [
        np.arange(size) // order * order + (np.arange(size) + 1) % order
        for size in (STATES, ACTIONS)
    ]
    table = generator.dirichlet(np.full(STATES, 0.3), (STATES, ACTIONS))
    rewards = generator.normal(size=(STATES, ACTIONS))
    moved, paid = [table], [rewards]
    for _ in range(order - 1):
        moved.append(moved[-1][turns[0]][:, turns[1]][:, :, turns[0]])
        paid.append(paid[-1][turns[0]][:, turns[1]])
    table = noise * table + (1 - noise) * np.mean(moved, axis=0)
    rewards = noise * rewards + (1 - noise) * np.mean(paid, axis=0)
    check = check_mdp(table, rewards, *turns, gamma=0.9)
    # Without noise both are 0 but for rounding.
    share = check.gap / check.bound if noise else None
    return {
        "noise": noise,
        "group": f"C{order}",
        "process": seed,
        **check.to_dict(),
        "share": share,
    }


def layers_of(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The layer report of a one-step network, before and after training."""
    name, seed = arguments["environment"], arguments["seed"]
    inputs, changes, rho = transitions(name, arguments["n_transitions"], seed)
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Linear(inputs.shape[1], WIDTH),
        nn.Tanh(),
        nn.Linear(WIDTH, WIDTH),
        nn.Tanh(),
        nn.Linear(WIDTH, changes.shape[1]),
    )
    half = len(inputs) // 2
    batches = draw_batches(half, BATCH, torch.Generator().manual_seed(seed))

    def loss(step: int) -> Tensor:
        del step
        samples = next(batches)
        return (network(inputs[samples]) - changes[samples]).square().mean()

    action = ol.actions.own("C2", partial(_move, rho), example=inputs[:8])
    report = partial(
        layer_figures,
        network,
        {"first": network[1], "second": network[3]},
        inputs=inputs[half : half + arguments["reported"]],
        action=action,
        seed=seed,
    )
    rows = []
    for steps, _ in train_steps(network, loss, checks=[0, arguments["train_steps"]], lr=LR):
        network.eval()
        with torch.no_grad():
            error = (network(inputs[half:]) - changes[half:]).square().mean().item()
        network_name = "trained" if steps else "untrained"
        rows += [{"network": network_name, "mse": error, **row} for row in report()]
    return rows


def _move(rho: Tensor, values: Tensor, g: int) -> Tensor:
    return values @ rho[g].to(values.dtype).T


def transitions(name: str, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (s, a) and targets s' - s of random rollouts, and how the reflection moves inputs.

    Discrete actions are one-hot. All numbers are divided by their root mean squares, which break no
    symmetry of signs.
    """
    env = gymnasium.make(name)
    env.action_space.seed(seed)
    state, steps = env.reset(seed=seed)[0], 0
    rows = []
    while len(rows) < n:
        action = env.action_space.sample()
        following, _, terminated, truncated, _ = env.step(action)
        rows.append((state, action, following))
        state, steps = following, steps + 1
        if terminated or truncated or steps == EPISODE:
            state, steps = env.reset()[0], 0
    states, actions, following = (
        torch.from_numpy(np.stack([row[i] for row in rows])) for i in range(3)
    )
    on_states, on_actions = reflection(name)
    if on_actions.ndim == 2:
        size = on_actions.shape[1]
        actions = nn.functional.one_hot(actions, size)
        on_actions = nn.functional.one_hot(on_actions, size).mT.double()
    inputs = _scaled(torch.cat([states, actions], 1).float())
    rho = torch.stack([torch.block_diag(*pair) for pair in zip(on_states, on_actions, strict=True)])
    return inputs, _scaled((following - states).float()), rho


def _scaled(values: Tensor) -> Tensor:
    return values / values.square().mean(0).sqrt().clamp_min(1e-6)


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds, and every verdict."""
    measured = [record for record in records if "finding" in record]
    keys = ("environment", "judge", "map", "kappa")
    rows = summarise(measured, keys, dict.fromkeys(METRICS, "std"))
    for row in rows:
        own = [each for each in measured if all(each[key] == row[key] for key in keys)]
        row["verdicts"] = "; ".join(dict.fromkeys(each["finding"] for each in own))
    return rows


def processes(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How much of the bound the gap of Q takes in the random processes."""
    measured = [record for record in records if "process" in record]
    names = ("eps_r", "eps_p", "gap", "bound", "share")
    rows = summarise(measured, ["noise"], dict.fromkeys(names, "std"))
    for row in rows:
        own = [each for each in measured if each["noise"] == row["noise"]]
        row["largest_share"] = max((each["share"] or 0.0) for each in own)
        row["within"] = sum(each["gap"] <= each["bound"] + 1e-9 for each in own)
    return rows


def layers(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The layer reports."""
    return layer_table(records, ["environment", "network"])


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw eps_R and eps_P by kappa, one panel for each environment."""
    rows = [row for row in tables["results.csv"] if row["map"] == "reflection"]
    for metric, words in (("eps_r", "eps_R: rewards"), ("eps_p", "eps_P: next observations")):
        shown = [{**row, f"{metric}_stderr": row[f"{metric}_std"]} for row in rows]
        laid_out, panels = by_panel(shown, metric, "{environment}")
        line_panels(
            laid_out,
            folder / f"{metric}.png",
            x=("kappa", "kappa (not to scale)"),
            series="judge",
            metrics=panels,
            title=f"{words}; largest seen by steps, root mean square by the model, over seeds",
            dodge=0.3,
        )


RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    budgets=BUDGETS,
    jobs=jobs,
    compute=compute,
    tables={"results.csv": results, "processes.csv": processes, "layers.csv": layers},
    plot=plot,
)

if __name__ == "__main__":
    main(RECIPE)
