"""Networks that a recipe keeps in its run, so that every command can look into them."""

import shutil
from collections.abc import Mapping
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
from orbitlens.errors import OrbitLensError
from orbitlens.files import new_folder, read_json
from orbitlens.models import (
    INPUTS,
    NETWORKS,
    BaseModel,
    get_layer,
    read_network,
    write_network,
)
from orbitlens.models._kept import digest_of_file
from orbitlens.pipeline._actions import action_by_name
from orbitlens.pipeline._names import ACTIONS

_SETTINGS = "settings.json"
_COMPARED = 2  # inputs, on which the network is compared with the one that is read back
_ROUNDING = 1e-4
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
    read back at once, and must return the same on the first inputs.

    Args:
        folder: The folder of the run, as the job gets it.
        name: Name of the network, such as that of its arm; a part of "recipe:RECIPE/NAME".
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
        OrbitLensError: If the folder is no run of a recipe that builds networks, if the command
            line cannot name the action, or if the network that is read back is another one.
    """
    record: dict[str, Any] = {
        "name": f"recipe:{_recipe_of(folder)}/{name}",
        "build": {"recipe": _recipe_of(folder), "arguments": dict(arguments)},
        "layer": layer,
        "layout": layout,
        "seed_forward": seed_forward,
        "main": main,
    }
    get_layer(model, layer)
    action.check(inputs[:1])
    numbers = inputs.detach().float().cpu().numpy()
    place = folder / NETWORKS / name
    shutil.rmtree(place, ignore_errors=True)  # of a job that was interrupted
    with new_folder(place) as part:
        np.savez_compressed(part / INPUTS, inputs=numbers)
        digest = digest_of_file(part / INPUTS)
        record["inputs"] = {**_of_action(action), "n": len(numbers), "digest": digest}
        write_network(model, part, record)
        _check_same(model, read_network(part), torch.from_numpy(numbers[:_COMPARED]), seed_forward)
    return place


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
        layer_outputs(network, [kept.layer], ready, seed_forward=seed_forward)[kept.layer]
        for network in (model, kept.module)
    )
    if found.dtype == again.dtype and found.shape == again.shape:
        scale = float(found.abs().max()) if found.numel() else 0.0
        if torch.allclose(found, again, rtol=_ROUNDING, atol=_ROUNDING * scale):
            return
    raise OrbitLensError(
        f"network {kept.name}",
        expected="the same numbers from the network that is built again and gets its weights",
        received="others",
        remedy="let `Recipe.network` build all of it from the arguments, and keep what else it "
        "needs in its state",
    )
