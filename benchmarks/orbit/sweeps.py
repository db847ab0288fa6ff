"""Small sweeps on planted features: the cases in which the orbit SAE wins, and in which it loses.

    OMP_NUM_THREADS=1 python benchmarks/orbit/sweeps.py      # exits 1 if the sane case fails

The orbit SAE is compared with an ordinary SAE that has as many latents as it has atoms (narrow),
and with one that has as many as it has pairs (wide), unless a sweep says otherwise. All have linear
encoders, learning rate 2e-3, the same steps and batches; the transport is fitted. Writes
sweeps.csv, one line for each sweep, value and column (mean over seeds), and sweeps.png.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sweeps_data import Planted, planted, planted_on_circle, relabel, shuffle
from sweeps_plot import draw

import orbitlens as ol
from orbitlens import metrics, objectives
from orbitlens.files import write_table
from orbitlens.sae import SAE, OrbitDictionary
from orbitlens.transport import measure_layer

N, HELD_OUT, ATOMS, OBJECTS = 2500, 500, 16, 3
STEPS, BATCH, LR, HIDDEN = 1000, 256, 2e-3, 128
# One function for each weight, so that members of a stack share it.
WEIGHTED: dict[float, Callable[..., torch.Tensor]] = {}
C4, D2, D4 = ol.groups.cyclic(4), ol.groups.dihedral(2), ol.groups.dihedral(4)


@dataclass(eq=False)
class Source:
    """Orbits to train on, with their transport."""

    data: Planted
    method: str = "exact"
    train: np.ndarray | None = None
    verdict: str = ""

    def __post_init__(self) -> None:
        self.store = ol.store_from_array(self.data.orbits, group=self.data.group)
        train, held_out = self.store.split()
        self.train = train if self.train is None else self.train
        self.held_out = held_out[:HELD_OUT]
        split = (self.train, self.held_out)
        self.rho = ol.fit_transport(self.store, self.method, split=split)
        if self.method == "exact":
            self.verdict = measure_layer(self.store, split=split).verdict


@dataclass(eq=False)
class Trial:
    """One SAE of one sweep."""

    sweep: str
    value: float | str
    column: str
    seed: int
    source: Source
    sae: SAE
    objective: Callable[..., torch.Tensor] = objectives.reconstruction
    steps: int = STEPS
    figures: dict[str, float] = field(default_factory=dict)


def columns(
    sweep: str,
    value: float | str,
    seed: int,
    source: Source,
    *,
    atoms: int = ATOMS,
    k: int = OBJECTS,
    steps: int = STEPS,
    wide: int | None = None,
    more: bool = False,
    **tied: Any,
) -> list[Trial]:
    """Return the columns of a sweep; with `more` also an orbit SAE as large as the wide one."""
    dim, order = source.store.dim, tied.get("group", source.store.group).order
    built = {
        "orbit": ol.sae.orbit_sae(dim, atoms, k, source.rho, seed=seed, **tied),
        "narrow": ol.sae.topk_sae(dim, atoms, k, seed=seed),
        "wide": ol.sae.topk_sae(dim, atoms * order if wide is None else wide, k, seed=seed),
    }
    if more:
        built["orbit x4"] = ol.sae.orbit_sae(dim, 4 * atoms, k, source.rho, seed=seed, **tied)
    return [
        Trial(sweep, value, name, seed, source, sae, steps=steps) for name, sae in built.items()
    ]


def sweep_k(seed: int) -> Iterable[Trial]:
    """Codes kept: too few, as many as there are objects, too many."""
    source = Source(planted(C4, n=N, seed=seed))
    for k in (1, 2, 3, 6, 12):
        yield from columns("k", k, seed, source, k=k)


def sweep_atoms(seed: int) -> Iterable[Trial]:
    """Atoms: fewer than there are features, as many, more."""
    source = Source(planted(C4, n=N, seed=seed))
    for atoms in (8, 12, 16, 32, 64):
        yield from columns("atoms", atoms, seed, source, atoms=atoms)


def sweep_noise(seed: int) -> Iterable[Trial]:
    """Noise over signal."""
    for noise in (0.0, 0.1, 0.3, 1.0):
        yield from columns("noise", noise, seed, Source(planted(C4, n=N, seed=seed, noise=noise)))


def sweep_orbits(seed: int) -> Iterable[Trial]:
    """Training orbits, at equal steps; the transport is fitted to the same few."""
    data = planted(C4, n=10_240, seed=seed)
    for count in (16, 32, 128, 512, 2048, 8192):
        train = ol.activations.split_samples(len(data.orbits))[0][:count]
        yield from columns("orbits", count, seed, Source(data, train=train))


def sweep_steps(seed: int) -> Iterable[Trial]:
    """Steps of training."""
    source = Source(planted(C4, n=N, seed=seed))
    for steps in (250, 1000, 4000):
        yield from columns("steps", steps, seed, source, steps=steps)


def sweep_broken(seed: int) -> Iterable[Trial]:
    """Directions pushed off the group's: u[g, f] = rho(g) v_f + broken W_g v_f."""
    for broken in (0.0, 0.1, 0.2, 0.35, 0.5, 1.0):
        source = Source(planted(C4, n=N, seed=seed, broken=broken))
        yield from columns("broken", broken, seed, source, more=True)


