"""A harvest as one record: what a user asked for, and the passes through the network."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float32, Int, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.activations.harvest._function import (
    check_function,
    check_unchanged,
    dtype_of,
    warn_of_constants,
)
from orbitlens.activations.harvest._hooks import seeded, take_outputs
from orbitlens.activations.harvest._inputs import (
    Batches,
    check_inputs,
    device_of,
    make_ready,
    moved_batches,
    telling_inputs,
)
from orbitlens.activations.harvest._positions import Layout
from orbitlens.activations.store._claim import check_free
from orbitlens.activations.store._on_disk import check_dtype, check_finite
from orbitlens.activations.store._open_store import describe
from orbitlens.activations.store._resume_settings import name_of, weights_digest
from orbitlens.checks import as_count, as_labels
from orbitlens.data import Inputs, LazyInputs, Rows
from orbitlens.errors import OrbitLensError, warn
from orbitlens.models import Prepare, as_they_are, check_network, get_layer
from orbitlens.typing import Progress

Blocks = Iterator[dict[str, Float32[np.ndarray, "_ group *rest"]]]
# A worker process gets no inputs, and no functions of the user, which may be closures.
_STAY_WITH_PARENT = ("inputs", "action", "labels", "files", "prepare", "progress", "settings")


@final
@dataclass(frozen=True, eq=False)
class Job:
    """A harvest: what a user asked for, and how the activations of each layer are taken.

    In a worker process a job has neither inputs nor the user's functions.

    Args:
        target: Address of the store, or of the folder of stores; None for memory.
        prepare: Makes moved inputs ready for the network; None if they are ready.
        settings: Further settings that determine the output.
        max_dim: Width of the activations of many layers, at most. None for the one layer of
            `harvest`, which keeps all channels and has its store at the target itself.
        layouts: How the activations of each layer are taken; known after a first look.
        numbered: Whether the stores of many layers have numbers for names, as no layer's name is
            ever a path. An earlier version named them after their layers.

    See `harvest` for the other settings.
    """

    model: nn.Module
    inputs: Rows
    action: Action
    target: Path | str | None
    labels: Int[np.ndarray, " labels"] | None
    class_names: tuple[str, ...]
    batch_size: int
    dtype: str
    workers: int
    resume: bool
    prepare: Prepare | None
    name: str | None
    progress: Progress | None
    settings: Mapping[str, Any]
    max_dim: int | None = None
    seed_forward: int | None = None
    files: tuple[str, ...] = ()
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    numbered: bool = True

    def __getstate__(self) -> dict[str, Any]:
        """Return what is sent to a worker process."""
        return {name: each for name, each in vars(self).items() if name not in _STAY_WITH_PARENT}

    def check(self) -> None:
        """Check the settings, before any work."""
        check_network(self.model)
        if self.seed_forward is not None:
            as_count("seed_forward", self.seed_forward, least=0, most=2**63 - 1)
        as_count("workers", self.workers)
        in_memory = self.target is None or str(self.target).startswith("memory://")
        if self.workers > 1 and in_memory:
            raise OrbitLensError(
                "`workers`",
                expected="1 for a store in memory",
                received=self.workers,
                remedy="give a folder as `out`, or leave `workers` out",
            )
        check_dtype(self.dtype)
        if self.target is not None and not self.resume:
            check_free(self.target)
        check_inputs(self.inputs, self.action, self.batch_size)

    def check_function(self) -> Callable[[], None]:
        """Check that the network, once its layers are known, is a function of its input.

        Returns the check that it still is the same function.
        """
        alone = self.batch_size == 1
        ready = telling_inputs(self.inputs, self.ready, alone=alone)
        outputs = check_function(
            self.model,
            self.run,
            ready,
            seeded=self.seed_forward is not None,
            alone=alone or self.seed_forward is not None,
        )
        warn_of_constants(outputs, ready)
        self._warn_of_chosen_tokens()
        return partial(check_unchanged, self.model, self.run, ready, outputs)

    def _warn_of_chosen_tokens(self) -> None:
        if self.seed_forward is None:
            return
        for layer, layout in self.layouts.items():
            if layout.kind == "tokens" and layout.moves is not None:
                warn(
                    f"layer {layer!r}",
                    found="its tokens are taken for the places of a grid, but a network that draws "
                    "random numbers may have kept some at random",
                    remedy="choose `positions` cls or mean, or switch it off (mask_ratio=0)",
                )

    def run(self, ready: Tensor) -> dict[str, Tensor]:
        """Return the activations of all layers for inputs that are ready."""
        return run_to_layers(self.model, self.layouts, ready, self.seed_forward)

    @property
    def order(self) -> int:
        """|G|."""
        return self.action.group.order

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return device_of(self.model, self.inputs)

    @property
    def names(self) -> dict[str, str]:
        """The name of each layer's store at the target; empty for the target itself."""
        if self.max_dim is None:
            return dict.fromkeys(self.layouts, "")
        return {
            layer: f"{number:03d}.zarr" if self.numbered else f"{layer}.zarr"
            for number, layer in enumerate(self.layouts)
        }

    @property
    def bases(self) -> dict[str, Tensor]:
        """The directions of the layers that do not keep all channels."""
        found = {layer: layout.basis for layer, layout in self.layouts.items()}
        return {layer: basis for layer, basis in found.items() if basis is not None}

    def ready(self, moved: Shaped[Tensor, "moved *axes"]) -> Tensor:
        """Return moved inputs, ready for the network and on its device."""
        return make_ready(self.prepare, moved.to(self.device), dtype_of(self.model))

    def batches(self, start: int, stop: int) -> Iterator[Batches]:
        """Yield some inputs, moved and made ready; whole orbits together."""
        for batches in moved_batches(self.inputs, self.action, self.batch_size, start, stop):
            yield tuple(map(self.ready, batches))

    def kept_labels(self) -> Int[np.ndarray, " labels"] | None:
        """Return the labels given, or those of (input, label) pairs, which the digest reads.

        The second are no part of the digest, because the activations are the same without them.
        """
        if self.labels is not None or not isinstance(self.inputs, LazyInputs):
            return self.labels
        labels = self.inputs.labels()
        return None if labels is None else as_labels(labels, len(labels), self.class_names)

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return the attributes of the store of each layer."""
        digest = _digest(self.inputs, self.labels, self.class_names)
        labels = self.kept_labels()
        return {
            layer: {
                **describe(
                    group=self.action.group,
                    action=self.action.name,
                    action_config=self.action.config,
                    model=self.name or type(self.model).__name__,
                    layer=layer,
                    digest=digest,
                    class_names=self.class_names,
                    moves=layout.moves,
                    dtype=self.dtype,
                    layout=layout.record,
                ),
                "labelled": labels is not None,
            }
            for layer, layout in self.layouts.items()
        }

    def resume_settings(self) -> dict[str, Any]:
        """Return the settings that determine the output and are in no other attribute."""
        return {
            "batch_size": self.batch_size,
            "prepare": name_of(self.prepare or as_they_are),
            "weights digest": weights_digest(self.model),
            **({} if self.seed_forward is None else {"seed_forward": self.seed_forward}),
            **self.settings,
        }


def run_to_layers(
    model: nn.Module, layouts: Mapping[str, Layout], ready: Tensor, seed: int | None = None
) -> dict[str, Tensor]:
    """Run a network on a batch up to the last of some layers; return their activations.

    With a seed every input goes through the network by itself, see `seeded`.
    """
    modules = {layer: get_layer(model, layer) for layer in layouts}

    return seeded(
        lambda batch: take_outputs(
            model, modules, batch, lambda layer, out: layouts[layer].take(out)
        ),
        ready,
        seed,
    )


def orbit_blocks(
    model: nn.Module,
    layouts: Mapping[str, Layout],
    batches: Iterable[Batches],
    order: int,
    start: int,
    seed: int | None = None,
) -> Blocks:
    """Yield the activations of whole orbits, each layer's [batch, |G|, ...], from `start` on."""
    for together in batches:
        outputs = [run_to_layers(model, layouts, ready, seed) for ready in together]
        block = {}
        for name in outputs[0]:
            rows = torch.cat([output[name] for output in outputs])
            block[name] = rows.unflatten(0, (-1, order)).cpu().numpy()
            check_finite(block[name], start, f"activations of layer {name!r}")
        start += sum(map(len, together)) // order
        yield block


def _digest(
    inputs: Rows,
    labels: Int[np.ndarray, " labels"] | None,
    class_names: tuple[str, ...],
) -> str:
    """Return the fingerprint that the same inputs have as a data set."""
    if labels is None:
        return Inputs("inputs", inputs).digest
    named = class_names or tuple(map(str, range(int(labels.max()) + 1)))
    return Inputs("inputs", inputs, labels.astype(np.int64), named).digest
