"""Loader of "python:module:function" and "python:path/to/file.py:function": a user's network."""

import hashlib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, final

import torch
from torch import nn

from orbitlens.checks import usual_torch
from orbitlens.errors import OrbitLensError, one_line, unknown_name
from orbitlens.models._layers import default_layer
from orbitlens.models.base import BaseModel, Prepare, as_they_are
from orbitlens.models.preparation import ImagePreparation

_DEFAULT_LAYERS = ("encoder",)
_OF_IMAGES, _SIDES = (3, 1), (64, 96)


def from_python(name: str, *, layer: str | None, random_weights: bool) -> BaseModel:
    """Return the network that a function of the user builds.

    The function takes no argument and returns a network, or a network and the function that
    prepares images for it. It alone sets the weights, so `random_weights` is refused. The default
    layer is the submodule `encoder`.
    """
    subject = f"python:{name}"
    if random_weights:
        raise OrbitLensError(
            subject,
            expected="weights as its function sets them",
            received="random weights",
            remedy="leave out --random-weights, or draw them in the function",
        )
    module, prepare = _network_of(call_python(name, subject, "a network"), subject)
    layer = layer or default_layer(module, _DEFAULT_LAYERS, subject)
    if prepare is as_they_are:
        return BaseModel(subject, module, layer, channels=_first_channels(module))
    if isinstance(prepare, ImagePreparation):
        size, channels = prepare.image_size, prepare.channels
        return BaseModel(subject, module, layer, prepare, image_size=size, channels=channels)
    return BaseModel(subject, module, layer, prepare, image_size=_size_after(prepare))


def call_python(name: str, subject: str, wanted: str) -> Any:
    """Return what a function of the user returns that is called without arguments.

    `name` is "module:function" or "path/to/file.py:function". In errors, `subject` stands for it
    and `wanted` for what it should return.
    """
    where, _, function_name = name.rpartition(":")
    source = _import(where, subject)
    function = getattr(source, function_name, None)
    if not callable(function):
        functions = [key for key, value in vars(source).items() if callable(value)]
        raise unknown_name(f"function of {where}", function_name, functions, alike=0.6)
    try:
        with _apart():
            return function()
    except (Exception, SystemExit) as error:
        raise OrbitLensError(
            subject,
            expected=f"a function without arguments that returns {wanted}",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="call it in Python to see where it fails",
        ) from error


def _first_channels(module: nn.Module) -> int | None:
    """Return the channels of the first convolution, if they are those of an image."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            return layer.in_channels if layer.in_channels in _OF_IMAGES else None
    return None


def _size_after(prepare: Prepare) -> int | None:
    """Return the side of what a preparation returns, if it is one side for images of any size."""
    for channels in _OF_IMAGES:
        sides: set[int] = set()
        for side in _SIDES:
            try:
                with _apart(), torch.no_grad():
                    sides.update(prepare(torch.full((1, channels, side, side), 0.5)).shape[-2:])
            except Exception:  # it may want other channels, and says so later
                break
        else:
            return int(max(sides)) if len(sides) == 1 else None
    return None


def _import(where: str, subject: str) -> ModuleType:
    # An installed script does not look for modules in the current folder.
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        if not where.endswith(".py"):
            with _apart():
                return importlib.import_module(where)
        path = Path(where).resolve()
        name = _name_of_file(path)
        find_user_files({name: str(path)})
        sys.modules.pop(name, None)  # the file may have changed
        with _apart():
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise OrbitLensError(
            subject,
            expected=f"{where} to be imported",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="give an importable module, or the path of a .py file",
        ) from error


def _name_of_file(path: Path) -> str:
    """Return the name of the module that a file becomes: files of one name become several."""
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    return f"orbitlens_user_{path.stem.replace('.', '_')}_{digest}"


@final
class _UserFiles:
    """Finds the modules that a user's files have become, such as "orbitlens_user_net_1f3a9c02"."""

    def __init__(self) -> None:
        self.paths: dict[str, str] = {}

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Return where a module is; None for those of others. This is a part of `sys.meta_path`."""
        del path, target
        where = self.paths.get(name)
        return None if where is None else spec_from_file_location(name, where)


_USER_FILES = _UserFiles()


def user_files() -> dict[str, str]:
    """Return the path of each file that was imported as a module, by the name of the module."""
    return dict(_USER_FILES.paths)


def find_user_files(paths: Mapping[str, str]) -> None:
    """Let `import` find these files by the names of their modules, also in another process."""
    _USER_FILES.paths.update(paths)
    if _USER_FILES not in sys.meta_path:
        sys.meta_path.append(_USER_FILES)


@contextmanager
def _apart() -> Iterator[None]:
    """Run a user's code: what it prints and what it sets for all of torch stays with it."""
    with redirect_stdout(sys.stderr), usual_torch(), torch.random.fork_rng([]):
        yield


def _network_of(built: object, subject: str) -> tuple[nn.Module, Prepare]:
    match built:
        case nn.Module():
            return built, as_they_are
        case (nn.Module() as module, prepare) if callable(prepare):
            return module, prepare
    raise OrbitLensError(
        subject,
        expected="a torch.nn.Module, or a pair of it and a function that prepares images",
        received=type(built).__name__,
        remedy="return the network from the function",
    )
