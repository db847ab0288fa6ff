"""How maps stand in memory while they are convolved."""

import torch
from jaxtyping import Shaped
from torch import Tensor


def channels_last(
    maps: Shaped[Tensor, "n channels height width"],
) -> Shaped[Tensor, "n channels height width"]:
    """Return maps with channels last in memory, as PyTorch convolves few channels twice as fast.

    The order in memory decides the order of sums, so both forms of the autoencoder use it.
    """
    return maps.contiguous(memory_format=torch.channels_last)
