"""Networks that a recipe keeps in its run, so that every command can look into them."""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from orbitlens import groups
from orbitlens.actions import Action
from orbitlens.activations import layer_outputs
from orbitlens.activations.harvest import dtype_of, make_ready
from orbitlens.checks import as_layout, as_seed, as_switch, as_tensor, check_kind
from orbitlens.errors import OrbitLensError
from orbitlens.files import digest_of_file, new_folder, one_line_errors, read_json
from orbitlens.models import (
    INPUTS,
    NETWORKS,
    BaseModel,
    get_layer,
    read_network,
    write_network,
)
from orbitlens.pipeline._actions import action_by_name
from orbitlens.pipeline._names import ACTIONS

_SETTINGS = "settings.json"
_COMPARED = 2  # inputs, on which the network is compared with the one that is read back
_FEWEST, _ROUNDING = 50, 1e-4
_NAME = re.compile(r"\w[\w.+=-]*")
_OF_COMMANDS = {"images": ("interpolation",), "points": ("axis", "centred")}


def keep_network(
    folder: Path,
    name: str,
    model: nn.Module,
    arguments: Mapping[str, Any],
    *,
    inputs: Shaped[Tensor, "n *axes"],
    action: Action,
    layer: str,
    layout: str | None = None,
    seed_forward: int | None = None,
    main: bool = False,
) -> Path:
    """Keep a trained network in the run of a recipe, with inputs to look into it with.

    `recipe:RECIPE/NAME` then stands for it in every command, and as INPUTS for the inputs. It is
    read back at once, and must return the same on the first inputs, at the layer and at the end.
    Only then does it take the place of a network of that name that was kept before.

    Args:
        folder: The folder of the run, as the job gets it.
        name: Name of the network, such as that of its arm; a part of "recipe:RECIPE/NAME". Letters,
            digits and any of _ . + = -, the first of them a letter, a digit or _.
        model: The trained network.
        arguments: What `Recipe.network` builds the untrained network from: plain numbers, words,
            lists and dicts of them, such as the arguments of the job.
        inputs: A few hundred inputs, at least 50, before their preparation; kept as float32.
        action: How the group moves them; one that the command line can name, of a named group.
        layer: Dotted name of the layer that commands look into if none is named.
        layout: Axes of the output of that layer, where it has more than two and they cannot be
            found; None (the default) finds them.
        seed_forward: Seed for networks that draw random numbers in every pass; default None.
        main: Whether "recipe:RECIPE" stands for this one of several networks; default False. Of a
            single one it does in any case.

    Returns:
        The folder of the network, FOLDER/networks/NAME.

    Raises:
        OrbitLensError: If the folder is no run of a recipe that builds networks, if the name is no
            name of a folder, if the inputs are too few or not finite in float32, if the command
            line cannot name the action, or if the network that is read back is another one.
    """
    check_kind("action", action, Action, "make one with orbitlens.actions, such as images('C4')")
    numbers = _as_inputs(inputs)
    record: dict[str, Any] = {
        "name": f"recipe:{_recipe_of(folder)}/{_as_name(name)}",
        "build": {"recipe": _recipe_of(folder), "arguments": dict(arguments)},
        "layer": layer,
        "layout": layout,
        "seed_forward": None if seed_forward is None else as_seed(seed_forward, "seed_forward"),
        "main": as_switch("main", main),
    }
    if layout is not None:
        as_layout(layout)
    get_layer(model, layer)
    action.check(numbers[:1])
    place = folder / NETWORKS / name
    with _replacing(place) as part:
        np.savez_compressed(part / INPUTS, inputs=numbers.numpy())
        digest = digest_of_file(part / INPUTS)
        record["inputs"] = {**_of_action(action), "n": len(numbers), "digest": digest}
        write_network(model, part, record)
        _check_same(model, read_network(part), numbers[:_COMPARED], record["seed_forward"])
    return place


