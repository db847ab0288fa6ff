"""The names of networks: which forms they have, whether or not anything has that name."""

from pathlib import Path

from orbitlens.errors import OrbitLensError

_PREFIXES = ("hf", "timm", "torchvision", "onnx", "python")
_FORMS = "hf:NAME, timm:NAME, torchvision:NAME, onnx:FILE or python:MODULE:FUNCTION"
_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".h5", ".keras", ".tflite", ".pkl")


def check_model_file(name: str) -> None:
    """Check that the file of a network is there, if its name holds one."""
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
    if prefix in _PREFIXES and rest:
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
