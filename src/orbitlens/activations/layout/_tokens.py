"""The first tokens of a layer, such as a class token, and the grid of the others."""

import math
from dataclasses import replace

from torch import nn

from orbitlens.actions import Action
from orbitlens.activations.layout._axes import OutputAxes


def with_tokens(
    axes: OutputAxes,
    shape: tuple[int, ...],
    inputs: tuple[int, ...],
    action: Action | None,
    model: nn.Module | None,
) -> OutputAxes:
    """Add first tokens and grid, as far as sizes and the network tell them."""
    if "l" not in axes.letters:
        return axes
    (tokens,) = axes.places(shape)
    if action is None or action.name != "images":
        if axes.first is None:
            axes = replace(axes, first=_first_of_sequence(tokens, inputs, model))
        return axes
    if axes.first is None:
        axes = replace(axes, first=_first_of_patches(model, tokens))
    if axes.grid is None and axes.first is not None:
        axes = replace(axes, grid=_patches(model, tokens - axes.first, inputs))
    return axes


def _stated_first(model: nn.Module | None) -> int | None:
    """Return the class token and registers that a network of timm or transformers states."""
    stated = getattr(model, "num_prefix_tokens", None)
    registers = getattr(getattr(model, "config", None), "num_register_tokens", None)
    if isinstance(registers, int):
        stated = 1 + registers
    return stated if isinstance(stated, int) else None


def _first_of_sequence(tokens: int, inputs: tuple[int, ...], model: nn.Module | None) -> int | None:
    stated = _stated_first(model)
    if stated is not None:
        return stated if stated < tokens else None
    return 0 if tokens in inputs[1:] or any(size % tokens == 0 for size in inputs[1:]) else None


def _first_of_patches(model: nn.Module | None, tokens: int) -> int | None:
    """Return the tokens before a square grid of patches; None if there is no such grid."""
    stated = _stated_first(model)
    for first in (0, 1) if stated is None else (stated, 0):
        patches = tokens - first
        if patches > 0 and math.isqrt(patches) ** 2 == patches:
            return first
    return None


def _patches(model: nn.Module | None, patches: int, inputs: tuple[int, ...]) -> tuple[int, ...]:
    """Return the grid of patches; () if it is not known."""
    config = getattr(model, "config", None)
    side, sizes = getattr(config, "patch_size", None), inputs[-2:]
    if isinstance(side, int) and side > 0 and math.prod(n // side for n in sizes) == patches:
        return tuple(n // side for n in sizes)
    root = math.isqrt(patches)
    return (root, root) if root**2 == patches and sizes[0] == sizes[-1] else ()
