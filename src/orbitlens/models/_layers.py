"""The layers of a network, by the dotted names of its submodules."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import chain

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from orbitlens.errors import OrbitLensError, unknown_name

ALL_LAYERS = "all"  # the name that stands for every layer
_LISTED = 15


def check_network(model: object, name: str = "`model`") -> nn.Module:
    """Return a network; refuse what is none, or has no numbers in it, or is in TorchScript."""
    network = _check_kind(model, name)
    weights = list(chain(network.named_parameters(), network.named_buffers()))
    lazy = [key for key, each in weights if is_lazy(each)]
    if lazy:
        raise OrbitLensError(
            name,
            expected="a network with its weights",
            received=f"{len(lazy)} tensors of lazy layers, which have no numbers yet, such as "
            f"{lazy[0]!r}",
            remedy="run the network once, then train it or load its weights",
        )
    unloaded = [key for key, each in weights if each.is_meta]
    if unloaded:
        raise OrbitLensError(
            name,
            expected="a network with its weights",
            received=f"{len(unloaded)} tensors on the device 'meta', which have no numbers, such "
            f"as {unloaded[0]!r}",
            remedy="load the weights onto a device first",
        )
    return network


def layer_names(module: nn.Module) -> tuple[str, ...]:
    """Return the dotted names of all submodules, in the order of their registration.

    Submodules in TorchScript are left out: nothing can look into them.

    Args:
        module: Any network.

    Raises:
        OrbitLensError: If it is no network.

    Example:
        >>> layer_names(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
        ('0', '1')
    """
    return tuple(
        name
        for name, layer in _check_kind(module).named_modules(remove_duplicate=False)
        if name and not isinstance(layer, torch.jit.ScriptModule)
    )


def get_layer(module: nn.Module, name: str) -> nn.Module:
    """Return the submodule with a dotted name; the error lists the most similar names."""
    layers: dict[str, nn.Module] = dict(_check_kind(module).named_modules(remove_duplicate=False))
    _check_name(name)
    if name and name in layers:
        if isinstance(layers[name], torch.jit.ScriptModule):
            raise _scripted(f"layer {name!r}", type(layers[name]).__name__)
        return layers[name]
    names, kind = layer_names(module), type(module).__name__
    if not names:
        raise _without_layers(kind)
    if len(names) <= _LISTED:
        raise unknown_name(f"`layer` of {kind}", name, names)
    nearest = set(get_close_matches(name, names, n=_LISTED, cutoff=0.0))
    raise unknown_name(
        f"`layer` of {kind} (nearest {_LISTED} of {len(names)})",
        name,
        [known for known in names if known in nearest],
    )


def name_of_layer(module: nn.Module, layer: str | nn.Module) -> str:
    """Return the dotted name of a layer that is given as such or by its name."""
    if not isinstance(layer, nn.Module):
        return layer
    for name, submodule in _check_kind(module).named_modules():
        if submodule is layer and name:
            return name
    raise OrbitLensError(
        "`layer`",
        expected=f"a submodule of {type(module).__name__}, or its dotted name",
        received=f"a {type(layer).__name__} that is "
        + ("the network itself" if layer is module else "not in it"),
        remedy="give one of its submodules, or wrap it in nn.Sequential, where it is layer '0'",
    )


def default_layer(module: nn.Module, preferred: Iterable[str], subject: str) -> str:
    """Return the first of the preferred layers that a network has; `subject` names it in errors."""
    names = layer_names(_check_kind(module, subject))
    if not names:
        raise _without_layers(subject)
    for name in preferred:
        if name in names:
            return name
    shown = ", ".join(names[:_LISTED])
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    raise OrbitLensError(
        f"`layer` of {subject}",
        expected=f"one of {shown}{more}",
        received="none, and there is no default for this network",
        remedy="name the layer (--layer)",
    )


def _without_layers(subject: str) -> OrbitLensError:
    return OrbitLensError(
        f"`layer` of {subject}",
        expected="a network with submodules, whose names are those of its layers",
        received="one without any",
        remedy="wrap it in nn.Sequential, where it is layer '0'",
    )


def _check_name(name: object) -> None:
    if isinstance(name, str):
        return
    remedy = "write the number as text, such as '1'" if isinstance(name, int) else "see layer_names"
    if isinstance(name, list | tuple | set):
        remedy = "give one of them, or take several with `harvest_layers`"
    raise OrbitLensError(
        "`layer`",
        expected="the dotted name of a submodule, such as 'encoder.2'",
        received=f"{type(name).__name__} {name!r:.60}",
        remedy=remedy,
    )


def _check_kind(model: object, name: str = "`model`") -> nn.Module:
    if not isinstance(model, nn.Module):
        shown = f" {model!r:.60}" if isinstance(model, str | type) else ""
        raise OrbitLensError(
            name,
            expected="a network, a torch.nn.Module",
            received=f"{type(model).__name__}{shown}",
            remedy=_network_instead(model),
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise _scripted(name, type(model).__name__)
    return model


def _network_instead(model: object) -> str:
    """Return what to give where something was given that is no network."""
    if isinstance(model, type):
        return "make an instance of the class"
    if isinstance(model, str):
        return "build it first, for example with resolve_model(name, image_shape=...).module"
    if isinstance(model, Mapping):
        return "build the network, and load these weights with its load_state_dict"
    for attribute in ("module", "model"):  # a BaseModel of ours; a pipeline of transformers
        if isinstance(getattr(model, attribute, None), nn.Module):
            return f"give its `.{attribute}`"
    return "wrap what computes in a torch.nn.Module, its parts in submodules"


def _scripted(subject: str, kind: str) -> OrbitLensError:
    return OrbitLensError(
        subject,
        expected="a network in Python",
        received=f"TorchScript ({kind}), whose layers cannot be looked into",
        remedy="give the network that was scripted or traced, before torch.jit "
        "(command line: return it from the function that python: names)",
    )
