"""Charged bodies that move in each other's field: predict where they are a while later."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import as_count, as_seed, check_memory
from orbitlens.data._coulomb import draw_bodies, move

_FRAME = 100  # steps from one frame to the next
_START, _END = 30, 40
_AT_ONCE = 256  # trajectories whose numbers fit a core's cache


@dataclass(frozen=True, eq=False)
class NBody:
    """States of charged bodies, and their positions a while later.

    Args:
        inputs: Position, velocity and charge of each body, shape [n, bodies, 3 + 3 + 1], as
            `actions.rotations` takes them with two vectors.
        targets: Position of each body ten frames later, shape [n, bodies, 3].
    """

    inputs: Float[Tensor, "n bodies columns"]
    targets: Float[Tensor, "n bodies 3"]


def n_body(n: int, *, bodies: int = 5, seed: int) -> NBody:
    """Simulate charged bodies in space and return their state in frame 30, with frame 40 to find.

        F_i = sum_j c_i c_j (r_i - r_j) / |r_i - r_j|^3,   v_i += dt F_i,   r_i += dt v_i

    with dt = 0.001 and a frame every 100 steps, the first after 100. Charges are +1 or -1,
    positions start as normal numbers, reflected into the box [-5, 5]^3, and velocities with
    length 0.5. Each component of a force is clipped to 100 either way. Computed in float64.

    The laws know no direction, place or numbering: O(3), translations and permutations of the
    bodies move inputs and targets alike. Only the clip and the box prefer axes, and they act on
    few trajectories.

    Source: Satorras, Hoogeboom & Welling 2021, arXiv 2102.09844, Section 5.1, after Kipf et al.
    2018, arXiv 1802.04687; the numbers are those of the public code of arXiv 2306.02866.

    Args:
        n: Number of trajectories.
        bodies: Number of bodies, at least 2.
        seed: The same seed gives the same trajectories.

    Returns:
        Inputs and targets, float32.

    Raises:
        OrbitLensError: If a number is too small.

    Example:
        >>> data = n_body(2, bodies=3, seed=0)
        >>> data.inputs.shape, data.targets.shape
        (torch.Size([2, 3, 7]), torch.Size([2, 3, 3]))
    """
    n, bodies = as_count("n", n), as_count("bodies", bodies, least=2)
    check_memory(f"{n} trajectories of {bodies} bodies", 100 * n * bodies, "choose fewer")
    generator = torch.Generator().manual_seed(as_seed(seed))
    state = draw_bodies(n, bodies, generator)
    inputs, targets = [], []
    for part in zip(*(each.split(_AT_ONCE, -1) for each in state), strict=True):
        position, velocity, charge = part
        position, velocity = move(position, velocity, charge, (_START + 1) * _FRAME)
        later, _ = move(position, velocity, charge, (_END - _START) * _FRAME)
        inputs.append(torch.cat([position, velocity, charge[:, None]], 1))
        targets.append(later)
    return NBody(_by_trajectory(inputs), _by_trajectory(targets))


def _by_trajectory(parts: list[Tensor]) -> Float[Tensor, "n bodies columns"]:
    return rearrange(torch.cat(parts, -1), "bodies columns n -> n bodies columns").float()
