"""Harvesting many layers at once: one forward pass for each moved input.

`harvest` looks at one layer and stops the network there; this looks at all of them on the way, and
keeps what fits: some places of a map, and the directions in which the channels vary.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from orbitlens.actions.base import Action
from orbitlens.activations.capture import evaluating, take_outputs
from orbitlens.activations.positions import kept_layout
from orbitlens.activations.precision import check_dtype
from orbitlens.activations.reduction import Taking, with_bases
from orbitlens.activations.store import ActivationStore
from orbitlens.activations.stream import (
    Progress,
    check_inputs,
    counted,
    device_of,
    digest_of,
    made_ready,
    moved_batches,
    orbit_blocks,
)
from orbitlens.activations.survey import survey
from orbitlens.activations.writer import check_labels, check_out, describe, write_stores
from orbitlens.errors import out_of_range
from orbitlens.models.base import Prepare, as_they_are

_SURVEYED = 3


@final
@dataclass(frozen=True, eq=False)
class TakenLayer:
    """What was taken of one layer's output.

    Args:
        kind: "vectors", "tokens" or "maps"; a map of one place is a vector.
        width: Channels of the layer.
        dim: Numbers stored for a row of channels: the width, or `max_dim` if that is less.
        places: Positions stored of each input, class token and registers among them.
        all_places: Positions that the layer has.
        prefix: Class token and registers among the positions of the layer, which come first.
        kept_variance: Share of the power of the trial that the directions keep, 1 without any.
        basis: Those directions, orthonormal, [dim, width]; None if all channels are stored.
    """

    kind: str
    width: int
    dim: int
    places: int
    all_places: int
    prefix: int
    kept_variance: float
    basis: Float[Tensor, "dim width"] | None


@final
@dataclass(frozen=True, eq=False)
class LayerHarvest:
    """The activations of many layers over the orbits of the same inputs.

    Args:
        stores: The store of each layer, in the order in which the network calls them; a block
            comes after the layers in it.
        skipped: Why each of the other layers has none.
        taken: What was taken of each layer in `stores`.
    """

    stores: dict[str, ActivationStore]
    skipped: dict[str, str]
    taken: dict[str, TakenLayer]


def harvest_layers(
    model: nn.Module,
    *,
    layers: Iterable[str] | None = None,
    inputs: Shaped[Tensor, "n *axes"],
    action: Action,
    out: Path | str | None = None,
    labels: Int[np.ndarray, " labels"] | None = None,
    class_names: tuple[str, ...] = (),
    max_positions: int = 16,
    max_dim: int = 256,
    batch_size: int = 256,
    dtype: str = "float32",
    prepare: Prepare | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> LayerHarvest:
    """Store psi(g x) of many layers psi, for every input x and every group element g.

    The network runs once for each moved input, after a first look at three of them and a trial for
    the layers wider than `max_dim`. Maps are taken to be [n, channels, height, width].

    Of maps and tokens, class token and registers are kept, then at most `max_positions` places that
    the group moves among themselves, so that it still acts by a permutation of places; where it is
    not known how places move, their mean. Of wide layers the `max_dim` principal directions about
    zero are kept, found in about 2,048 rows of the first orbits.

    Args:
        model: Any network; it runs in evaluation mode, and its mode is restored.
        layers: Dotted names of submodules, each called once; None (the default) takes all that can
            be used, one where several put out the very same tensor.
        inputs: The inputs x, [n, ...].
        action: How the group moves them.
        out: Folder or URL to write, which must not exist, in it LAYER.zarr for each layer; None
            (the default) keeps the stores in memory.
        labels: One class index per input.
        class_names: Their names.
        max_positions: Places kept of each input, at most.
        max_dim: Width of the activations stored, at most.
        batch_size: Moved inputs per forward pass.
        dtype: How activations are stored: "float32" (the default), "float16" or "bfloat16".
        prepare: Makes moved inputs ready for the network; by default they are given as they are.
        name: Recorded name of the network; by default its class.
        progress: Called with (inputs done, n) as the work goes on.

    Returns:
        The stores, what was taken of each layer, and why the other layers have none.

    Raises:
        OrbitLensError: If `out` exists, if inputs, labels or limits do not fit, if a layer that is
            named does not exist, is named twice or cannot be used, if none can, or if an activation
            is NaN, infinite or too large for `dtype`. Nothing is left on disk then.

    Example:
        >>> import torch
        >>> from orbitlens.actions import images
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.models import CNNAutoencoder
        >>> model, pictures = CNNAutoencoder(size=16, dim=8), torch.rand(5, 1, 16, 16)
        >>> found = harvest_layers(model.encoder, inputs=pictures, action=images(cyclic(4)))
        >>> found.stores["0"]  # 16 of 64 places
        ActivationStore(in memory, n=5, group=C4, positions=16, dim=16)
        >>> found.stores["4"]
        ActivationStore(in memory, n=5, group=C4, positions=1, dim=8)
    """
    check_dtype(dtype)
    check_out(out)
    check_inputs(inputs, action, batch_size)
    check_labels(labels, class_names, len(inputs))
    for limit, value in {"max_positions": max_positions, "max_dim": max_dim}.items():
        if value < 1:
            raise out_of_range(limit, "at least 1", value)
    device, prepare = device_of(model, inputs), as_they_are if prepare is None else prepare
    with evaluating(model):
        modules, takings, skipped = _look(
            model, None if layers is None else tuple(layers), inputs, action, prepare, max_positions
        )

        def forward(moved: Tensor, wanted: Mapping[str, Taking]) -> dict[str, Tensor]:
            ready = made_ready(prepare, moved.to(device))
            watched = {layer: modules[layer] for layer in wanted}
            return take_outputs(model, watched, ready, lambda layer, x: wanted[layer].take(x))

        takings = with_bases(
            takings,
            forward,
            inputs,
            action,
            max_dim=max_dim,
            batch_size=batch_size,
            device=device,
        )
        digest = digest_of(inputs, labels, class_names)
        stores = write_stores(
            counted(
                orbit_blocks(
                    lambda moved: forward(moved, takings),
                    moved_batches(inputs, action, batch_size),
                    action.group.order,
                ),
                len(inputs),
                progress,
            ),
            n=len(inputs),
            out=out,
            labels=None if labels is None else labels.astype(np.int64),
            attributes={
                layer: describe(
                    group=action.group,
                    action=action.name,
                    action_config=action.config,
                    model=name or type(model).__name__,
                    layer=layer,
                    digest=digest,
                    class_names=class_names,
                    moves=taking.layout.moves,
                    dtype=dtype,
                )
                for layer, taking in takings.items()
            },
        )
    taken = {layer: _taken(taking) for layer, taking in takings.items()}
    return LayerHarvest(stores, skipped, taken)


def _look(
    model: nn.Module,
    layers: tuple[str, ...] | None,
    inputs: Shaped[Tensor, "n *axes"],
    action: Action,
    prepare: Prepare,
    most: int,
) -> tuple[dict[str, nn.Module], dict[str, Taking], dict[str, str]]:
    """Show the network a few inputs; return its usable layers, how to take them, and the others."""
    few = action.orbit(inputs[:_SURVEYED]).flatten(0, 1)[:_SURVEYED]
    ready = made_ready(prepare, few.to(device_of(model, inputs)))
    found = survey(model, layers, ready)
    takings = {}
    for layer, output in found.outputs.items():
        layout = kept_layout(
            output,
            most=most,
            layer=layer,
            action=action,
            model=model,
            square=ready.shape[-2:-1] == ready.shape[-1:],
        )
        shape = tuple(layout.take(output).shape[1:])
        of_tokens = layout.kind == "tokens"
        all_places = output.shape[1] if of_tokens else math.prod(output.shape[2:])
        takings[layer] = Taking(layout, shape, all_places)
    return found.layers, takings, found.skipped


def _taken(taking: Taking) -> TakenLayer:
    return TakenLayer(
        kind=taking.layout.kind,
        width=taking.width,
        dim=taking.dim,
        places=taking.places,
        all_places=taking.all_places,
        prefix=taking.layout.prefix,
        kept_variance=taking.kept_variance,
        basis=None if taking.basis is None else taking.basis.cpu(),
    )
