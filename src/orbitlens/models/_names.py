"""The names of networks: which forms they have, whether or not anything has that name."""

from pathlib import Path

from orbitlens.errors import OrbitLensError
from orbitlens.models._kept import RECORD, kept_folder

_PREFIXES = ("hf", "timm", "torchvision", "onnx", "python", "recipe")
_FORMS = (
    "hf:NAME, timm:NAME, torchvision:NAME, onnx:FILE, python:MODULE:FUNCTION, recipe:NAME or the "
    "folder of a kept network"
)
_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".h5", ".keras", ".tflite", ".pkl")
_FILES = (*_WEIGHTS, ".onnx", ".py")


def check_model_file(name: str) -> None:
    """Check that the file or folder of a network is there, if its name holds one."""
    if name.startswith("recipe:") or _is_place(name):
        if kept_folder(name) is None:
            raise OrbitLensError(
                "`model`",
                expected=f"the folder of a kept network, with {RECORD}",
                received=f"{name}, a folder without it"
                if Path(name).is_dir()
                else f"{name}, not there",
                remedy="check the path; recipe:NAME finds the networks of a recipe by itself",
            )
        return
    prefix, _, rest = name.partition(":")
    where = rest.rpartition(":")[0] if prefix == "python" else rest
    in_a_file = prefix == "onnx" or (prefix == "python" and where.endswith(".py"))
    path = Path(where).expanduser()
    if in_a_file and not path.is_file():
        raise OrbitLensError(
            "`model`",
            expected="an existing file",
            received=f"{where}, which is a folder" if path.is_dir() else f"{where}, not there",
            remedy="check the path",
        )


def check_model_name(name: str) -> None:
    """Check the form of the name of a network; what it names is looked up later."""
    prefix, _, rest = name.partition(":")
    where, _, function = rest.rpartition(":")
    if prefix == "python" and rest and not (where and function):
        raise OrbitLensError(
            "`model`",
            expected="python:module:function or python:path/to/file.py:function",
            received=repr(name),
            remedy="name the function that builds it",
        )
    if (prefix in _PREFIXES and rest) or _is_place(name):
        return
    remedy = "write for example hf:facebook/dinov2-small"
    suffix = Path(name).suffix.lower()
    if ".py:" in name:
        remedy = f"write python:{name}"
    elif suffix == ".onnx":
        remedy = f"write onnx:{name}"
    elif suffix == ".py":
        remedy = f"name the function that builds the network, python:{name}:FUNCTION"
    elif suffix in _WEIGHTS:
        remedy = (
            "write a function that builds the network and loads these weights, and give it as "
            "python:file.py:FUNCTION"
        )
    raise OrbitLensError("`model`", expected=_FORMS, received=repr(name), remedy=remedy)


def _is_place(name: str) -> bool:
    """Return whether a name is the path of a folder, so that it can only be a kept network."""
    # The settings of a run hold the whole path, and may outlive the folder.
    whole = Path(name).is_absolute() and Path(name).suffix.lower() not in _FILES
    return whole or (":" not in name and kept_folder(name) is not None)
