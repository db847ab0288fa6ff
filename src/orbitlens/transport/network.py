"""The equivariance report of a network: the figures of each layer under a group."""

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

_Tick = Callable[..., None]
_Stage = Callable[[str], AbstractContextManager[_Tick]]

_LIE_INPUTS = 64
_FEWEST = 50
_BATCH = 64  # moved inputs; few, so that progress shows often


@dataclass(frozen=True, eq=False)
class NetworkEquivariance:
    """The figures of the layers of a network under a group, in the order of the forward pass.

    Args:
        group: The group.
        layers: The figures of every measured layer.
        table: The same, JSON-ready, one record per layer. It also has the part of the layer that
            was measured ("kind", "places" of "all_places", "dim" of "width", "kept_variance"), the
            verdict, and the Lie-derivative errors ("lie_rotation" per degree, "lie_translation" per
            pixel; None unless the inputs are images).
        skipped: For each other layer, the reason why it was not measured.
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
    stage: _Stage | None = None,
) -> NetworkEquivariance:
    """Measure every layer of a network, with one forward pass for each moved input.

    Activations go to a temporary folder, so memory does not grow with the number of inputs. The
    Lie-derivative errors need a few more passes over some of the held-out inputs.

    Args:
        model: Any network.
        inputs: The inputs, [n, ...]; lazy inputs are held one batch at a time.
        action: The action of the group on the inputs.
        layers: One dotted name or several; None (the default) takes every layer that can be
            measured, and `skipped` gives the reason for the others.
        max_positions: Largest number of places kept per map or token grid, default 16; they are
            whole orbits of places under the group.
        max_dim: Largest number of principal directions kept of a layer, default 256.
        prepare: Prepares inputs for the network after the group has moved them.
        name: Recorded name of the network.
        lie_inputs: Number of held-out images for the Lie-derivative errors, default 64; 0 skips
            these.
        seed: Seed of controls and intervals.
        scratch: Folder for the temporary folder; default that of the system.
        stage: For progress: called with the name of each stage, returns a context that yields a
            function of (done, total).

    Returns:
        The figures.

    Raises:
        OrbitLensError: If there are fewer than 50 inputs; if the group has only the identity; or if
            a named layer, or every layer, cannot be measured or has too few inputs.

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
    show = stage or (lambda _: nullcontext(lambda *_: None))
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
            expected=f"at least {_FEWEST}, a fifth of them held out",
            received=len(inputs),
            remedy="give more inputs; several hundred make the intervals narrow",
        )


def _measure(
    found: LayerHarvest, all_layers: bool, seed: int, tick: _Tick
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
