"""Toy features with an exact linear action: a ground truth for feature recovery and transport."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from orbitlens.checks import as_count, as_seed, check_memory
from orbitlens.errors import out_of_range, unknown_name
from orbitlens.groups import Group, cyclic

# Enough for the largest overlap of 18 or 32 unit vectors in R^16 to settle near the Welch bound.
_STEPS = 500
_STEP_SIZE = 0.01
_POWER = 8
_CANONICAL = ("fixed", "random", "random_orbits")


@dataclass(frozen=True, eq=False)
class ToyData:
    """Sparse sums of known features, each sample with its whole orbit.

    Args:
        group: C_n, n the orbit size.
        orbits: Activations, `orbits[:, g]` is the sample moved by g, shape [n, |G|, dim], float32.
        features: The true unit features v_i, shape [features, dim], float32.
        present: Whether feature i is in x, shape [n, features]; the same for the whole orbit.
        matrices: The true representation, M^g for every element, shape [|G|, dim, dim], float32.
    """

    group: Group
    orbits: Float[Tensor, "n group dim"]
    features: Float[Tensor, "features dim"]
    present: Bool[Tensor, "n features"]
    matrices: Float[Tensor, "group dim dim"]


def toy(
    *,
    n_features: int = 16,
    orbit_size: int = 4,
    dim: int = 16,
    n_samples: int = 10_000,
    canonical: str = "fixed",
    seed: int,
) -> ToyData:
    """Draw sparse sums of unit features, moved by an orthogonal matrix M with M^|G| = I.

        x = sum_i alpha_i v_i,   alpha_i ~ Bernoulli(1 / N),   orbits[:, g] = M^g x

    The N features v_i are orthonormal if N <= dim; otherwise their largest overlap is minimised. M
    turns planes of a random orthonormal basis. The real irreducible representations of C_n occur as
    evenly as `dim` allows. Frequency 1 always occurs, so that the action is faithful and M^g x is
    about as far from x as an unrelated sample. Features and M depend on the seed alone, not on
    `n_samples`. Source: Erdogan & Lucic, arXiv 2511.09432, experiment 1.

    Args:
        n_features: N, the number of true features.
        orbit_size: |G|, the order of the cyclic group.
        dim: Dimension of an activation.
        n_samples: Number of orbits.
        canonical: The sample of an orbit that is element 0. "fixed": the sum of the orthonormal
            v_i. "random": every feature starts at a random element h_i of its own orbit, and the
            true features are the M^h_i v_i. "random_orbits": every orbit, that is every distinct
            x, starts at a random element h, `orbits[:, g] = M^(g + h) x`, and the true features
            are those of x; no dictionary of N directions then holds them all.
        seed: The same seed gives the same bits.

    Returns:
        Orbits, features, the presence of each feature, and the true matrices.

    Raises:
        OrbitLensError: If a number is too small, or `canonical` is unknown.

    Example:
        >>> data = toy(orbit_size=8, n_samples=100, seed=0)
        >>> moved = data.orbits[:, 0] @ data.matrices[3].T
        >>> data.orbits.shape, torch.allclose(data.orbits[:, 3], moved, atol=1e-5)
        (torch.Size([100, 8, 16]), True)
    """
    _check_sizes(n_features, orbit_size, dim, n_samples)
    if canonical not in _CANONICAL:
        raise unknown_name("`canonical`", canonical, _CANONICAL)
    generator = torch.Generator().manual_seed(as_seed(seed))
    features = _unit_features(n_features, dim, generator)
    matrices = _turns(orbit_size, dim, generator)
    present = torch.rand(n_samples, n_features, generator=generator) < 1 / n_features
    if canonical == "random":
        starts = torch.randint(orbit_size, (n_features,), generator=generator)
        features = torch.einsum("fij,fj->fi", matrices[starts], features)
    orbits = torch.einsum("gij,nj->ngi", matrices, present.double() @ features)
    if canonical == "random_orbits":
        distinct, orbit = present.unique(dim=0, return_inverse=True)
        start = torch.randint(orbit_size, (len(distinct), 1), generator=generator)[orbit]
        elements = (start + torch.arange(orbit_size)) % orbit_size
        orbits = orbits.take_along_dim(elements[:, :, None], dim=1)
    return ToyData(
        group=cyclic(orbit_size),
        orbits=orbits.float(),
        features=features.float(),
        present=present,
        matrices=matrices.float(),
    )


def _check_sizes(n_features: int, orbit_size: int, dim: int, n_samples: int) -> None:
    sizes = {"n_features": n_features, "orbit_size": orbit_size, "n_samples": n_samples}
    for name, size in {**sizes, "dim": dim}.items():
        as_count(name, size, least=0 if name == "dim" else 1)
    room = _block_dim(1 % orbit_size, orbit_size)
    if dim < room:
        raise out_of_range("dim", f"at least {room}, so that C{orbit_size} acts faithfully", dim)
    size = n_samples * (orbit_size * dim + n_features)
    check_memory(f"{n_samples} orbits of {orbit_size} x {dim}", 8 * size, "choose fewer samples")


def _unit_features(
    n_features: int, dim: int, generator: torch.Generator
) -> Float[Tensor, "features dim"]:
    """Draw unit vectors, orthonormal if they fit, otherwise with small overlaps by descent."""
    features = torch.randn(n_features, dim, generator=generator, dtype=torch.float64)
    if n_features <= dim:
        orthonormal: Tensor = torch.linalg.qr(features.T).Q
        return orthonormal.T.contiguous()
    features = torch.nn.functional.normalize(features, dim=1)
    for _ in range(_STEPS):
        overlaps = (features @ features.T).fill_diagonal_(0)
        gradient = (overlaps / overlaps.abs().max()) ** (_POWER - 1) @ features
        features = torch.nn.functional.normalize(features - _STEP_SIZE * gradient, dim=1)
    return features


def _turns(orbit_size: int, dim: int, generator: torch.Generator) -> Float[Tensor, "group dim dim"]:
    """Return the powers of M, which turns the planes of a random orthonormal basis."""
    noise = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    basis: Tensor = torch.linalg.qr(noise).Q
    powers = torch.zeros(orbit_size, dim, dim, dtype=torch.float64)
    start = 0
    for frequency in _frequencies(orbit_size, dim):
        end = start + _block_dim(frequency, orbit_size)
        powers[:, start:end, start:end] = _block(frequency, orbit_size)
        start = end
    return basis @ powers @ basis.T


def _frequencies(orbit_size: int, dim: int) -> list[int]:
    """Choose the irreps of C_n that fill `dim` dimensions: frequency 1 first, the rarest next.

    Among equally rare ones that fit, the choice keeps every trace of M^p, p != 0, nearest to 0.
    """
    angles = 2 * np.pi * np.arange(1, orbit_size) / orbit_size

    def traces(frequency: int) -> Float[np.ndarray, " powers"]:
        return _block_dim(frequency, orbit_size) * np.cos(frequency * angles)

    chosen = [1 % orbit_size]
    room, total = dim - _block_dim(chosen[0], orbit_size), traces(chosen[0])
    while room:
        fitting = [k for k in range(orbit_size // 2 + 1) if _block_dim(k, orbit_size) <= room]
        # Rounded, so that the choice between equal traces does not depend on the last bit.
        largest = {k: round(np.abs(total + traces(k)).max(initial=0.0), 9) for k in fitting}
        best = min(fitting, key=lambda k: (chosen.count(k), largest[k], k))
        chosen.append(best)
        room, total = room - _block_dim(best, orbit_size), total + traces(best)
    return chosen


def _block_dim(frequency: int, orbit_size: int) -> int:
    """Return the dimension of a real irrep of C_n: 1 at frequencies 0 and n/2, otherwise 2."""
    return 1 if 2 * frequency in (0, orbit_size) else 2


def _block(frequency: int, orbit_size: int) -> Float[Tensor, "group block block"]:
    angles = 2 * math.pi * frequency / orbit_size * torch.arange(orbit_size).double()
    cosine, sine = angles.cos(), angles.sin()
    turns = torch.stack([cosine, -sine, sine, cosine], dim=1).reshape(-1, 2, 2)
    size = _block_dim(frequency, orbit_size)
    return turns[:, :size, :size]
