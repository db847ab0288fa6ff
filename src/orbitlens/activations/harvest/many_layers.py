"""Harvesting many layers at once: one forward pass for each moved input.

`harvest` looks at one layer and stops the network there; this looks at all of them on the way, and
keeps what fits: some places of a map, and the directions in which the channels vary.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.activations.harvest._fill_stores import harvested
from orbitlens.activations.harvest._find_layers import survey
from orbitlens.activations.harvest._inputs import Progress
from orbitlens.activations.harvest._job import Work
from orbitlens.activations.harvest._positions import kept_layout
from orbitlens.activations.harvest._reduction import Taking
from orbitlens.activations.harvest.hooks import evaluating
from orbitlens.activations.store._address import address_of
from orbitlens.activations.store.activation_store import ActivationStore
from orbitlens.data.lazy import Indexed, as_rows
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
    inputs: Shaped[Tensor, "n *axes"] | Indexed,
    action: Action,
    out: Path | str | None = None,
    labels: Int[np.ndarray, " labels"] | None = None,
    class_names: tuple[str, ...] = (),
    max_positions: int = 16,
    max_dim: int = 256,
    batch_size: int = 256,
    dtype: str = "float32",
    workers: int = 1,
    resume: bool = False,
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
        inputs: The inputs x, [n, ...]; or what has a length and such items, as a list, a
            numpy.memmap, a data set of torch or `LazyInputs`, of which a batch is held at a time.
        action: How the group moves them.
        out: Folder or URL to write, which must not exist, in it LAYER.zarr for each layer; None
            (the default) keeps the stores in memory.
        labels: One class index per input.
        class_names: Their names.
        max_positions: Places kept of each input, at most.
        max_dim: Width of the activations stored, at most.
        batch_size: Moved inputs per forward pass.
        dtype: How activations are stored: "float32" (the default), "float16" or "bfloat16".
        workers: Processes that run the network, as of `harvest`; the first look and the trial are
            made by one.
        resume: Go on where an interrupted harvest of the same settings stopped, as of `harvest`:
            to the same bits, along the directions that it found.
        prepare: Makes moved inputs ready for the network; by default they are given as they are.
        name: Recorded name of the network; by default its class.
        progress: Called with (inputs done, n) as the work goes on.

    Returns:
        The stores, what was taken of each layer, and why the other layers have none.

    Raises:
        OrbitLensError: If `out` exists, is being written by another process or cannot be written,
            if a harvest there has other settings (says which), if inputs, labels or limits do not
            fit, if a layer that is named does not exist, is named twice or cannot be used, if none
            can, or if an activation is NaN, infinite or too large for `dtype`. Without `resume`
            nothing is left on disk then.

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
    for limit, value in {"max_positions": max_positions, "max_dim": max_dim}.items():
        if value < 1:
            raise out_of_range(limit, "at least 1", value)
    work = Work(
        model=model,
        inputs=as_rows(inputs),
        action=action,
        target=address_of(out),
        labels=labels,
        class_names=class_names,
        batch_size=batch_size,
        dtype=dtype,
        workers=workers,
        resume=resume,
        prepare=as_they_are if prepare is None else prepare,
        name=name or type(model).__name__,
        progress=progress,
    )
    with evaluating(model):
        looked, skipped = _look(work, None if layers is None else tuple(layers), max_positions)
        stores, takings = harvested(
            work,
            looked,
            {layer: f"{layer}.zarr" for layer in looked},
            {"max_positions": max_positions, "max_dim": max_dim},
            max_dim=max_dim,
        )
    return LayerHarvest(stores, skipped, {name: _taken(each) for name, each in takings.items()})


def _look(
    work: Work, layers: tuple[str, ...] | None, most: int
) -> tuple[dict[str, Taking], dict[str, str]]:
    """Show the network a few inputs; return how to take its usable layers, and the others."""
    few = work.action.orbit(work.inputs[:_SURVEYED]).flatten(0, 1)[:_SURVEYED]
    ready = work.ready(few)
    found = survey(work.model, layers, ready)
    takings = {}
    for layer, output in found.outputs.items():
        layout = kept_layout(
            output,
            most=most,
            layer=layer,
            action=work.action,
            model=work.model,
            square=ready.shape[-2:-1] == ready.shape[-1:],
        )
        takings[layer] = Taking.of(layout, output)
    return takings, found.skipped


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
