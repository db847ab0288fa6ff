"""What SOURCE and --action stand for: checked by name, before anything heavy loads."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.models._kept import inputs_file, kept_folder, kept_record
from orbitlens.pipeline._names import ACTIONS

SOURCES = ("shapes", "digits", "photographs", "cells")
IMAGES = "images"
_BUILTIN = "builtin:"
_SETS = "sets"
_ARRAYS = (".npz", ".npy")
_OF_FILES = ("image_size", "crop", "unreadable", "white")
_OF_IMAGES = ("interpolation", "normalise", "channels", *_OF_FILES)
_OF_POINTS = ("axis", "centred")
_LARGEST_SET = 6  # S7 has 5,040 elements


def is_array_source(source: str) -> bool:
    """Return whether a source is a file of arrays."""
    return Path(source).suffix.lower() in _ARRAYS and not Path(source).is_dir()


def checked_source(source: str) -> str:
    """Return the name of a built-in source or the path of the data, if it is clear which.

    Paths become absolute, so that config.json rebuilds the run from anywhere. A kept network stands
    for the file of the inputs that are kept beside it.
    """
    prefix, _, name = source.partition(_BUILTIN)
    if not prefix and name:
        if name not in SOURCES:
            raise unknown_name("`source`", name, SOURCES)
        return name
    if (kept := kept_folder(source)) is not None:
        return str(inputs_file(kept))
    if source in SOURCES and Path(source).is_dir():
        raise OrbitLensError(
            "`source`",
            expected="a folder, or the name of a built-in source",
            received=f"{source!r}, which is both",
            remedy=f"write ./{source} for the folder, {_BUILTIN}{source} for the other",
        )
    source = os.path.expanduser(source)
    if source in ("", *SOURCES):
        return source
    there = Path(source).is_dir() or (is_array_source(source) and Path(source).exists())
    return str(Path(source).resolve()) if there else source


def settings_of_kept(source: object, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that follow from kept networks, where a run is given their names.

    Kept inputs bring their network, and the action and the group that move them. A kept network
    brings its layout and its seed, and its path becomes absolute. What is given counts first.
    """
    found: dict[str, Any] = {}
    inputs = kept_folder(source) if isinstance(source, str) else None
    if inputs is not None:
        beside = kept_record(inputs).get("inputs") or {}
        told = ("action", "group", *_OF_POINTS, "interpolation")
        found = {name: beside[name] for name in told if beside.get(name) is not None}
        if settings.get("action", found.get("action")) != found.get("action"):
            found = {}
        found["model"] = str(inputs)
    name = settings.get("model", found.get("model"))
    model = kept_folder(name) if isinstance(name, str) else None
    if model is None:
        return {**found, **settings}
    record = kept_record(model)
    for name in ("layout", "seed_forward"):
        if record.get(name) is not None:
            found[name] = record[name]
    return {**found, **settings, "model": str(model)}


def check_source(source: str) -> None:
    """Raise if a source is neither built in, nor a folder, nor a file of arrays."""
    if source in ("", *SOURCES) or Path(source).is_dir():
        return
    if Path(source).exists():
        if is_array_source(source):
            return
        raise _no_source(
            f"the file {source}",
            "give the folder that holds its images; a file of arrays is .npz or .npy",
        )
    if "://" in source:
        raise _no_source(f"the URL {source}", "download the images, and give their folder")
    if "*" in source or "?" in source:
        raise _no_source(f"the pattern {source}", "give the folder that holds the files")
    if is_array_source(source):
        raise _no_source(f"{source}, which is not there", "check the path of the file")
    if os.sep in source:
        raise _no_source(
            f"{source}, which is not there",
            "check the path; a run that goes on needs its images where they were",
        )
    nearest = get_close_matches(source.lower(), SOURCES, n=1)
    raise OrbitLensError(
        "`source`",
        expected=f"{', '.join(SOURCES)}, a .npz or .npy file, a folder of images or recipe:NAME",
        received=f"{source!r}, and no folder has this name",
        remedy=f"did you mean {nearest[0]!r}?" if nearest else "check the name or the path",
    )


