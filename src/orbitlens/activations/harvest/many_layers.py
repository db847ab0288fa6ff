"""Harvest many layers at once, with one forward pass for each moved input.

Of each layer only a part is stored: some places of a map, and the directions in which wide channels
vary most.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.activations.harvest._fill_stores import fill_stores
from orbitlens.activations.harvest._find_layers import few_moved, find_axes, find_layers
from orbitlens.activations.harvest._inputs import given_inputs
from orbitlens.activations.harvest._job import Job
from orbitlens.activations.harvest._positions import Layout, limited_layout
from orbitlens.activations.layout import Layouts, Unclear
from orbitlens.activations.store._address import address_of
from orbitlens.activations.store.activation_store import ActivationStore
from orbitlens.data import Indexed, Inputs
from orbitlens.errors import out_of_range
from orbitlens.models import Prepare, name_of_layer
from orbitlens.typing import Progress


@final
@dataclass(frozen=True, eq=False)
class TakenLayer:
    """The part of a layer's output that is stored.

    Args:
        kind: "vectors", "tokens" or "maps"; a map of one place is a vector.
        layout: The axes of its output, such as "n c h w" or "n 1+l c".
        width: Channels of the layer.
        dim: Numbers stored for each position: the width, or `max_dim` if that is less.
        places: Positions stored of each input, including class token and registers.
        all_places: Positions of the layer.
        prefix: Class token and registers of the layer, which are its first positions.
        kept_variance: Share of the power of the trial that the directions keep; 1 without any.
        basis: These directions, orthonormal, [dim, width]; None if all channels are stored.
    """

    kind: str
    width: int
    dim: int
    places: int
    all_places: int
    prefix: int
    kept_variance: float
    basis: Float[Tensor, "dim width"] | None
    layout: str = ""


@final
@dataclass(frozen=True, eq=False)
class LayerHarvest:
    """The activations of many layers over the orbits of the same inputs.

    Args:
        stores: The store of each layer, in the order in which the network calls the layers; a
            block comes after the layers in it.
        skipped: The reason why each other layer has no store.
        taken: The part of each layer in `stores` that is stored.
    """

    stores: dict[str, ActivationStore]
    skipped: dict[str, str]
    taken: dict[str, TakenLayer]


def harvest_layers(
    model: nn.Module,
    *,
    layers: Iterable[str | nn.Module] | None = None,
    inputs: Shaped[Tensor, "n *axes"] | Indexed | Inputs,
    action: Action,
    out: Path | str | None = None,
    labels: Int[np.ndarray, " labels"] | None = None,
    class_names: tuple[str, ...] = (),
    files: Sequence[str | Path] = (),
    max_positions: int = 16,
    max_dim: int = 256,
    layout: str | Mapping[str, str] | None = None,
    batch_size: int = 256,
    dtype: str = "float32",
    workers: int = 1,
    resume: bool = False,
    prepare: Prepare | None = None,
    seed_forward: int | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> LayerHarvest:
    """Store psi(g x) of many layers psi, for every input x and every group element g.

    The network runs once for each moved input, after a few looks at three of them and a trial for
    the layers wider than `max_dim`.

    Maps and tokens keep class token and registers, then at most `max_positions` places that the
    group moves among themselves, so that it still acts by a permutation of places. If it is not
    known how places move, their mean is kept. Wide layers keep their `max_dim` principal directions
    about zero, found in about 2,048 rows of the first orbits.

    Args:
        model: Any network; it runs in evaluation mode, and its mode is restored.
        layers: Submodules or their dotted names, each called once; None (the default) takes all
            usable ones, and only the first of several with the same output tensor.
        inputs: The inputs x, [n, ...], or anything with a length and such items, as in `harvest`.
        action: How the group moves the inputs.
        out: Folder or URL to write, which must not exist, with a store for each layer: 000.zarr,
            001.zarr, in the order of the result; None (the default) keeps the stores in memory.
        labels: One class index per input, or those of (input, label) pairs, as in `harvest`.
        class_names: The names of the classes.
        files: The file, or another name, of each input; default none.
        max_positions: Places kept of each input, at most; default 16.
        max_dim: Width of the activations stored, at most; default 256.
        layout: The axes of the outputs in letters, as in `harvest`: one layout for all outputs with
            so many axes, or one for each of some layers. None (the default) finds them.
        batch_size: Moved inputs per forward pass, default 256.
        dtype: The type on disk: "float32" (the default), "float16" or "bfloat16".
        workers: Processes that run the network, as in `harvest`; the first look and the trial use
            one.
        resume: Continue an interrupted harvest of the same settings, as in `harvest`: to the same
            bits, with the directions that it found.
        prepare: Makes moved inputs ready for the network, each one for itself; by default they are
            given as they are.
        seed_forward: Seed for networks that draw random numbers: every input goes through the
            network by itself and meets the same ones. None (the default) refuses such networks.
        name: Recorded name of the network; by default its class.
        progress: Called with (inputs done, n) as the work goes on.

    Returns:
        The stores, the part of each layer that is stored, and why the other layers have no store.

    Raises:
        OrbitLensError: If `out` exists, is being written by another process or cannot be written;
            if a harvest there has other settings (says which); if inputs, labels, files or limits
            do not fit; if a layer that is named does not exist, is named twice or cannot be used,
            or if no layer can; or if an activation is NaN, infinite or too large for `dtype`.
            Without `resume` nothing is left on disk then.

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
    names = None if layers is None else tuple(name_of_layer(model, each) for each in layers)
    skipped: dict[str, str] = {}

    def look(job: Job) -> dict[str, Layout]:
        nonlocal skipped
        layouts, skipped = _look(job, names, max_positions, layout)
        return layouts

    settings: dict[str, Any] = {"max_positions": max_positions, "max_dim": max_dim}
    if layout is not None:
        settings["layout given"] = layout if isinstance(layout, str) else dict(layout)
    stores, layouts = fill_stores(
        look,
        settings,
        max_dim=max_dim,
        model=model,
        **given_inputs(inputs, labels, class_names, files),
        action=action,
        target=address_of(out),
        batch_size=batch_size,
        dtype=dtype,
        workers=workers,
        resume=resume,
        prepare=prepare,
        seed_forward=seed_forward,
        name=name,
        progress=progress,
    )
    return LayerHarvest(
        stores, skipped, {name: _taken_layer(each) for name, each in layouts.items()}
    )


