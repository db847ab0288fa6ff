"""Planted features with independent orientations: the ground truth of `sweeps.py`.

    psi(gx) = sum_j alpha_j u[g h_j, f_j] + noise,   u[g, f] = rho(g) v_f + broken W_g v_f

Every object f_j of an input has an orientation h_j of its own. rho is a sum of copies of the
regular representation in a random orthonormal basis, or a representation of the circle.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from orbitlens.groups import Group
from orbitlens.reps import regular


@dataclass(frozen=True, eq=False)
class Planted:
    """Orbits of sums of known features.

    Args:
        group: The group that the orbits are under.
        orbits: Activations, shape [n, |G|, dim].
        clean: The same before noise was added.
        features: The true unit features v_f, shape [features, dim].
        directions: u[g, f] of every element and feature, unit, shape [|G| * features, dim].
        matrices: The true rho(g), modulo which features are matched, shape [elements, dim, dim].
        present: Which features are in each input, shape [n, features].
    """

    group: Group
    orbits: Tensor
    clean: Tensor
    features: Tensor
    directions: Tensor
    matrices: Tensor
    present: Tensor


def planted(
    group: Group,
    *,
    n: int,
    seed: int,
    copies: int = 8,
    trivial: int = 0,
    n_features: int = 16,
    objects: int = 3,
    noise: float = 0.05,
    broken: float = 0.0,
    fixed_by: Sequence[int] = (0,),
    n_invariant: int = 0,
    upright: bool = False,
) -> Planted:
    """Draw inputs of several objects, each turned by itself.

    Args:
        group: The group.
        n: Number of orbits.
        seed: Seed of everything.
        copies: Copies of the regular representation.
        trivial: Dimensions beside them that the group leaves alone.
        n_features: Features.
        objects: Different features in each input, alpha uniform on [0.5, 1.5].
        noise: Root of the power of the noise over that of the signal.
        broken: How far each direction is pushed off rho(g) v_f, by a vector of this length.
        fixed_by: A subgroup that leaves every feature alone, by its elements.
        n_invariant: Features, the first ones, that the whole group leaves alone.
        upright: Whether element 0 of each orbit is the one where the object of the lowest index
            is upright, so that there is a canonical sample.

    Returns:
        The orbits with what is in them.
    """
    generator = _generator(seed)
    blocks = [
        torch.block_diag(torch.eye(trivial), *[m.float()] * copies) for m in regular(group).matrices
    ]
    basis = _basis(len(blocks[0]), generator)
    matrices = basis @ torch.stack(blocks) @ basis.T
    features = torch.randn(n_features, len(basis), generator=generator)
    features = features @ matrices[list(fixed_by)].mean(0).T
    features[:n_invariant] = features[:n_invariant] @ matrices.mean(0).T
    features = normalize(features, dim=-1)
    push = torch.randn(group.order, *basis.shape, generator=generator) / len(basis) ** 0.5
    push[0] = 0  # the unmoved input is what it is
    moves = matrices + broken * push
    directions = normalize(torch.einsum("gij,fj->gfi", moves, features), dim=-1)
    table = torch.from_numpy(group.table.copy())
    inverses = torch.from_numpy(group.inverses.copy())
    which = torch.rand(n, n_features, generator=generator).argsort(1)[:, :objects].sort(1).values
    how = torch.randint(group.order, which.shape, generator=generator)
    if upright:
        how = table[inverses[how[:, :1]], how]
    amounts = 0.5 + torch.rand(which.shape, generator=generator)
    clean = torch.zeros(n, group.order, len(basis))
    for g in range(group.order):
        clean[:, g] = (amounts[..., None] * directions[table[g][how], which]).sum(1)
    return Planted(
        group,
        _noisy(clean, noise, generator),
        clean,
        features,
        directions.flatten(0, 1),
        matrices,
        torch.zeros(n, n_features).scatter(1, which, 1.0) > 0,
    )


def planted_on_circle(
    group: Group,
    *,
    n: int,
    seed: int,
    copies: int = 4,
    frequencies: int = 3,
    n_features: int = 8,
    objects: int = 2,
    noise: float = 0.05,
) -> Planted:
    """Draw inputs whose objects have any angle, harvested at the turns of a cyclic group.

    Args:
        group: C_n, the turns of the orbits.
        n: Number of orbits.
        seed: Seed of everything.
        copies: Copies of each frequency.
        frequencies: The highest frequency; all from 0 on occur.
        n_features: Features.
        objects: Different features in each input.
        noise: As in `planted`.

    Returns:
        The orbits; `matrices` are 96 turns, `directions` the features at the turns of the group.
    """
    generator = _generator(seed)
    basis = _basis(copies * (1 + 2 * frequencies), generator)

    def turned(vectors: Tensor, angles: Tensor) -> Tensor:
        """Turn vectors, given in the coordinates of the irreps."""
        parts = [vectors[..., :copies]]
        for k in range(1, frequencies + 1):
            start = copies * (2 * k - 1)
            a, b = vectors[..., start : start + 2 * copies].chunk(2, dim=-1)
            cos, sin = (k * angles).cos()[..., None], (k * angles).sin()[..., None]
            parts += [cos * a - sin * b, sin * a + cos * b]
        return torch.cat(parts, dim=-1)

    raw = normalize(torch.randn(n_features, len(basis), generator=generator), dim=-1)
    which = torch.rand(n, n_features, generator=generator).argsort(1)[:, :objects]
    angles = 2 * math.pi * torch.rand(which.shape, generator=generator)
    amounts = 0.5 + torch.rand(which.shape, generator=generator)
    turns = 2 * math.pi * torch.arange(group.order) / group.order
    clean = torch.stack(
        [(amounts[..., None] * turned(raw[which], angles + turn)).sum(1) for turn in turns], dim=1
    )
    every = 2 * math.pi * torch.arange(96) / 96
    eye = torch.eye(len(basis)).expand(96, -1, -1)
    matrices = turned(eye, every[:, None].expand(-1, len(basis))).mT
    directions = torch.stack([turned(raw, turn.expand(n_features)) for turn in turns])
    clean = clean @ basis.T
    return Planted(
        group,
        _noisy(clean, noise, generator),
        clean,
        raw @ basis.T,
        directions.flatten(0, 1) @ basis.T,
        basis @ matrices @ basis.T,
        torch.zeros(n, n_features).scatter(1, which, 1.0) > 0,
    )


def relabel(data: Planted, group: Group, elements: Sequence[int]) -> Planted:
    """Give orbits another group: its element i is the orbits' element elements[i]."""
    places = list(elements)
    return replace(data, group=group, orbits=data.orbits[:, places], clean=data.clean[:, places])


def shuffle(data: Planted, seed: int) -> Planted:
    """Shuffle the elements of each orbit by itself."""
    generator = _generator(seed)
    order = torch.rand(data.orbits.shape[:2], generator=generator).argsort(1)[..., None]
    orbits, clean = (x.take_along_dim(order, dim=1) for x in (data.orbits, data.clean))
    return replace(data, orbits=orbits, clean=clean)


def _generator(seed: int) -> torch.Generator:
    # Not the stream of the SAEs: their first weights would be the features.
    return torch.Generator().manual_seed(10_000 + seed)


def _basis(dim: int, generator: torch.Generator) -> Tensor:
    basis: Tensor = torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
    return basis


def _noisy(clean: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    deviation = noise * clean.square().mean().sqrt()
    return clean + deviation * torch.randn(clean.shape, generator=generator)
