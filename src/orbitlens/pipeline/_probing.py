"""Probing in a run: boosted probes on the tasks of Shapes, logistic probes on class labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from orbitlens.activations import ActivationStore
from orbitlens.data import shape_tasks
from orbitlens.pipeline.config import RunConfig
from orbitlens.pipeline.console import Tick
from orbitlens.probe import (
    ProbeScores,
    ProbeSet,
    largest_between_class_variance,
    logistic_scores,
    probe_tasks,
)
from orbitlens.sae import SAE
from orbitlens.transport import Transport
from orbitlens.typing import Elements, Float, Int, Tensor

_ENCODED = 50_000_000
"""Codes of several positions that are in memory at once, in numbers."""
SHAPE_GROUPS = ("C1", "C2", "C4", "D1", "D2", "D4")


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known about the samples, for probes to find.

    Args:
        shape_ids: Which glyph stands in each quadrant, shape [n, 4]; None unless they are Shapes.
        labels: One class per sample, shape [n], or None.
    """

    shape_ids: Int[np.ndarray, "n quadrant"] | None
    labels: Int[np.ndarray, " n"] | None


def probe_kind(config: RunConfig, truth: Truth, store: ActivationStore) -> str | None:
    """Say which probes are possible: "shapes", "logistic" or None."""
    if truth.shape_ids is not None:
        plain = store.positions == 1 and store.group.name in SHAPE_GROUPS
        return "shapes" if plain else None
    labels = truth.labels
    chosen, _ = _oriented_samples(store, config.probe_samples, config.seed)[0]
    enough = labels is not None and len(np.unique(labels[chosen])) > 1
    return "logistic" if enough else None


def probe_sae(
    config: RunConfig,
    truth: Truth,
    store: ActivationStore,
    sae: SAE,
    transport: Transport | None,
    tick: Tick | None = None,
) -> dict[str, Any] | None:
    """Probe an SAE with the protocol that its data allow.

    Probes train on training orbits, one random element each, and are scored on held-out orbits in
    every orientation. An orbit SAE has two readouts. Probes for the tasks of Shapes see each:
    "invariant", its codes pooled over the group, and "oriented", truncated reconstructions of pairs
    (element, atom). Probes for classes see the first, as a class has no orientation.

    Args:
        config: Settings of the run.
        truth: What is known about the samples.
        store: Their activations.
        sae: The SAE.
        transport: Its transport; None for an SAE without one.
        tick: Progress.

    Returns:
        A JSON-ready record, or None if there is nothing to probe for.
    """
    kind = probe_kind(config, truth, store)
    if kind == "shapes" and truth.shape_ids is not None:
        return _probe_shapes(config, truth.shape_ids, store, sae, transport, tick)
    if kind == "logistic" and truth.labels is not None:
        return _probe_classes(config, truth.labels, store, sae)
    return None


@torch.no_grad()
def _probe_shapes(
    config: RunConfig,
    shape_ids: Int[np.ndarray, "n quadrant"],
    store: ActivationStore,
    sae: SAE,
    transport: Transport | None,
    tick: Tick | None,
) -> dict[str, Any]:
    *sets, families = shape_probe_sets(
        shape_ids,
        store,
        sae,
        choose=lambda names: range(0, len(names), config.probe_every),
        count=config.probe_samples,
        seed=config.seed,
    )
    scores = partial(
        probe_tasks,
        families=families,
        seed=config.seed,
        workers=config.probe_threads,
        progress=tick,
    )
    rows: list[dict[str, Any]] = []
    latents = _affordable(config, sae.d_sae)
    if sae.dictionary.group is not None:
        pooled = [replace(part, codes=sae.dictionary.pooled(part.codes)) for part in sets]
        atoms = _affordable(config, pooled[0].codes.shape[1])
        invariant = scores(*pooled, W_dec=None, t=atoms)
        oriented = scores(*sets, W_dec=sae.W_dec, t=latents)
        rows += _rows(invariant, "none", readout="invariant")
        rows += _rows(oriented, "none", readout="oriented")
    elif transport is None:
        rows += _rows(scores(*sets, W_dec=sae.W_dec, t=latents), "none")
    else:
        for orientation in ("oracle", "inferred"):
            moved = scores(
                *sets,
                W_dec=sae.W_dec,
                matrices=transport.matrices,
                orientation=orientation,
                t=latents,
            )
            rows += _rows(moved, orientation)
    return {"kind": "shapes", "latents": latents, "rows": rows}


