"""The parts of metrics.json that say what a run looked at."""

from typing import Any

import numpy as np
import torch

from orbitlens.activations import ActivationStore
from orbitlens.activations.layout import layout_sentence
from orbitlens.pipeline._job import Job
from orbitlens.pipeline._network_input import warn_of_flat, warn_of_oblong
from orbitlens.pipeline.folder import RunFolder
from orbitlens.pipeline.measure import variation
from orbitlens.transport import Transport
from orbitlens.typing import Int

_NAMED = 100  # names of files; sentences give their number


def describe_action(job: Job) -> dict[str, Any]:
    """Return the name of the action, its settings, and the error of its interpolation."""
    action = job.action
    error = 0.0 if action.exact else action.error(job.source.inputs.values[:64])
    return {"name": action.name, "exact": action.exact, "error": error, **action.config}


def describe_data(job: Job, store: ActivationStore) -> dict[str, Any]:
    """Return the name and digest of the images, their numbers and classes."""
    train, held_out = store.split()
    inputs = job.source.inputs
    return {
        "name": inputs.name,
        "n": store.n,
        "train": len(train),
        "held_out": len(held_out),
        "digest": inputs.digest,
        "classes": list(inputs.class_names),
        "skipped": list(inputs.skipped[:_NAMED]),
        "passed_over": list(inputs.passed_over),
    }


def log_data(job: Job, folder: RunFolder) -> None:
    """Write what the network gets, and what was passed over among the images, to the log."""
    given = job.network_input
    folder.log(f"the network gets {given['sentence']}")
    warn_of_flat(job.model.name, given)
    warn_of_oblong(job.model.name, job.action, job.source.inputs.values.shape, given)
    for sentence in job.source.inputs.passed_over:
        folder.log(sentence)


def log_layout(store: ActivationStore, positions: str, folder: RunFolder) -> None:
    """Write the layout of the layer to the log."""
    if store.layout is not None:
        folder.log(f"layer {store.layer!r}: {_layout(store, positions)}")


@torch.no_grad()
def describe_model(
    job: Job, store: ActivationStore, samples: Int[np.ndarray, " n"]
) -> dict[str, Any]:
    """Return name, layer, widths and variation of the model, and an autoencoder's error."""
    mse = None
    if job.trains_model:
        moved = job.action.orbit(job.source.inputs.values[samples]).flatten(0, 1)
        mse = (job.model.module(moved) - moved).square().mean().item()
    return {
        "name": job.model.name,
        "layer": job.model.layer,
        "input": job.network_input,
        "dim": store.dim,
        "positions": store.positions,
        "layout": _layout(store, job.config.positions),
        "variation": variation(store.orbits(samples)),
        "mse": mse,
    }


def _layout(store: ActivationStore, positions: str) -> str:
    """Say the layout of the layer, and which of its places became the activation."""
    sentence, layout = layout_sentence(store.layout), store.layout or {}
    if store.positions > 1 or " at " not in sentence:
        return sentence
    of_class = layout.get("first") and positions in ("auto", "cls")
    return f"{sentence}, of which {'the class token' if of_class else 'the mean'} is taken"


def describe_transport(transport: Transport) -> dict[str, Any]:
    """Return the figures of a transport, JSON-ready."""
    return {
        "method": transport.method,
        "dim": transport.dim,
        "variable": transport.motion.variable,
        "r2": transport.r2,
        "r2_interval": list(transport.r2_interval),
        "identity_r2": transport.identity_r2,
        "r2_per_element": transport.r2_per_element.tolist(),
        "identity_r2_per_element": transport.identity_r2_per_element.tolist(),
        "relation_error": transport.relation_error,
        "order_errors": transport.order_errors,
        "condition_number": transport.condition_number,
    }
