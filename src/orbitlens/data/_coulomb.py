"""Charged bodies in space: their initial states, the forces between them, and the motion.

Bodies are the first axis and trajectories the last, so that each step is a few long operations.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

BOX = 5.0
_LARGEST = 100.0  # of each component of a force
_SPEED = 0.5
_STEP = 1e-3

State = Float64[Tensor, "bodies 3 n"]
Charge = Float64[Tensor, "bodies n"]


def draw_bodies(n: int, bodies: int, generator: torch.Generator) -> tuple[State, State, Charge]:
    """Draw positions, velocities and charges.

    Positions are normal, velocities have a uniform direction and one speed, charges are +1 or -1.
    A body that starts outside the box is reflected into it.
    """
    shape = (bodies, 3, n)
    position = torch.randn(shape, generator=generator, dtype=torch.float64)
    direction = torch.randn(shape, generator=generator, dtype=torch.float64)
    velocity = _SPEED * direction / torch.linalg.vector_norm(direction, dim=1, keepdim=True)
    signs = torch.randint(2, (bodies, n), generator=generator, dtype=torch.float64)
    return *reflect(position, velocity), 2 * signs - 1


def reflect(position: State, velocity: State) -> tuple[State, State]:
    """Mirror positions beyond a wall at the wall, and make their velocities point inwards."""
    beyond = position.abs() > BOX
    mirrored = 2 * BOX * position.sign() - position
    inwards = -position.sign() * velocity.abs()
    return torch.where(beyond, mirrored, position), torch.where(beyond, inwards, velocity)


def move(position: State, velocity: State, charge: Charge, steps: int) -> tuple[State, State]:
    """Return positions and velocities after some steps of dt: v += dt F, then r += dt v."""
    ends, products = _pairs(charge)
    for _ in range(steps):
        velocity = velocity + _STEP * _forces(position, ends, products)
        position = position + _STEP * velocity
    return position, velocity


def forces(position: State, charge: Charge) -> State:
    """Return the Coulomb forces, F_i = sum_j c_i c_j (r_i - r_j) / |r_i - r_j|^3, clipped."""
    return _forces(position, *_pairs(charge))


def _pairs(
    charge: Charge,
) -> tuple[Float64[Tensor, "pairs bodies"], Float64[Tensor, "pairs n"]]:
    """Return the ends of each pair, 1 and -1, and the products of its charges."""
    pairs = torch.combinations(torch.arange(len(charge)))
    ends = torch.zeros(len(pairs), len(charge), dtype=torch.float64)
    ends.scatter_(1, pairs, torch.tensor([[1.0, -1.0]]).double().expand(len(pairs), 2))
    return ends, charge[pairs].prod(1)


def _forces(
    position: State, ends: Float64[Tensor, "pairs bodies"], products: Float64[Tensor, "pairs n"]
) -> State:
    between = (ends @ position.flatten(1)).unflatten(1, position.shape[1:])
    squares = between.square().sum(1)
    strength = products / (squares * squares.sqrt())
    total = ends.T @ (strength[:, None] * between).flatten(1)
    return total.clamp(-_LARGEST, _LARGEST).unflatten(1, position.shape[1:])
