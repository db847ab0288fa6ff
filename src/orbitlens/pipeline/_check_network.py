"""`orbitlens check MODEL INPUTS`: is the group a symmetry of a network, or of one of its layers?"""

from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from orbitlens.actions import Action
from orbitlens.activations.harvest import (
    device_of,
    dtype_of,
    kind_of,
    make_ready,
    only_tensor,
    take_outputs,
)
from orbitlens.errors import OrbitLensError, missing_extra
from orbitlens.files import write_json, write_table
from orbitlens.models import ALL_LAYERS, BaseModel, get_layer
from orbitlens.pipeline._describe import describe_action, log_data
from orbitlens.pipeline._given_source import IMAGES
from orbitlens.pipeline._hearing import hears_warnings
from orbitlens.pipeline._job import Job, prepare
from orbitlens.pipeline.config import OPEN, RunConfig
from orbitlens.pipeline.console import Console
from orbitlens.pipeline.folder import RunFolder
from orbitlens.pipeline.stages import train_model
from orbitlens.report import write_check_page
from orbitlens.symmetry.check import check_symmetry
from orbitlens.typing import Tensor

_WRONG = ("shuffled", "other", "inverse")


@dataclass(frozen=True)
class NetworkCheckConfig:
    """The settings of a check of a network.

    Args:
        run: Data, model and group; its layer is None for the output of the network.
        output: How the outputs should move: "invariant", "maps" (as the inputs do), or "regular"
            (by the regular representation).
    """

    run: RunConfig
    output: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready record."""
        return {**self.run.to_dict(), "output": self.output}


@hears_warnings
def run_network_check(
    config: NetworkCheckConfig, out: Path, *, resume: bool, console: Console
) -> dict[str, Any]:
    """Check a network or one of its layers, and write a record, a table and a page.

    `out` gets config.json, metrics.json, elements.csv, report/index.html and log.txt. With `resume`
    a network that was trained is kept, and the check begins again. Returns the record in
    metrics.json.
    """
    if find_spec("jinja2") is None:
        raise missing_extra("jinja2", extra="report")
    RunFolder(out, config.to_dict(), resume=resume, open_settings=OPEN)
    with console.stage("load network and images"):
        job = prepare(replace(config.run, layer=ALL_LAYERS), splits=False)
    layer = config.run.layer
    if layer is not None:
        get_layer(job.model.module, layer)
    config = replace(config, run=replace(job.config, layer=layer))
    folder = RunFolder(out, config.to_dict(), resume=resume)
    with folder.writing():
        console.keep_warnings_in(folder)
        log_data(job, folder)
        if job.trains_model:
            with console.stage("train the base model") as tick:
                train_model(job, folder / "model.safetensors", tick)
        with console.stage("move the inputs, compare the outputs"):
            check = check_symmetry(
                _Layer(job.model, layer).to(config.run.torch_device),
                job.source.inputs.values[:],
                job.action,
                _output(config.output, job.action),
                seed=config.run.seed,
            ).to_dict()
        record = console.with_warnings(_record(config, job, check, console), ())
        write_table([_flat(row) for row in check["elements"]], folder / "elements.csv")
        write_json(record, folder / "metrics.json")
        with console.stage("draw the page"):
            write_check_page(folder / "report" / "index.html", record)
        folder.log(check["sentence"])
    return record


class _Layer(nn.Module):
    """A network with its preparation, up to the output of one layer or of the network itself."""

    def __init__(self, model: BaseModel, layer: str | None) -> None:
        super().__init__()
        self.network, self._prepare, self._layer = model.module, model.prepare, layer

    def forward(self, inputs: Tensor) -> Tensor:
        ready = make_ready(self._prepare, inputs, dtype_of(self.network))
        ready = ready.to(device_of(self.network, ready))
        if self._layer is not None:
            layers = {self._layer: get_layer(self.network, self._layer)}
            taken = take_outputs(self.network, layers, ready, lambda _, output: output.clone())
            return taken[self._layer]
        output = self.network(ready)
        found = only_tensor(output)
        if found is None:
            raise OrbitLensError(
                "the output of the network",
                expected="one floating point tensor",
                received=kind_of(output),
                remedy="name the layer whose output is meant (--layer)",
            )
        return found


def _output(name: str, action: Action) -> Action | None:
    """Return the action on the outputs; None for an invariant network."""
    if name == "regular":
        return Action(
            name="regular",
            group=action.group,
            apply=partial(_move_channels, action),
            check=partial(_check_channels, action),
            exact=action.exact,
        )
    return action if name == "maps" else None


def _move_channels(action: Action, outputs: Tensor, element: int) -> Tensor:
    """Move channel f |G| + h to f |G| + gh, and the places of maps as the pixels of images."""
    group = action.group
    if outputs.ndim == 4:
        outputs = action.apply(outputs, element)
    origin = torch.from_numpy(group.table[group.inverses[element]].copy())
    return outputs.unflatten(1, (-1, group.order))[:, :, origin].flatten(1, 2)


def _check_channels(action: Action, outputs: Tensor) -> None:
    order = action.group.order
    usual = outputs.ndim == 2 or (outputs.ndim == 4 and action.name == IMAGES)
    if not usual or outputs.shape[1] % order:
        raise OrbitLensError(
            f"outputs under regular of {action.group.name}",
            expected=f"shape [n, features x {order}], or maps of as many channels of images",
            received=list(outputs.shape),
            remedy="choose another --output or --layer",
        )
    if outputs.ndim == 4:
        action.check(outputs)


def _record(
    config: NetworkCheckConfig, job: Job, check: dict[str, Any], console: Console
) -> dict[str, Any]:
    inputs, group = job.source.inputs, job.action.group
    return {
        "model": {
            "name": job.model.name,
            "layer": config.run.layer,
            "trained_here": job.trains_model,
        },
        "inputs": {
            "name": inputs.name,
            "n": len(inputs.values),
            "passed_over": list(inputs.passed_over),
            "given": job.network_input["sentence"],
        },
        "group": {
            "name": group.name,
            "order": group.order,
            "elements": list(group.element_names),
        },
        "action": describe_action(job),
        "check": check,
        "config": config.to_dict(),
        "seconds": {name: round(value, 2) for name, value in console.seconds.items()},
    }


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Give the figures of the wrong groups columns of their own."""
    own = {name: each for name, each in row.items() if name not in _WRONG}
    figures = [name for name in own if name not in ("words", "hidden")]
    return own | {
        f"{wrong} {name}": (row[wrong] or {}).get(name) for wrong in _WRONG for name in figures
    }