def check_kind_of_data(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise if settings are not of the kind of data that the source and the action stand for."""
    source, action, model = (settings[name] for name in ("source", "action", "model"))
    others = {name: value for name, value in settings.items() if value != defaults[name]}
    if action == IMAGES:
        _refuse(others, _OF_POINTS, "for images", "leave it out: it goes with --action points")
        if is_array_source(source):
            where = "for images in arrays, which stay as they are"
            _refuse(others, _OF_FILES, where, "leave it out")
        return
    if source and not is_array_source(source):
        raise OrbitLensError(
            "`action`",
            expected=f"images for {source}",
            received=action,
            remedy="give a .npz or .npy file of other data, or leave out --action",
        )
    _refuse(
        others,
        _OF_IMAGES,
        f"for --action {action}, whose inputs are no images",
        "leave it out; the function of the network may return a preparation, too",
    )
    if action != "points":
        where = f"for --action {action}"
        _refuse(others, _OF_POINTS, where, "leave it out: it goes with --action points")
    own = model.startswith(("python:", "recipe:")) or Path(model).is_absolute()
    if source and not own:
        raise OrbitLensError(
            "`model`",
            expected=f"python:FILE.py:FUNCTION or recipe:NAME for --action {action}",
            received=f"{model}, which takes images",
            remedy="write a function that returns your network, such as python:net.py:network",
        )


def with_action(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with the action under its name: "sets" stands for set_permutation."""
    if settings.get("action") == _SETS:
        return {**settings, "action": "set_permutation"}
    return settings


def usual_group(source: str, action: str) -> str | None:
    """Return the group that goes with an action on the arrays of a source; None for images.

    Raises:
        OrbitLensError: If they are no images and no action is named, or if the action needs a group
            that only the user knows.
    """
    from orbitlens.data import array_shape

    shape = array_shape(source)
    if action != IMAGES:
        return _usual_group(action, shape)
    if len(shape) != 4:
        shown = ", ".join(("n", *map(str, shape[1:])))
        raise OrbitLensError(
            "`action`",
            expected=f"one of {', '.join(ACTIONS[1:])} for inputs [{shown}], which are no images",
            received="none",
            remedy="say how the group moves them, for example --action points",
        )
    return None


def _usual_group(action: str, shape: tuple[int, ...]) -> str:
    """Return the group that goes with an action on inputs of a shape."""
    if action == "reverse_complement":
        return "C2"
    if action == "volumes":
        return "O"
    if action == "points":
        return "C4" if shape[-1] == 2 else "O"
    if action == "cyclic_shift":
        raise OrbitLensError(
            "`group`",
            expected=f"C_n for --action cyclic_shift, with an n that divides {shape[-1]}",
            received="none",
            remedy=f"give for example --group C{_divisor(shape[-1])}",
        )
    if shape[1] <= _LARGEST_SET:
        return f"S{shape[1]}"
    raise OrbitLensError(
        "`group`",
        expected=f"one for --action {action} of {shape[1]} elements, as S{shape[1]} is too large",
        received="none",
        remedy=f"give for example --group C{shape[1]}, the turns of a ring",
    )


def _divisor(length: int) -> int:
    """Return the smallest divisor above 1: a small group is a good first try."""
    return next((n for n in range(2, length) if length % n == 0), length)


def _refuse(others: Mapping[str, Any], names: tuple[str, ...], where: str, remedy: str) -> None:
    for name in names:
        if name in others:
            flag = "--" + name.replace("_", "-")
            raise OrbitLensError(
                f"`{name}`",
                expected=f"no {flag} {where}",
                received=repr(others[name]),
                remedy=remedy,
            )


def _no_source(received: str, remedy: str) -> OrbitLensError:
    return OrbitLensError(
        "`source`",
        expected="a .npz or .npy file, or a folder of images",
        received=received,
        remedy=remedy,
    )
