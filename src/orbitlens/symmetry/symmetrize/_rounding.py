"""How far apart two numbers may be that only rounding sets apart.

A choice between such numbers would depend on how the input is turned. It must not be made.
"""

import torch


def rounding(dtype: torch.dtype, power: float = 2 / 3) -> float:
    """Return a power of the machine epsilon, a distance relative to the terms of a number.

    It lies between the roundings of some layers and the gaps of numbers that differ: in single
    precision 2e-5, or 3e-4 with power 1/2.
    """
    return float(torch.finfo(dtype).eps ** power)