def sweep_knob(seed: int) -> Iterable[Trial]:
    """A group convolution on digits with free kernels added to the tied ones; nothing planted."""
    images = ol.data.digits(8).values
    action = ol.actions.images(C4)
    for knob in (0.0, 0.05, 0.1, 0.2, 0.4, 0.8):
        model = ol.models.GroupCNN(C4, features=8, broken=knob, seed=seed)
        orbits = ol.harvest(model, layer="pool", inputs=images, action=action).orbits()
        none = torch.zeros(0, orbits.shape[-1])
        data = Planted(C4, orbits, orbits, none, none, none, none)
        yield from columns("knob", knob, seed, Source(data), k=4, more=True)


def sweep_group(seed: int) -> Iterable[Trial]:
    """The right group, a wrong one, shuffled labels; groups that are too large."""
    data = planted(C4, n=N, seed=seed)
    half = ol.groups.cyclic(2)
    for name, own in {
        "C4": data,
        "half of it: C2": relabel(data, half, (0, 2)),
        "wrong: D2": relabel(data, D2, range(4)),
        "shuffled": shuffle(data, seed),
        "C8, half does nothing": relabel(data, ol.groups.cyclic(8), (0, 1, 2, 3) * 2),
    }.items():
        yield from columns("group", name, seed, Source(own), wide=4 * ATOMS)
    flips = planted(D4, n=N, seed=seed, copies=4, fixed_by=(0, 4))
    source = Source(flips)
    yield from columns("group", "D4, a flip does nothing", seed, source, wide=4 * ATOMS)
    sae = ol.sae.orbit_sae(source.store.dim, ATOMS, OBJECTS, source.rho, tolerance=0.2, seed=seed)
    yield Trial("group", "the same, tolerance 0.2", "orbit", seed, source, sae)
    yield from columns("group", "its C4", seed, source, wide=4 * ATOMS, group=C4)


def sweep_objects(seed: int) -> Iterable[Trial]:
    """Objects with orientations of their own; one pose for all, and the paper's canonical one."""
    for objects in (1, 2, 4, 6):
        source = Source(planted(C4, n=N, seed=seed, objects=objects, upright=True))
        dim = source.store.dim
        yield from columns("objects", objects, seed, source, k=objects)
        pose = ol.sae.orbit_sae(dim, ATOMS, objects, source.rho, one_pose=True, seed=seed)
        yield Trial("objects", objects, "one pose", seed, source, pose)
        for name, latents in {"canonical": ATOMS, "canonical wide": 4 * ATOMS}.items():
            sae = ol.sae.topk_sae(dim, latents, objects, hidden=HIDDEN, seed=seed)
            yield Trial("objects", objects, name, seed, source, sae, objectives.canonical)


