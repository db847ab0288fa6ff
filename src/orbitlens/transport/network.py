"""The equivariance report of a network: what a group does to each of its layers."""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.actions import Action
from orbitlens.activations import LayerHarvest, harvest_layers, layer_outputs, split_samples
from orbitlens.data.lazy import LazyInputs
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.metrics.lie_derivative import lie_derivative_errors
from orbitlens.models.base import Prepare, as_they_are
from orbitlens.transport.layer import LayerEquivariance, measure_layer

Tick = Callable[..., None]
Stage = Callable[[str], AbstractContextManager[Tick]]

_LIE_INPUTS = 64
_FEWEST = 50
_BATCH = 64  # moved inputs; small, so that progress is seen to go on


@dataclass(frozen=True, eq=False)
class NetworkEquivariance:
    """What a group does to the layers of a network, in the order in which they are called.

    Args:
        group: The group.
        layers: The figures of every layer that was measured.
        table: The same, JSON-ready: one record for each layer with what was taken of it ("kind",
            "places" of "all_places", "dim" of "width", "kept_variance"), its verdict, and its
            Lie-derivative errors ("lie_rotation" per degree, "lie_translation" per pixel; None
            unless images were moved).
        skipped: Why each of the other layers was not measured.
    """

    group: Group
    layers: tuple[LayerEquivariance, ...]
    table: tuple[dict[str, Any], ...]
    skipped: dict[str, str]


def measure_network(
    model: nn.Module,
    *,
    inputs: Float[Tensor, "n *axes"] | LazyInputs,
    action: Action,
    layers: str | Iterable[str] | None = None,
    max_positions: int = 16,
    max_dim: int = 256,
    prepare: Prepare | None = None,
    name: str | None = None,
    lie_inputs: int = _LIE_INPUTS,
    seed: int = 0,
    scratch: Path | str | None = None,
    stage: Stage | None = None,
) -> NetworkEquivariance:
    """Measure every layer of a network, from one forward pass for each moved input.

    Activations go to a folder that is removed again; memory does not grow with the inputs. The
    Lie-derivative errors take a few passes more, over some of the held-out inputs.

    Args:
        model: Any network.
        inputs: The inputs, [n, ...]; of lazy ones a batch is held at a time.
        action: How the group moves them.
        layers: Dotted names, or one; None (the default) takes every layer that can be used, and
            says in `skipped` why the others cannot.
        max_positions: Places of a map or token grid kept of each input, at most; whole orbits of
            places under the group.
        max_dim: Directions kept of wide layers, at most; the principal ones.
        prepare: Makes inputs ready for the network after the group has moved them.
        name: Recorded name of the network.
        lie_inputs: Held-out images for the Lie-derivative errors; 0 leaves them out.
        seed: Seed of controls and intervals.
        scratch: Where the folder is made; by default where the system has temporary files.
        stage: Called with the name of each stage, gives a context that yields a function of
            (done, total), for progress.

    Returns:
        The figures.

    Raises:
        OrbitLensError: If there are fewer than 50 inputs, or the group has no element but the
            identity; if a layer that was named cannot be used, or none can; or if there are too few
            inputs for a layer that was named, or for all.

    Example:
        >>> from orbitlens import actions, groups, models
        >>> group = groups.cyclic(4)
        >>> pictures = torch.randn(100, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> found = measure_network(
        ...     models.GroupCNN(group),
        ...     layers=["pool", "readout"],
        ...     inputs=pictures,
        ...     action=actions.images(group),
        ...     lie_inputs=4,
        ... )
        >>> [(row["layer"], row["verdict"]) for row in found.table]
        [('pool', 'equivariant'), ('readout', 'invariant')]
    """
    _check(inputs, action)
    show = stage or (lambda _: nullcontext(_no_tick))
    named = (layers,) if isinstance(layers, str) else layers and tuple(layers)
    with tempfile.TemporaryDirectory(prefix=".layers.partial", dir=scratch) as folder:
        with show("harvest every layer") as tick:
            found = harvest_layers(
                model,
                layers=named,
                inputs=inputs,
                action=action,
                out=Path(folder) / "layers",
                max_positions=max_positions,
                max_dim=max_dim,
                batch_size=_BATCH,
                prepare=prepare,
                name=name,
                progress=tick,
            )
        with show("measure the layers") as tick:
            measured, skipped = _measure(found, named is None, seed, tick)
    lie: dict[str, Mapping[str, float]] = {}
    if action.name == "images" and lie_inputs > 0:
        held_out = inputs[split_samples(len(inputs))[1][:lie_inputs]]
        prefixes = {layer: found.taken[layer].prefix for layer in measured}
        for kind in ("rotation", "translation"):
            with show(f"Lie derivative, {kind}"):
                lie[f"lie_{kind}"] = lie_derivative_errors(
                    _forward(model, measured, prepare or as_they_are),
                    held_out,
                    transformation=kind,
                    prefixes=prefixes,
                )
    table = tuple(_row(measured[layer], found, lie) for layer in measured)
    return NetworkEquivariance(action.group, tuple(measured.values()), table, skipped)


def _check(inputs: Tensor | LazyInputs, action: Action) -> None:
    if action.group.order < 2:
        raise OrbitLensError(
            "`group` of the report",
            expected="at least two elements",
            received=action.group.name,
            remedy="choose for example C4",
        )
    if len(inputs) < _FEWEST:
        raise OrbitLensError(
            "inputs of the report",
            expected=f"at least {_FEWEST}, a fifth of which is held out",
            received=len(inputs),
            remedy="give more inputs; several hundred make the intervals narrow",
        )


def _measure(
    found: LayerHarvest, all_layers: bool, seed: int, tick: Tick
) -> tuple[dict[str, LayerEquivariance], dict[str, str]]:
    measured, skipped = {}, dict(found.skipped)
    failure: OrbitLensError | None = None
    for done, (layer, store) in enumerate(found.stores.items(), start=1):
        try:
            measured[layer] = measure_layer(store, seed=seed)
        except OrbitLensError as error:
            if not all_layers:
                raise
            failure = error
            skipped[layer] = str(error)
        tick(done, len(found.stores))
    if failure is not None and not measured:
        raise failure
    return measured, skipped


def _forward(
    model: nn.Module, layers: Iterable[str], prepare: Prepare
) -> Callable[[Tensor], Mapping[str, Tensor]]:
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))

    def forward(images: Tensor) -> Mapping[str, Tensor]:
        outputs = layer_outputs(model, layers, prepare(images.to(device)))
        return {name: output.float().cpu() for name, output in outputs.items()}

    return forward


def _row(
    figures: LayerEquivariance, found: LayerHarvest, lie: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    taken = found.taken[figures.layer]
    return {
        "layer": figures.layer,
        "verdict": figures.verdict,
        "kind": taken.kind,
        "places": taken.places,
        "all_places": taken.all_places,
        "width": taken.width,
        "kept_variance": taken.kept_variance,
        **{key: value for key, value in asdict(figures).items() if key not in ("layer", "group")},
        "spectrum": list(figures.spectrum),
        "lie_rotation": lie.get("lie_rotation", {}).get(figures.layer),
        "lie_translation": lie.get("lie_translation", {}).get(figures.layer),
    }


def _no_tick(done: int, total: int) -> None:
    del done, total
