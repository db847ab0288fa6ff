"""A harvest as one record, and its inputs: checked, moved by the group, made ready, in batches."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float32, Int, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.activations.harvest._hooks import take_outputs
from orbitlens.activations.harvest._positions import Layout
from orbitlens.activations.store._claim import check_free
from orbitlens.activations.store._on_disk import check_dtype, check_finite
from orbitlens.activations.store._open_store import describe
from orbitlens.activations.store._resume_settings import name_of, weights_digest
from orbitlens.activations.store._write_store import check_labels
from orbitlens.data import Inputs, Rows
from orbitlens.errors import OrbitLensError, one_line, out_of_range
from orbitlens.models import Prepare, as_they_are, get_layer
from orbitlens.typing import Progress

Batches = tuple[Shaped[Tensor, "moved *axes"], ...]
Blocks = Iterator[dict[str, Float32[np.ndarray, "_ group *rest"]]]
# A worker process gets no inputs, and no functions of the user, which may be closures.
_STAY_WITH_PARENT = ("inputs", "action", "labels", "prepare", "progress", "settings")


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
    layouts: Mapping[str, Layout] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is sent to a worker process."""
        return {name: each for name, each in vars(self).items() if name not in _STAY_WITH_PARENT}

    def check(self) -> None:
        """Check the settings, before any work."""
        if self.workers < 1:
            raise out_of_range("workers", "at least 1", self.workers)
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
        check_labels(self.labels, self.class_names, len(self.inputs))

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
        single = self.max_dim is None
        return {layer: "" if single else f"{layer}.zarr" for layer in self.layouts}

    @property
    def bases(self) -> dict[str, Tensor]:
        """The directions of the layers that do not keep all channels."""
        found = {layer: layout.basis for layer, layout in self.layouts.items()}
        return {layer: basis for layer, basis in found.items() if basis is not None}

    def ready(self, moved: Shaped[Tensor, "moved *axes"]) -> Tensor:
        """Return moved inputs, ready for the network and on its device."""
        moved = moved.to(self.device)
        return moved if self.prepare is None else make_ready(self.prepare, moved)

    def batches(self, start: int, stop: int) -> Iterator[Batches]:
        """Yield some inputs, moved and made ready; whole orbits together."""
        for batches in moved_batches(self.inputs, self.action, self.batch_size, start, stop):
            yield tuple(map(self.ready, batches))

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return the attributes of the store of each layer."""
        digest = _digest(self.inputs, self.labels, self.class_names)
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
                ),
                "labelled": self.labels is not None,
            }
            for layer, layout in self.layouts.items()
        }

    def resume_settings(self) -> dict[str, Any]:
        """Return the settings that determine the output and are in no other attribute."""
        return {
            "batch_size": self.batch_size,
            "prepare": name_of(self.prepare or as_they_are),
            "weights digest": weights_digest(self.model),
            **self.settings,
        }


def run_to_layers(
    model: nn.Module, layouts: Mapping[str, Layout], ready: Tensor
) -> dict[str, Tensor]:
    """Run a network on a batch up to the last of some layers; return their activations."""
    modules = {layer: get_layer(model, layer) for layer in layouts}
    return take_outputs(model, modules, ready, lambda layer, output: layouts[layer].take(output))


def orbit_blocks(
    model: nn.Module,
    layouts: Mapping[str, Layout],
    batches: Iterable[Batches],
    order: int,
    start: int,
) -> Blocks:
    """Yield the activations of whole orbits, each layer's [batch, |G|, ...], from `start` on."""
    for together in batches:
        outputs = [run_to_layers(model, layouts, ready) for ready in together]
        block = {}
        for name in outputs[0]:
            rows = torch.cat([output[name] for output in outputs])
            block[name] = rows.unflatten(0, (-1, order)).cpu().numpy()
            check_finite(block[name], start, f"activations of layer {name!r}")
        start += sum(map(len, together)) // order
        yield block


def moved_batches(
    inputs: Rows, action: Action, batch_size: int, start: int = 0, stop: int | None = None
) -> Iterator[Batches]:
    """Yield whole orbits of the inputs from `start` to `stop`, a few inputs at a time.

    An orbit larger than `batch_size` comes in several batches.
    """
    samples = max(1, batch_size // action.group.order)
    stop = len(inputs) if stop is None else stop
    for first in range(start, stop, samples):
        part = inputs[first : min(first + samples, stop)]
        yield action.orbit(part).flatten(0, 1).split(batch_size)


def check_inputs(inputs: Rows, action: Action, batch_size: int) -> None:
    """Check that there are inputs, that the action can move them, and the batch size."""
    if inputs.ndim == 0 or len(inputs) == 0:
        raise OrbitLensError(
            "`inputs`", expected="at least one", received="none", remedy="give inputs to look at"
        )
    if batch_size < 1:
        raise out_of_range("batch_size", "at least 1", batch_size, "choose for example 256")
    action.check(inputs if isinstance(inputs, Tensor) else inputs[:1])


def make_ready(prepare: Prepare, inputs: Shaped[Tensor, "n *axes"]) -> Tensor:
    """Return a batch as `prepare` makes it ready; anything but a tensor is an error."""
    try:
        ready = prepare(inputs)
        if not isinstance(ready, Tensor):
            raise TypeError(f"it returned {type(ready).__name__}, not a tensor")
        return ready
    except Exception as error:
        raise OrbitLensError(
            f"`prepare` on inputs of shape {list(inputs.shape)}",
            expected="a function that makes them ready for the network",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="correct it, or give inputs that it accepts",
        ) from error


def device_of(model: nn.Module, inputs: Rows) -> torch.device:
    """Return the device of a network's parameters; that of its inputs if there are none."""
    parameter = next(model.parameters(), None)
    return inputs.device if parameter is None else parameter.device


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
