"""Point clouds of four shapes in any orientation, and a network of vectors at their points."""

import numpy as np
import torch
from torch import Tensor, nn

from orbitlens.groups import signed_axes

SHAPES = ("arrow", "bracket", "ring", "tripod")


class Vectors(nn.Module):
    """At each point, vectors to its neighbours, weighted by distance and scaled by their lengths.

    A turn of the cloud turns each vector: the activations move by copies of its matrix.
    """

    def __init__(self, vectors: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.radii = nn.Parameter(torch.linspace(0.2, 1.6, vectors))
        self.mixtures = nn.Parameter(torch.randn(vectors, vectors, generator=generator) / 2)
        self.out = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors at each point of clouds [n, points, 3], in one axis."""
        away = x[:, None, :, :] - x[:, :, None, :]
        distances = away.norm(dim=-1)
        weights = torch.exp(-8 * (distances[..., None] - self.radii) ** 2)
        vectors = torch.einsum("npqv,npqc->npvc", weights, away) / x.shape[1]
        mixed = torch.einsum("vw,npwc->npvc", self.mixtures, vectors)
        return self.out((mixed * torch.tanh(4 * mixed.norm(dim=-1, keepdim=True))).flatten(2))


def network() -> Vectors:
    """Return the network; its activations are 4 vectors at each point."""
    return Vectors(4)


def shape(name: str, t: np.ndarray) -> np.ndarray:
    """Return points of a shape for parameters t in [0, 1]."""
    zero = np.zeros_like(t)
    if name == "arrow":
        shaft = np.stack([zero, zero, 2 * t - 1], 1)
        head = np.stack([0.6 * np.sin(20 * t), 0.6 * np.cos(20 * t), zero + 0.5], 1)
        return np.where((t < 0.6)[:, None], shaft, head)
    if name == "bracket":
        long = np.stack([zero, zero, 2 * t - 1], 1)
        return np.where((t < 0.6)[:, None], long, np.stack([3 * (t - 0.6), zero, zero - 1], 1))
    if name == "ring":
        return np.stack([np.cos(6.28 * t), 0.6 * np.sin(6.28 * t), 0.4 * t], 1)
    return np.eye(3)[(3 * t).astype(int)] * (1.2 * (3 * t % 1))[:, None]


def write(path: str, n: int = 300, points: int = 24) -> None:
    """Write clouds of random shapes and orientations, with noise."""
    random = np.random.default_rng(0)
    labels = random.integers(0, len(SHAPES), n)
    turns = signed_axes()[random.integers(0, 24, n)]
    clouds = np.stack([shape(SHAPES[i], np.sort(random.random(points))) for i in labels])
    clouds = clouds + 0.03 * random.standard_normal(clouds.shape)
    clouds = (clouds - clouds.mean(1, keepdims=True)) @ turns.transpose(0, 2, 1)
    np.savez(path, inputs=clouds.astype(np.float32), labels=labels, class_names=SHAPES)


if __name__ == "__main__":
    write("points.npz")
