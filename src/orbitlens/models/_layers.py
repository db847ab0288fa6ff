"""The layers of a network, by the dotted names of its submodules."""

from collections.abc import Iterable
from difflib import get_close_matches

from torch import nn

from orbitlens.errors import OrbitLensError, unknown_name

ALL_LAYERS = "all"  # the name that stands for every layer
_LISTED = 15


def layer_names(module: nn.Module) -> tuple[str, ...]:
    """Return the dotted names of all submodules, in the order of their registration.

    Args:
        module: Any network.

    Example:
        >>> layer_names(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
        ('0', '1')
    """
    return tuple(name for name, _ in module.named_modules(remove_duplicate=False) if name)


def get_layer(module: nn.Module, name: str) -> nn.Module:
    """Return the submodule with a dotted name; the error lists the most similar names."""
    layers: dict[str, nn.Module] = dict(module.named_modules(remove_duplicate=False))
    if name and name in layers:
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


def default_layer(module: nn.Module, preferred: Iterable[str], subject: str) -> str:
    """Return the first of the preferred layers that a network has; `subject` names it in errors."""
    names = layer_names(module)
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
