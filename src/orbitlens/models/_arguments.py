"""Arguments of networks as JSON, and back: numbers, text, groups, representations, networks.

A record names classes of OrbitLens only, by the room that exports them. Nothing else is imported.
"""

import inspect
import math
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import nn

from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.groups import Group, PlaneGroup, from_name
from orbitlens.models._plain_layers import PREFIX, build_plain, plain_settings
from orbitlens.models._settings import settings_of
from orbitlens.reps import Representation

_ROOMS = (
    *("models", "symmetry", "symmetry.split", "symmetry.relax", "symmetry.symmetrize"),
    "symmetry.pretext",
)
_KIND = "kind"
_MOST_NUMBERS = 100_000  # of a representation, as text


def class_record(network: nn.Module) -> dict[str, Any]:
    """Return which class builds a network and with which arguments, JSON-ready.

    Raises:
        OrbitLensError: If its class keeps no arguments, or one of them cannot be written as JSON.
    """
    settings, cls = settings_of(network), type(network)
    plain = plain_settings(network)
    if settings is None and plain is not None:
        parts = {name: to_record(value, f"`{name}`", cls.__name__) for name, value in plain.items()}
        return {"class": f"{PREFIX}{cls.__name__}", "arguments": parts}
    if settings is None:
        raise OrbitLensError(
            "`thing` to save",
            expected="a network of OrbitLens that remembers its arguments, such as GroupCNN, or "
            "nn.Sequential of such and of simple layers",
            received=cls.__name__,
            remedy="keep its weights with torch.save(network.state_dict(), path), and write a "
            "function that builds it and loads them with torch.load(path, weights_only=True); "
            "commands take it as python:FILE.py:FUNCTION",
        )
    name, subject = _name_of(cls), f"arguments of {cls.__name__}"
    arguments = {key: to_record(value, f"`{key}`", subject) for key, value in settings.items()}
    return {"class": name, "arguments": arguments}


def _name_of(cls: type) -> str:
    for room in _ROOMS:
        face = import_module(f"orbitlens.{room}")
        if cls.__name__ in face.__all__ and getattr(face, cls.__name__) is cls:
            return f"{room}.{cls.__name__}"
    raise OrbitLensError(
        "`thing` to save",
        expected=f"a network that orbitlens.{', orbitlens.'.join(_ROOMS)} export",
        received=f"{cls.__module__}.{cls.__qualname__}",
        remedy="nothing else is imported from a file; commands take a network of your own as "
        "python:FILE.py:FUNCTION",
    )


def build_class(record: Mapping[str, Any]) -> nn.Module:
    """Return the untrained network of a record, in the number type of its class.

    Raises:
        OrbitLensError: If OrbitLens has no such class, or it takes no such arguments.
    """
    name = str(record["class"])
    cls = None if name.startswith(PREFIX) else _class_of(name)
    arguments = {key: from_record(value) for key, value in dict(record["arguments"]).items()}
    try:
        if cls is None:
            return _plain(name, arguments)
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        raise OrbitLensError(
            f"arguments of {name}",
            expected="those that this version takes",
            received=str(error),
            remedy="another version of OrbitLens wrote it; read it with that version",
        ) from None
    return cls(**arguments)


def _plain(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    found = build_plain(name.removeprefix(PREFIX), arguments)
    if found is None:
        raise _no_class(name)
    return found


def _class_of(name: str) -> type[nn.Module]:
    room, _, cls_name = name.rpartition(".")
    if room in _ROOMS:
        face = import_module(f"orbitlens.{room}")
        found = getattr(face, cls_name) if cls_name in face.__all__ else None
        if isinstance(found, type) and issubclass(found, nn.Module):
            return found
    raise _no_class(name)


def _no_class(name: str) -> OrbitLensError:
    return OrbitLensError(
        "class of a saved network",
        expected=f"a network that orbitlens.{', orbitlens.'.join(_ROOMS)} export",
        received=name,
        remedy="a newer OrbitLens may have it; nothing else is imported from a file",
    )


def to_record(value: Any, name: str, subject: str) -> Any:
    """Return an argument JSON-ready; what is no number, text or list becomes {"kind": ...}."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | str | None) or (
        isinstance(value, float) and math.isfinite(value)
    ):
        return value
    if isinstance(value, list | tuple):
        parts = [to_record(each, name, subject) for each in value]
        return parts if isinstance(value, list) else {_KIND: "tuple", "of": parts}
    if isinstance(value, Mapping) and all(isinstance(k, str) and k != _KIND for k in value):
        return {key: to_record(each, name, subject) for key, each in value.items()}
    record = _of_object(value)
    if record is None:
        raise OrbitLensError(
            f"{name} among the {subject}",
            expected="finite numbers, text, groups, representations, or networks that remember "
            "their arguments",
            received=repr(value) if isinstance(value, float) else type(value).__name__,
            remedy="write a function that builds the network and loads its weights; commands take "
            "it as python:FILE.py:FUNCTION",
        )
    return record


def _of_object(value: Any) -> dict[str, Any] | None:
    match value:
        case Group():
            return {_KIND: "group", **_group(value)}
        case PlaneGroup():
            return {_KIND: "plane group", "name": value.name, "side": value.side}
        case Representation() if value.matrices.numel() <= _MOST_NUMBERS:
            return {
                _KIND: "representation",
                "group": _group(value.group),
                "matrices": value.matrices.tolist(),
                "name": value.name,
            }
        case np.ndarray() if value.dtype.kind in "biuf":
            return _of_object(torch.from_numpy(value.copy()))
        case torch.Tensor() if value.numel() <= _MOST_NUMBERS:
            dtype = str(value.dtype).removeprefix("torch.")
            return {_KIND: "tensor", "dtype": dtype, "numbers": value.tolist()}
        case nn.Module():
            return {_KIND: "network", **class_record(value)}
    return None


def _group(group: Group) -> dict[str, Any]:
    """Return the name of a group if that says all, else the whole of it."""
    try:
        named = from_name(group.name) == group
    except OrbitLensError:
        named = False
    return {"name": group.name} if named else group.to_dict()


def from_record(record: Any) -> Any:
    """Return the argument that `to_record` wrote."""
    match record:
        case list():
            return [from_record(each) for each in record]
        case {"kind": "tuple", "of": parts}:
            return tuple(from_record(each) for each in parts)
        case {"kind": "group"}:
            return _group_of(record)
        case {"kind": "plane group", "name": name, "side": side}:
            return PlaneGroup(name, side)
        case {"kind": "representation", "group": group, "matrices": matrices, "name": name}:
            numbers = torch.tensor(matrices, dtype=torch.float64)
            return Representation(_group_of(group), numbers, name)
        case {"kind": "tensor", "dtype": dtype, "numbers": numbers}:
            return torch.tensor(numbers, dtype=_dtype(dtype))
        case {"kind": "network"}:
            return build_class(record)
        case {"kind": kind}:
            known = ("tuple", "group", "plane group", "representation", "tensor", "network")
            raise unknown_name("kind of an argument", str(kind), known)
        case dict():
            return {key: from_record(each) for key, each in record.items()}
    return record


def _group_of(record: Mapping[str, Any]) -> Group:
    return Group.from_dict(dict(record)) if "table" in record else from_name(record["name"])


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise unknown_name("number type", name, ("float32", "float64", "int64", "bool"))
    return found