def sweep_circle(seed: int) -> Iterable[Trial]:
    """Objects at any angle; orbit SAEs over C4 to C32, wide ones of as many directions."""
    source = Source(planted_on_circle(ol.groups.cyclic(32), n=1000, seed=seed), "lie")
    for turns in (4, 8, 16, 32):
        group = ol.groups.cyclic(turns)
        yield from columns("circle", turns, seed, source, atoms=8, k=2, group=group)


def sweep_circle_k(seed: int) -> Iterable[Trial]:
    """The same with two codes for each object."""
    source = Source(planted_on_circle(ol.groups.cyclic(32), n=1000, seed=seed), "lie")
    for turns in (8, 16, 32):
        group = ol.groups.cyclic(turns)
        yield from columns("circle_k", turns, seed, source, atoms=8, k=4, group=group)


def sweep_invariant(seed: int) -> Iterable[Trial]:
    """Features that the group leaves alone, of 16; wide has as many latents as directions."""
    for count in (0, 8, 12, 16):
        data = planted(C4, n=N, seed=seed, copies=5, trivial=12, n_invariant=count)
        wide = count + 4 * (ATOMS - count)
        yield from columns("invariant", count, seed, Source(data), wide=wide)


def sweep_encoder(seed: int) -> Iterable[Trial]:
    """Linear encoders and the paper's two-layer ones."""
    source = Source(planted(C4, n=N, seed=seed))
    dim = source.store.dim
    for name, hidden in {"linear": None, "two layers": HIDDEN}.items():
        built = {
            "orbit": ol.sae.orbit_sae(dim, ATOMS, OBJECTS, source.rho, hidden=hidden, seed=seed),
            "narrow": ol.sae.topk_sae(dim, ATOMS, OBJECTS, hidden=hidden, seed=seed),
            "wide": ol.sae.topk_sae(dim, 4 * ATOMS, OBJECTS, hidden=hidden, seed=seed),
        }
        for column, sae in built.items():
            yield Trial("encoder", name, column, seed, source, sae)


def sweep_weight(seed: int) -> Iterable[Trial]:
    """The weight of `orbit_invariance` where the symmetry is broken by a half."""
    source = Source(planted(C4, n=N, seed=seed, broken=0.5))
    for weight in (0.0, 1.0, 3.0, 10.0, 30.0, 100.0):
        sae = ol.sae.orbit_sae(source.store.dim, ATOMS, OBJECTS, source.rho, seed=seed)
        objective = WEIGHTED.setdefault(weight, partial(objectives.orbit_invariance, weight=weight))
        yield Trial("weight", weight, "orbit", seed, source, sae, objective)


SWEEPS: dict[str, Callable[[int], Iterable[Trial]]] = {
    "k": sweep_k,
    "atoms": sweep_atoms,
    "noise": sweep_noise,
    "orbits": sweep_orbits,
    "steps": sweep_steps,
    "broken": sweep_broken,
    "knob": sweep_knob,
    "group": sweep_group,
    "objects": sweep_objects,
    "circle": sweep_circle,
    "circle_k": sweep_circle_k,
    "invariant": sweep_invariant,
    "encoder": sweep_encoder,
    "weight": sweep_weight,
}