def _as_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise OrbitLensError(
            "`name` of a kept network",
            expected="letters, digits and any of _ . + = -, the first a letter, a digit or _",
            received=repr(name),
            remedy="it names a folder, and a part of recipe:RECIPE/NAME",
        )
    return name


def _as_inputs(inputs: object) -> Shaped[Tensor, "n *axes"]:
    numbers = as_tensor("inputs", inputs).detach().cpu()
    if numbers.ndim < 2 or len(numbers) < _FEWEST:
        raise OrbitLensError(
            "`inputs`",
            expected=f"at least {_FEWEST} inputs, one for each row",
            received=f"shape {list(numbers.shape)}",
            remedy="keep a few hundred of those that the network was tested on",
        )
    return numbers


@contextmanager
def _replacing(place: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the place of another if the block ends without error."""
    with one_line_errors(place):
        place.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as around:
            whole, earlier = Path(around) / "whole", Path(around) / "earlier"
            with new_folder(whole) as part:
                yield part
            if place.exists():
                os.replace(place, earlier)
            os.replace(whole, place)


def _recipe_of(folder: Path) -> str:
    path = folder / _SETTINGS
    if not path.is_file():
        raise OrbitLensError(
            f"`folder` {folder}",
            expected=f"the folder of a run of a recipe, with {_SETTINGS}",
            received="another one",
            remedy="give the folder that `compute` gets",
        )
    return str(read_json(path)["recipe"])


def _of_action(action: Action) -> dict[str, Any]:
    """Return the settings of commands that stand for an action."""
    names = _OF_COMMANDS.get(action.name, ())
    settings = {name: action.config.get(name) for name in names}
    if action.name not in ACTIONS:
        raise OrbitLensError(
            "`action` of a kept network",
            expected=f"one that commands can name: {', '.join(ACTIONS)}",
            received=action.name,
            remedy="let `prepare` bring inputs into a form that one of these moves",
        )
    again = action_by_name(action.name, groups.from_name(action.group.name), settings)
    if again.group != action.group or again.config != action.config:
        raise OrbitLensError(
            "`action` of a kept network",
            expected=f"that of commands for --action {action.name} --group {action.group.name}",
            received="one with other settings or elements",
            remedy="build it from the name of its group, without matrices or permutations",
        )
    return {"action": action.name, "group": action.group.name, **settings}


def _check_same(
    model: nn.Module, kept: BaseModel, inputs: Tensor, seed_forward: int | None
) -> None:
    """Refuse a network that computes something else once it has been read."""
    ready = make_ready(kept.prepare, inputs, dtype_of(model))
    found, again = (
        _outputs(network, kept.layer, ready, seed_forward) for network in (model, kept.module)
    )
    if found.keys() == again.keys() and all(_are_close(found[key], again[key]) for key in found):
        return
    raise OrbitLensError(
        f"network {kept.name}",
        expected="the same numbers from the network that is built again and gets its weights",
        received="others",
        remedy="let `Recipe.network` build all of it from the arguments, and keep what else it "
        "needs in its state",
    )


def _outputs(
    network: nn.Module, layer: str, ready: Tensor, seed_forward: int | None
) -> dict[str, Tensor]:
    """Return the outputs of the layer and of the network, of those that end with one tensor."""
    whole = nn.Sequential(network)
    whole.training = network.training  # `train` would also reach into the network
    names = [f"0.{layer}", "0"]
    try:
        return layer_outputs(whole, names, ready, seed_forward=seed_forward)
    except OrbitLensError:
        return layer_outputs(whole, names[:1], ready, seed_forward=seed_forward)


def _are_close(found: Tensor, again: Tensor) -> bool:
    if found.dtype != again.dtype or found.shape != again.shape:
        return False
    finite = found.double().nan_to_num(0.0, 0.0, 0.0)
    scale = float(finite.abs().max()) if found.numel() else 0.0
    return torch.allclose(found, again, rtol=_ROUNDING, atol=_ROUNDING * scale, equal_nan=True)