def _rows(scores: ProbeScores, orientation: str, **readout: str) -> list[dict[str, Any]]:
    return [
        {
            "latents": count,
            "task": family,
            "orientation": orientation,
            **readout,
            "f1": f1,
            "tasks": scores.families.count(family),
        }
        for family, by_count in scores.by_family.items()
        for count, f1 in by_count.items()
    ]


@torch.no_grad()
def shape_probe_sets(
    shape_ids: Int[np.ndarray, "n quadrant"],
    store: ActivationStore,
    sae: SAE,
    *,
    choose: Callable[[Sequence[str]], Sequence[int]],
    count: int,
    seed: int,
) -> tuple[ProbeSet, ProbeSet, list[str]]:
    """Encode what the tasks of Shapes are probed on, and label it.

    Args:
        shape_ids: Which glyph stands in each quadrant, shape [n, 4].
        store: Activations of the images.
        sae: The SAE.
        choose: Given the family of every task, returns the indices of those to probe for.
        count: Training samples, each in one random orientation.
        seed: Seed of the samples and their orientations.

    Returns:
        The training set, the held-out set (every orientation), and the family of each task.
    """
    sets, families = [], []
    for samples, elements in _oriented_samples(store, count, seed):
        tasks = shape_tasks(shape_ids[samples], elements.numpy(), store.group)
        probed = list(choose(tasks.families))
        x = _activations(store, samples, elements)
        output = sae(x)
        labels = torch.from_numpy(tasks.labels[:, probed].copy())
        sets.append(ProbeSet(output.codes, labels, elements, x, output.x_hat))
        families = [tasks.families[task] for task in probed]
    train, held_out = sets
    return train, held_out, families


@torch.no_grad()
def _probe_classes(
    config: RunConfig, labels: Int[np.ndarray, " n"], store: ActivationStore, sae: SAE
) -> dict[str, Any]:
    codes, targets = [], []
    for samples, elements in _oriented_samples(store, config.probe_samples, config.seed):
        codes.append(_readout(sae, store, samples, elements))
        targets.append(torch.from_numpy(labels[samples]))
    rows = []
    for count in _affordable(config, codes[0].shape[1]):
        kept = largest_between_class_variance(codes[0], targets[0], count)
        scores = logistic_scores(codes[0], targets[0], codes[1], targets[1], kept)
        rows.append({"latents": count, "accuracy": scores.accuracy, "macro_f1": scores.macro_f1})
    return {"kind": "logistic", "classes": len(np.unique(labels)), "rows": rows}


def _affordable(config: RunConfig, width: int) -> list[int]:
    """A readout with fewer latents than asked for is probed with all that it has."""
    return sorted({min(count, width) for count in config.probe_latents})


def _readout(
    sae: SAE, store: ActivationStore, samples: Int[np.ndarray, " n"], elements: Elements
) -> Float[Tensor, "n width"]:
    """What probes for classes see: codes, of an orbit SAE pooled over the group."""
    step = max(1, _ENCODED // (store.positions * sae.d_sae))
    parts = []
    for start in range(0, len(samples), step):
        here = slice(start, start + step)
        codes = pooled_codes(sae, store, samples[here], elements[here])
        parts.append(sae.dictionary.pooled(codes))
    return torch.cat(parts)


def pooled_codes(
    sae: SAE, store: ActivationStore, samples: Int[np.ndarray, " n"], elements: Elements
) -> Float[Tensor, "n latents"]:
    """Encode samples in the given orientations; codes of several positions are averaged.

    Args:
        sae: The SAE.
        store: Activations of orbits.
        samples: Samples, shape [n].
        elements: One element per sample, shape [n].

    Returns:
        Codes, shape [n, d_sae].
    """
    x = _activations(store, samples, elements)
    return sae.encode(x).unflatten(0, (len(samples), store.positions)).mean(1)


def _oriented_samples(
    store: ActivationStore, count: int, seed: int
) -> list[tuple[Int[np.ndarray, " n"], Elements]]:
    """Choose training samples with one random element each, and held-out samples with every one."""
    train, held_out = store.split()
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.permutation(train)[:count])
    elements = generator.integers(store.group.order, size=len(chosen))
    every = np.tile(np.arange(store.group.order), len(held_out))
    return [
        (chosen, torch.from_numpy(elements)),
        (np.repeat(held_out, store.group.order), torch.from_numpy(every)),
    ]


def _activations(
    store: ActivationStore, samples: Int[np.ndarray, " n"], elements: Elements
) -> Float[Tensor, "rows dim"]:
    """Activations of samples, each in its own orientation, position by position."""
    unique, inverse = np.unique(samples, return_inverse=True)
    orbits = store.orbits(unique).unflatten(0, (len(unique), store.positions))
    return orbits[torch.from_numpy(inverse), :, elements].flatten(0, 1)