def train(trials: Sequence[Trial]) -> None:
    """Train trials that share steps and training samples in one call, stacked where they can be."""
    together: dict[tuple[int, bytes], list[Trial]] = {}
    for trial in trials:
        key = trial.steps, np.asarray(trial.source.train).tobytes()
        together.setdefault(key, []).append(trial)
    for (steps, _), own in together.items():
        samples = np.asarray(own[0].source.train)
        ol.fit(
            [trial.sae for trial in own],
            [trial.source.store for trial in own],
            objective=[trial.objective for trial in own],
            epochs=-(-steps // -(-len(samples) // BATCH)),
            batch_size=BATCH,
            lr=LR,
            seed=[trial.seed for trial in own],
            samples=samples,
        )


@torch.no_grad()
def measure(trial: Trial) -> None:
    """Take every figure of a trained SAE on held-out orbits."""
    source, sae = trial.source, trial.sae
    data, order = source.data, source.store.group.order
    orbits, clean = (x[source.held_out] for x in (data.orbits, data.clean))
    output = sae(orbits.flatten(0, 1))
    x_hat = output.x_hat.unflatten(0, orbits.shape[:2])
    if trial.objective is objectives.canonical:
        x_hat = torch.einsum("gij,ngj->ngi", data.matrices, x_hat)
    x_hat = x_hat.flatten(0, 1)
    trial.figures = {
        "mse": metrics.normalised_mse(orbits.flatten(0, 1), x_hat).item(),
        "signal_mse": metrics.normalised_mse(clean.flatten(0, 1), x_hat).item(),
        "l0": metrics.l0(output.codes).mean().item(),
        "parameters": sum(p.numel() for p in sae.parameters()),
        "directions": sae.d_sae,
        "r2": source.rho.r2,
    }
    own, codes = sae.W_dec, output.codes
    if isinstance(sae.dictionary, OrbitDictionary):
        own, codes = own[: sae.dictionary.n_atoms], sae.dictionary.pooled(codes)
        orbit_sizes = sae.dictionary.group.order / sae.dictionary.stabilisers.sum(0)
        trial.figures["orbit_size"] = orbit_sizes.mean().item()
    trial.figures["dead"] = metrics.dead_latents(codes).item() / codes.shape[-1]
    if len(data.features):
        modulo = metrics.feature_recovery(own, data.features, data.matrices)
        trial.figures["recovery"] = modulo.score
        every = metrics.feature_recovery(sae.W_dec, data.directions)
        trial.figures["recovery_of_directions"] = every.score
    if trial.sweep == "weight":
        pooled = codes.unflatten(0, orbits.shape[:2])
        trial.figures["invariance_error"] = metrics.invariance_error(pooled).item()
    if trial.sweep in ("objects", "weight"):
        present = data.present[source.held_out].repeat_interleave(order, 0)
        for m in (1, 4):
            trial.figures[f"detection_top{m}"] = metrics.feature_detection(codes, present, m=m)


def summarise(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds, one record for each sweep, value and column."""
    cells: dict[tuple[str, float | str, str], list[Trial]] = {}
    for trial in trials:
        cells.setdefault((trial.sweep, trial.value, trial.column), []).append(trial)
    rows = []
    for (sweep, value, column), own in cells.items():
        row: dict[str, Any] = {"sweep": sweep, "value": value, "column": column, "seeds": len(own)}
        for name in own[0].figures:
            row[name] = float(np.mean([trial.figures[name] for trial in own]))
        row["mse_std"] = float(np.std([trial.figures["mse"] for trial in own], ddof=len(own) > 1))
        row["verdict"] = "; ".join(dict.fromkeys(trial.source.verdict for trial in own))
        rows.append(row)
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print each sweep: normalised MSE, then recovery, one line for each value."""
    for sweep in dict.fromkeys(row["sweep"] for row in rows):
        own = [row for row in rows if row["sweep"] == sweep]
        columns = list(dict.fromkeys(row["column"] for row in own))
        print(f"\n| {sweep} | R² | {' | '.join(f'{c}: MSE, recovery' for c in columns)} |")
        print("|---" * (2 + len(columns)) + "|")
        for value in dict.fromkeys(row["value"] for row in own):
            line = {row["column"]: row for row in own if row["value"] == value}
            cells = [
                f"{line[c]['mse']:.4f}, {line[c].get('recovery', np.nan):.2f}" if c in line else ""
                for c in columns
            ]
            print(f"| {value} | {line['orbit']['r2']:.3f} | {' | '.join(cells)} |")


def sane(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether without noise, with the right k, atoms and group, the orbit SAE is below both."""
    case = {
        row["column"]: row["mse"] for row in rows if row["sweep"] == "noise" and row["value"] == 0
    }
    return not case or case["orbit"] < min(case["narrow"], case["wide"])


def main() -> int:
    """Run the sweeps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.only:
        start = time.perf_counter()
        trials = [trial for seed in range(options.seeds) for trial in SWEEPS[name](seed)]
        train(trials)
        for trial in trials:
            measure(trial)
        rows += summarise(trials)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    write_table(rows, options.out / "sweeps.csv")
    draw(rows, options.out / "sweeps.png")
    table(rows)
    return 0 if sane(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
