"""Networks as folders: how to build them in JSON, their weights in safetensors, never pickle.

`network.json` says which class of OrbitLens, or which of its recipes, builds the untrained network,
and with which arguments; `network.safetensors` holds the weights and is sealed together with it.
Nothing else that a file names is imported. A recipe also keeps `inputs.npz`, inputs to look into
the network with.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from orbitlens.errors import DamageError, OrbitLensError, one_line
from orbitlens.files import check_regular, new_folder, write_json
from orbitlens.io._sealed import SCHEMA, check_schema, complete, read_tensors, write_tensors
from orbitlens.models._arguments import build_class, class_record
from orbitlens.models._from_python import find_user_files
from orbitlens.models._kept import RECORD, WEIGHTS, kept_record
from orbitlens.models._layers import check_network, default_layer
from orbitlens.models._same import check_same_build
from orbitlens.models.base import BaseModel, Prepare, as_they_are
from orbitlens.models.preparation import ImagePreparation
from orbitlens.reproduce._locate import locate

_DEFAULT_LAYERS = ("encoder",)
_TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
_TYPES |= {"float32": torch.float32, "float64": torch.float64}


def save_network(
    network: nn.Module, folder: Path, *, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a network that remembers its arguments to a new folder; `orbitlens.save` calls it.

    It is read back at once, and refused if that gives another network.
    """
    record = {"build": class_record(network), "layer": None, "metadata": dict(metadata or {})}
    with new_folder(folder) as part:
        write_network(network, part, record)
        check_same_build(network, load_network(part))


def write_network(network: nn.Module, folder: Path, record: Mapping[str, Any]) -> None:
    """Write the weights of a network and its record into a folder.

    `record` has "build": {"class": ..., "arguments": ...} or {"recipe": ..., "arguments": ...}; and
    "layer", the dotted name of the layer to look into, or None.
    """
    check_network(network, "`network` to keep")
    whole = {
        "schema": SCHEMA,
        "dtype": _dtype_of(network),
        "frozen": [name for name, each in network.named_parameters() if not each.requires_grad],
        **record,
    }
    weights = dict(network.state_dict())
    if wrong := [name for name, each in weights.items() if not isinstance(each, torch.Tensor)]:
        raise OrbitLensError(
            "`network` to keep",
            expected="a state of tensors alone",
            received=f"{wrong[0]}, which is none",
            remedy="keep it as a buffer, or leave it out of the state",
        )
    parameters = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    # Clones: a file cannot hold two tensors in one memory.
    clones = {name: each.detach().clone() for name, each in weights.items()}
    # Buffers may be infinite, as masks are; weights may not.
    write_tensors(clones, folder / WEIGHTS, whole, loose=clones.keys() - parameters)
    write_json(whole, folder / RECORD)


def read_network(folder: str | Path, *, layer: str | None = None) -> BaseModel:
    """Read a network that a recipe or `orbitlens.save` has kept, with its preparation.

    Args:
        folder: The folder with network.json and network.safetensors.
        layer: Dotted name of the layer to look into; None (the default) takes the kept one.

    Returns:
        The network in evaluation mode, in the number type that it was kept in.

    Raises:
        OrbitLensError: If the folder holds no network, is damaged or was changed, or is of a
            recipe, a class or a version that is not here.

    Example:
        >>> import tempfile
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.models import GroupCNN
        >>> place = Path(tempfile.mkdtemp()) / "cnn"
        >>> save_network(GroupCNN(cyclic(4), features=2), place)
        >>> read_network(place, layer="pool").module.readout.sizes
        {'order': 4}
    """
    module, prepare, record = _opened(Path(folder))
    name = str(record.get("name", folder))
    layer = layer or record["layer"] or default_layer(module, _DEFAULT_LAYERS, name)
    size, channels = None, None
    if isinstance(prepare, ImagePreparation):
        size, channels = prepare.image_size, prepare.channels
    return BaseModel(name, module, layer, prepare, image_size=size, channels=channels)


