"""Layers of torch that can be kept as they are: what they are built with is in their attributes."""

from collections.abc import Mapping
from typing import Any

from torch import nn

PREFIX = "torch."
_LAYERS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("in_features", "out_features", "bias"),
    nn.Conv2d: (
        *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
        *("bias", "padding_mode"),
    ),
    nn.Flatten: ("start_dim", "end_dim"),
    **dict.fromkeys((nn.ReLU, nn.SiLU), ("inplace",)),
    **dict.fromkeys((nn.Tanh, nn.Sigmoid, nn.Identity), ()),
}
_BY_NAME = {cls.__name__: cls for cls in (*_LAYERS, nn.Sequential)}


def plain_settings(layer: nn.Module) -> Mapping[str, Any] | None:
    """Return the arguments of a layer of torch, or the parts of a sequence; None of others.

    Example:
        >>> plain_settings(nn.Linear(2, 3))
        {'in_features': 2, 'out_features': 3, 'bias': True}
    """
    if type(layer) is nn.Sequential:
        # Not named_children, which leaves out a layer that was there before.
        return dict(layer._modules)
    names = _LAYERS.get(type(layer))
    if names is None:
        return None
    settings = {name: getattr(layer, name) for name in names}
    return settings | {name: settings[name] is not None for name in names if name == "bias"}


def build_plain(name: str, arguments: Mapping[str, Any]) -> nn.Module | None:
    """Return the layer of torch with such a name, or a sequence; None if it is none of these."""
    cls = _BY_NAME.get(name)
    if cls is nn.Sequential:
        sequence = nn.Sequential()
        for part, layer in arguments.items():
            sequence.add_module(part, layer)
        return sequence
    return None if cls is None else cls(**arguments)
