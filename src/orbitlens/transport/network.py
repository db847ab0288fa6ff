"""The equivariance report of a network: the figures of each layer under a group."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from orbitlens.actions import Action, check_action
from orbitlens.activations import (
    TakenLayer,
    harvest_layers,
    layer_outputs,
    open_store,
    split_samples,
)
from orbitlens.activations.harvest import (
    dtype_of,
    few_moved,
    layer_dependence,
    make_ready,
    rounding,
)
from orbitlens.activations.store._resume_settings import name_of, weights_digest
from orbitlens.checks import as_count
from orbitlens.data import Indexed, Inputs, LazyInputs, as_rows
from orbitlens.errors import DamageError, OrbitLensError
from orbitlens.files import as_path, one_line_errors
from orbitlens.groups import Group
from orbitlens.metrics.lie_derivative import lie_derivative_errors
from orbitlens.models import Prepare, as_they_are, check_network, name_of_layer
from orbitlens.transport._kept import Kept
from orbitlens.transport._same_outputs import check_same_outputs
from orbitlens.transport._use import known_use, use_line
from orbitlens.transport.layer import LayerEquivariance, measure_layer

_Tick = Callable[..., None]
_Stage = Callable[[str], AbstractContextManager[_Tick]]

_LIE_INPUTS = 64
_FEWEST = 50
_STORES = "layers"
_ELEMENTS = 2  # of the group, on which outputs are compared
_LISTS = ("spectrum", "multiplicities")  # figures with one number for each irrep
_BATCH = 64  # moved inputs; few, so that progress shows often


@dataclass(frozen=True, eq=False)
class NetworkEquivariance:
    """The figures of the layers of a network under a group, in the order of the forward pass.

    Args:
        group: The group.
        layers: The figures of every measured layer.
        table: The same, JSON-ready, one record per layer. It also has the part of the layer that
            was measured ("layout", "kind", "places" of "all_places", "dim" of "width",
            "kept_variance"), the verdict, the measured layers that feed the layer ("after"; None
            where it is not known, see `activations.harvest.layer_dependence`), and the
            Lie-derivative errors ("lie_rotation" per degree, "lie_translation" per pixel; None
            unless the inputs are images).
        skipped: For each other layer, the reason why it was not measured.
        use: JSON-ready, for each layer that knows how much it uses of its symmetric and of its
            free parts: "kind" and "parts", see `symmetry.relax`. Measured or not, all of them are
            here. Empty for most networks.

    Its text, as `print` writes it, has a line for each layer with verdict, R^2 and use.
    """

    group: Group
    layers: tuple[LayerEquivariance, ...]
    table: tuple[dict[str, Any], ...]
    skipped: dict[str, str]
    use: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        told = {each.layer: f"{each.verdict}, R^2 {each.r2:.3f}" for each in self.layers}
        for name, use in self.use.items():
            told[name] = f"{told.get(name, 'not measured')}; {use_line(use)}"
        lines = [f"{name or 'the network'}: {words}" for name, words in told.items()]
        return "\n".join([f"{len(self.layers)} layers under {self.group.name}", *lines])


def measure_network(
    model: nn.Module,
    *,
    inputs: Shaped[Tensor, "n *axes"] | Indexed,
    action: Action,
    layers: str | nn.Module | Iterable[str | nn.Module] | None = None,
    max_positions: int = 16,
    max_dim: int = 256,
    layout: str | Mapping[str, str] | None = None,
    prepare: Prepare | None = None,
    seed_forward: int | None = None,
    name: str | None = None,
    lie_inputs: int = _LIE_INPUTS,
    seed: int = 0,
    scratch: Path | str | None = None,
    resume: bool = False,
    stage: _Stage | None = None,
) -> NetworkEquivariance:
    """Measure every layer of a network, with one forward pass for each moved input.

    Activations go to a temporary folder, so memory does not grow with the number of inputs. Those
    of a layer are removed once it has been measured. The Lie-derivative errors need a few more
    passes over some of the held-out inputs.

    Args:
        model: Any network.
        inputs: The inputs, [n, ...]; lazy inputs are held one batch at a time.
        action: The action of the group on the inputs.
        layers: One submodule or its dotted name, or several; None (the default) takes every layer
            that can be measured, and `skipped` gives the reason for the others.
        max_positions: Largest number of places kept per map or token grid, default 16; they are
            whole orbits of places under the group.
        max_dim: Largest number of principal directions kept of a layer, default 256.
        layout: The axes of the outputs in letters, such as "n h w c": one layout for all outputs
            with so many axes, or one for each of some layers. None (the default) finds them.
        prepare: Prepares inputs for the network after the group has moved them.
        seed_forward: Seed for networks that draw random numbers, see `activations.harvest`.
        name: Recorded name of the network.
        lie_inputs: Number of held-out images for the Lie-derivative errors, default 64; 0 skips
            these.
        seed: Seed of controls and intervals.
        scratch: Folder for the temporary folder; default that of the system. With `resume`, the
            folder of this measurement.
        resume: Keep the figures of every layer in `scratch`, and continue an interrupted
            measurement of the same network, inputs and settings there, to the same bits. The
            activations are removed at the end. The figures stay; remove `scratch` once the result
            is saved. Default False.
        stage: For progress: called with the name of each stage, returns a context that yields a
            function of (done, total).

    Returns:
        The figures.

    Raises:
        OrbitLensError: If there are fewer than 50 inputs; if the group has only the identity; or if
            a named layer, or every layer, cannot be measured or has too few inputs; or if there is
            a measurement of something else in `scratch`; or if a layer has a method `symmetry_use`
            that returns something else than its use.

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
        [('pool', 'exactly equivariant'), ('readout', 'exactly invariant')]
    """
    check_network(model)
    inputs = as_rows(inputs)
    lie_inputs = as_count("lie_inputs", lie_inputs, least=0)
    _check(inputs, check_action(action))
    use = known_use(model)
    show = stage or (lambda _: nullcontext(lambda *_: None))
    if isinstance(layers, (str, nn.Module)):
        layers = (layers,)
    named = layers and tuple(name_of_layer(model, layer) for layer in layers)
    settings: dict[str, Any] = {
        "layers": None if named is None else list(named),
        "max_positions": max_positions,
        "max_dim": max_dim,
        "lie_inputs": lie_inputs,
        "seed": seed,
    }
    told = {"layout given": layout, "seed_forward": seed_forward}
    settings |= {key: value for key, value in told.items() if value is not None}
    with _place(scratch, resume) as folder:
        if resume:
            settings |= _origin(model, inputs, action, prepare, name)
        kept = Kept(folder if resume else None, settings)

        def harvest() -> dict[str, Any]:
            with show("harvest every layer") as tick:
                found = harvest_layers(
                    model,
                    layers=named,
                    inputs=inputs,
                    action=action,
                    out=folder / _STORES,
                    max_positions=max_positions,
                    max_dim=max_dim,
                    layout=layout,
                    batch_size=_BATCH,
                    resume=resume,
                    prepare=prepare,
                    seed_forward=seed_forward,
                    name=name,
                    progress=tick,
                )
            stores = {layer: Path(str(store.path)).name for layer, store in found.stores.items()}
            taken = {layer: _without_basis(part) for layer, part in found.taken.items()}
            return {"stores": stores, "taken": taken, "skipped": found.skipped}

        record = kept.once("harvest", harvest)
        taken = {layer: TakenLayer(**part, basis=None) for layer, part in record["taken"].items()}
        stores = {layer: folder / _STORES / store for layer, store in record["stores"].items()}
        if resume:
            few = action.orbit(inputs[:1].clone())[0, :_ELEMENTS]
            forward = _forward(model, taken, prepare or as_they_are, seed_forward)
            check_same_outputs(kept, lambda: forward(few), rounding(model, few))
        with show("measure the layers") as tick:
            measured, failed = _measure(stores, kept, named is None, seed, tick)

        def dependence() -> dict[str, tuple[str, ...]] | None:
            few = _ready(model, prepare or as_they_are, few_moved(inputs, action))
            return layer_dependence(model, measured, few)

        after = kept.once("dependence", dependence)
        lie: dict[str, Mapping[str, float]] = {}
        if action.name == "images" and lie_inputs > 0:
            held_out = inputs[split_samples(len(inputs))[1][:lie_inputs]]

            def errors(kind: str) -> dict[str, float]:
                return lie_derivative_errors(
                    _forward(model, measured, prepare or as_they_are, seed_forward),
                    held_out,
                    transformation=kind,
                    prefixes={layer: taken[layer].prefix for layer in measured},
                    layout={layer: taken[layer].layout for layer in measured},
                )

            for kind in ("rotation", "translation"):
                with show(f"Lie derivative, {kind}"):
                    lie[f"lie_{kind}"] = kept.once(f"lie-{kind}", partial(errors, kind))
        shutil.rmtree(folder / _STORES, ignore_errors=True)
    table = tuple(
        _row(figures, taken[layer], None if after is None else list(after[layer]), lie)
        for layer, figures in measured.items()
    )
    skipped = {**record["skipped"], **failed}
    return NetworkEquivariance(action.group, tuple(measured.values()), table, skipped, use)


@contextmanager
def _place(scratch: Path | str | None, resume: bool) -> Iterator[Path]:
    """Give a temporary folder, or the one that is kept."""
    if scratch is not None:
        scratch = as_path("scratch", scratch)
    if not resume:
        with one_line_errors(scratch or tempfile.gettempdir()):
            folder = tempfile.mkdtemp(prefix=".layers.partial", dir=scratch)
        try:
            yield Path(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    if scratch is None:
        raise OrbitLensError(
            "`scratch`",
            expected="a folder, with `resume`",
            received="none",
            remedy="name the folder in which the figures are kept until the end",
        )
    with one_line_errors(scratch):
        scratch.exists()  # raises where the name is too long
    try:
        yield scratch
    finally:
        with suppress(OSError):
            scratch.rmdir()  # nothing was kept


def _origin(
    model: nn.Module,
    inputs: Tensor | LazyInputs,
    action: Action,
    prepare: Prepare | None,
    name: str | None,
) -> dict[str, Any]:
    """Return what tells networks, inputs and groups apart, JSON-ready."""
    return {
        "model": name or type(model).__name__,
        "weights digest": weights_digest(model),
        "inputs digest": Inputs("inputs", inputs).digest,
        "group": action.group.to_dict(),
        "action": action.name,
        "action_config": action.config,
        "prepare": name_of(prepare or as_they_are),
    }


def _without_basis(part: TakenLayer) -> dict[str, Any]:
    return {each.name: getattr(part, each.name) for each in fields(part) if each.name != "basis"}


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
    stores: Mapping[str, Path], kept: Kept, all_layers: bool, seed: int, tick: _Tick
) -> tuple[dict[str, LayerEquivariance], dict[str, str]]:
    """Measure layer by layer; return the figures, and why other layers have none."""
    measured: dict[str, LayerEquivariance] = {}
    failed: dict[str, str] = {}
    for number, (layer, store) in enumerate(stores.items()):

        def figures(layer: str = layer, store: Path = store) -> dict[str, Any]:
            opened = open_store(store)
            opened.require(layer=layer)
            try:
                return {"figures": asdict(measure_layer(opened, seed=seed))}
            except DamageError:
                raise
            except OrbitLensError as error:
                if not all_layers or isinstance(error.__cause__, OSError):
                    raise
                return {"failure": str(error)}

        found = kept.once(f"layer-{number}", figures)
        if "failure" in found:
            failed[layer] = found["failure"]
        else:
            lists = {name: tuple(found["figures"].get(name, ())) for name in _LISTS}
            measured[layer] = LayerEquivariance(**{**found["figures"], **lists})
            # Its figures are kept: its part of the disk is free again.
            shutil.rmtree(store, ignore_errors=True)
        tick(number + 1, len(stores))
    if failed and not measured:
        measure_layer(open_store(stores[next(reversed(failed))]), seed=seed)  # says why
    return measured, failed


def _forward(
    model: nn.Module, layers: Iterable[str], prepare: Prepare, seed: int | None
) -> Callable[[Tensor], Mapping[str, Tensor]]:
    def forward(images: Tensor) -> Mapping[str, Tensor]:
        outputs = layer_outputs(model, layers, _ready(model, prepare, images), seed_forward=seed)
        return {name: output.float().cpu() for name, output in outputs.items()}

    return forward


def _ready(model: nn.Module, prepare: Prepare, images: Tensor) -> Tensor:
    """Prepare images for the network, on its device."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    return make_ready(prepare, images.to(device), dtype_of(model))


def _row(
    figures: LayerEquivariance,
    taken: TakenLayer,
    after: list[str] | None,
    lie: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    return {
        "layer": figures.layer,
        "after": after,
        "verdict": figures.verdict,
        "layout": taken.layout,
        "kind": taken.kind,
        "places": taken.places,
        "all_places": taken.all_places,
        "width": taken.width,
        "kept_variance": taken.kept_variance,
        **{key: value for key, value in asdict(figures).items() if key not in ("layer", "group")},
        **{name: list(getattr(figures, name) or ()) for name in _LISTS},
        "lie_rotation": lie.get("lie_rotation", {}).get(figures.layer),
        "lie_translation": lie.get("lie_translation", {}).get(figures.layer),
    }
