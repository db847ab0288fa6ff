"""Layers with batch statistics on padded inputs: padding must not enter the statistics."""

from jaxtyping import Bool, Float
from torch import Tensor, nn


def on_valid_rows(
    layer: nn.Module,
    x: Float[Tensor, "*rows channels"],
    valid: Bool[Tensor, "*rows"] | None,
) -> Float[Tensor, "*rows out"]:
    """Return what a layer for [rows, channels] makes of the valid rows, with zeros elsewhere."""
    if valid is None:
        done: Tensor = layer(x.flatten(0, -2))
        return done.unflatten(0, x.shape[:-1])
    if not layer.training:  # each row alone: to choose rows takes longer than to do all
        done = layer(x.flatten(0, -2)).unflatten(0, x.shape[:-1])
        return done.masked_fill(~valid[..., None], 0.0)
    done = layer(x[valid])
    out = done.new_zeros(*x.shape[:-1], done.shape[-1])
    out[valid] = done
    return out