def _look(
    job: Job, layers: tuple[str, ...] | None, most: int, layout: Layouts
) -> tuple[dict[str, Layout], dict[str, str]]:
    """Run the network on a few inputs; return the layouts of usable layers, and the others."""
    moved = few_moved(job.inputs, job.action)
    outputs, skipped = find_layers(job.model, layers, job.ready(moved.clone()))
    shapes = {layer: tuple(output.shape) for layer, output in outputs.items()}
    layouts: dict[str, Layout] = {}
    unclear: list[Unclear] = []
    found = find_axes(job.model, shapes, moved, action=job.action, ready=job.ready, layout=layout)
    for layer, axes in found.items():
        if isinstance(axes, Unclear):
            unclear.append(axes)
            continue
        layouts[layer] = limited_layout(
            axes, shapes[layer], most=most, layer=layer, action=job.action
        )
    if unclear and (layers is not None or not layouts):
        raise unclear[0].error()
    return layouts, skipped | {each.layer: each.reason for each in unclear}


def _taken_layer(layout: Layout) -> TakenLayer:
    return TakenLayer(
        kind=layout.kind,
        width=layout.width,
        dim=layout.dim,
        places=layout.places,
        all_places=layout.all_places,
        prefix=layout.prefix,
        kept_variance=layout.kept_variance,
        basis=None if layout.basis is None else layout.basis.cpu(),
        layout=str(layout.axes),
    )
