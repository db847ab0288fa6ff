"""Probing in a run: boosted probes on the tasks of Shapes, logistic probes on class labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from orbitlens.activations import ActivationStore
from orbitlens.pipeline.config import RunConfig
from orbitlens.pipeline.console import Tick
from orbitlens.probe import score_readouts
from orbitlens.probe._from_store import probe_classes, shape_probe_sets, some_oriented_samples
from orbitlens.sae import SAE
from orbitlens.transport import Transport
from orbitlens.typing import Int

_ENCODED = 50_000_000
"""Codes in memory at once, in numbers."""
_SHAPE_GROUPS = ("C1", "C2", "C4", "D1", "D2", "D4")


@dataclass(frozen=True, eq=False)
class Truth:
    """The glyphs and classes of the samples, for probes to find.

    Args:
        shape_ids: The glyph in each quadrant, shape [n, 4]; None unless the images are Shapes.
        labels: One class per sample, shape [n], or None.
    """

    shape_ids: Int[np.ndarray, "n quadrant"] | None
    labels: Int[np.ndarray, " n"] | None


def probe_kind(config: RunConfig, truth: Truth, store: ActivationStore) -> str | None:
    """Return the possible kind of probes: "shapes", "logistic" or None."""
    if truth.shape_ids is not None:
        plain = store.positions == 1 and store.group.name in _SHAPE_GROUPS
        return "shapes" if plain else None
    if truth.labels is None:
        return None
    (chosen, _), _ = some_oriented_samples(store, config.probe_samples, config.seed)
    return "logistic" if len(np.unique(truth.labels[chosen])) > 1 else None


def probe_sae(
    config: RunConfig,
    truth: Truth,
    store: ActivationStore,
    sae: SAE,
    transport: Transport | None,
    tick: Tick | None = None,
) -> dict[str, Any] | None:
    """Probe the readouts of an SAE with the protocol that its data allow, for metrics.json.

    Probes for the tasks of Shapes see every readout, see `score_readouts`. Probes for classes see
    the invariant one, because a class has no orientation. Returns None without classes and tasks.
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
    train, held_out, families = shape_probe_sets(
        shape_ids,
        store,
        sae,
        choose=lambda names: range(0, len(names), config.probe_every),
        count=config.probe_samples,
        seed=config.seed,
    )
    t = sorted(set(config.probe_latents))
    rows = [
        {
            "latents": count,
            "task": family,
            "orientation": orientation,
            **({"readout": readout} if readout else {}),
            "f1": f1,
            "tasks": scores.families.count(family),
        }
        for readout, orientation, scores in score_readouts(
            train,
            held_out,
            sae,
            None if transport is None else transport.matrices,
            families=families,
            t=t,
            seed=config.seed,
            threads=config.probe_threads,
            progress=tick,
        )
        for family, by_count in scores.by_family.items()
        for count, f1 in by_count.items()
    ]
    latents = sorted({min(count, sae.d_sae) for count in t})
    return {"kind": "shapes", "latents": latents, "rows": rows}


def _probe_classes(
    config: RunConfig, labels: Int[np.ndarray, " n"], store: ActivationStore, sae: SAE
) -> dict[str, Any]:
    train, held_out = some_oriented_samples(store, config.probe_samples, config.seed)
    scores = probe_classes(
        sae,
        store,
        labels,
        train,
        held_out,
        t=sorted(config.probe_latents),
        at_once=_ENCODED // sae.d_sae,
    )
    rows = [
        {"latents": count, "accuracy": found.accuracy, "macro_f1": found.macro_f1}
        for count, found in scores.items()
    ]
    return {"kind": "logistic", "classes": len(np.unique(labels)), "rows": rows}
