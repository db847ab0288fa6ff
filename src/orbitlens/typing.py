"""The alphabet of axes, defined once.

Every public signature spells its shapes with these words. The tests check them at run time.

    batch     samples of one step             n         samples of a data set
    group     elements of the group, |G|      order     the same, where a group stands alone
    dim       width of an activation, d_in    latents   width of a code, d_sae
    hidden    width of an encoder's layer     position  tokens, or places of a feature map
    features  true features of a toy model    channels, height, width, length   axes of inputs
    *stack    nothing, or one axis of SAEs that are trained together
"""

from collections.abc import Callable
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor

Activations = Float[Tensor, "batch dim"]
Orbits = Float[Tensor, "batch group dim"]
Codes = Float[Tensor, "batch latents"]
PerSample = Float[Tensor, " batch"]
Matrices = Float[Tensor, "group dim dim"]
Elements = Int[Tensor, " batch"]
StackedActivations = Float[Tensor, "*stack batch dim"]
StackedCodes = Float[Tensor, "*stack batch latents"]
Progress = Callable[[int, int], None]  # takes (done, total)
Numbers = Any  # a tensor, an array or nested lists; the function checks and converts them

__all__ = [
    "Activations",
    "Bool",
    "Codes",
    "Elements",
    "Float",
    "Int",
    "Matrices",
    "Numbers",
    "Orbits",
    "PerSample",
    "Progress",
    "StackedActivations",
    "StackedCodes",
    "Tensor",
]