def load_network(folder: Path) -> nn.Module:
    """Read the network of such a folder alone, in evaluation mode; `orbitlens.load` calls it."""
    return _opened(folder)[0]


def _opened(folder: Path) -> tuple[nn.Module, Prepare, dict[str, Any]]:
    """Return the network of a folder with its weights, the preparation, and the record."""
    place = folder.expanduser()
    check_regular(place / RECORD)
    record = kept_record(place)
    check_schema(place, record)
    weights = read_tensors(place / WEIGHTS, record, loose=None)
    with complete(place / RECORD):
        module, prepare = _built(record["build"])
        dtype = _TYPES.get(record["dtype"])
        record.setdefault("layer", None)
    if dtype is not None:
        module = module.to(dtype)
    _load(module, weights, place)
    if "frozen" in record:
        for name, each in module.named_parameters():
            each.requires_grad_(name not in record["frozen"])
    return module.eval(), prepare, record


def _build_recipe(name: str, arguments: Mapping[str, Any]) -> tuple[nn.Module, Prepare]:
    """Return the untrained network that an installed recipe builds, and its preparation.

    Raises:
        OrbitLensError: If there is no such recipe, or it keeps no networks.
    """
    build = getattr(getattr(_program(name), "RECIPE", None), "network", None)
    if build is None:
        raise OrbitLensError(
            f"recipe {name}",
            expected="a recipe that keeps networks",
            received="one that keeps none",
            remedy="another version of OrbitLens wrote it; read it with that version",
        )
    built = build(arguments)
    match built:
        case BaseModel():
            return built.module, built.prepare
        case nn.Module():
            return built, as_they_are
        case (nn.Module() as module, prepare) if callable(prepare):
            return module, prepare
    raise OrbitLensError(
        f"`network` of recipe {name}",
        expected="a network, or a pair of it and a function that prepares inputs",
        received=type(built).__name__,
        remedy="return the network",
    )


def _built(build: Mapping[str, Any]) -> tuple[nn.Module, Prepare]:
    with torch.random.fork_rng(devices=[]):
        return _of_recipe(build) if "recipe" in build else (build_class(build), as_they_are)


def _of_recipe(build: Mapping[str, Any]) -> tuple[nn.Module, Prepare]:
    try:
        return _build_recipe(str(build["recipe"]), build["arguments"])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, OrbitLensError):
            raise
        raise OrbitLensError(
            f"arguments for a network of recipe {build['recipe']}",
            expected="those that this version of the recipe takes",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="another version of OrbitLens wrote it; run the recipe again",
        ) from None


def _program(name: str) -> ModuleType:
    """Return the module of an installed recipe, loaded once; other processes find it, too."""
    path = locate(name) / "run.py"
    module_name = f"orbitlens_recipe_{name.replace('-', '_')}"
    find_user_files({module_name: str(path)})
    return importlib.import_module(module_name)


def _load(module: nn.Module, weights: Mapping[str, torch.Tensor], place: Path) -> None:
    own = module.state_dict()
    wrong = [name for name in {**own, **weights} if _shape(own, name) != _shape(weights, name)]
    if wrong:
        name = wrong[0]
        raise DamageError(
            str(place / WEIGHTS),
            expected=f"{name} of shape {_shape(own, name)}, as the network has"
            if name in own
            else "the tensors of the network",
            received=f"shape {_shape(weights, name)}"
            if name in own and name in weights
            else f"{'none' if name in own else name}",
            remedy="another version of OrbitLens wrote it, or the file is damaged; make it again",
        )
    module.load_state_dict(dict(weights), strict=True)


def _shape(tensors: Mapping[str, torch.Tensor], name: str) -> list[int] | None:
    return list(tensors[name].shape) if name in tensors else None


def _dtype_of(network: nn.Module) -> str | None:
    """Return the floating type of all weights; None if they have several."""
    found = {each.dtype for each in network.state_dict().values() if each.is_floating_point()}
    return next((name for name, dtype in _TYPES.items() if found == {dtype}), None)
