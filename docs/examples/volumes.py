"""Volumes with bodies in any orientation, and a network whose kernels come in all 24 turns."""

import numpy as np
import torch
from torch import Tensor, nn

from orbitlens.actions import volumes

BODIES = ("rod", "plate", "hook", "corner")


class Lifted(nn.Module):
    """Channel g holds the kernel turned by g: a turn of the volume permutes places and channels."""

    def __init__(self) -> None:
        super().__init__()
        kernel = torch.randn(1, 1, 3, 3, 3, generator=torch.Generator().manual_seed(0))
        self.kernels = nn.Parameter(volumes("O").orbit(kernel).flatten(0, 1))
        self.out = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled channels of volumes [n, 1, depth, height, width]."""
        maps = self.out(nn.functional.conv3d(x, self.kernels, padding=1))
        return nn.functional.avg_pool3d(maps, 2)


def network() -> nn.Sequential:
    """Return the network; its activations are 24 channels at 3 x 3 x 3 places."""
    return nn.Sequential(Lifted())


def body(name: str, side: int) -> np.ndarray:
    """Return a body in a cube, along the depth."""
    cube, middle = np.zeros((side, side, side), np.float32), side // 2
    if name == "plate":
        cube[1:-1, 1:-1, middle] = 1
        return cube
    cube[:, middle, middle] = 1
    if name == "hook":
        cube[0, middle:, middle] = 1
    if name == "corner":
        cube[:middle, middle, middle] = 0
        cube[middle, middle:, middle] = 1
        cube[middle, middle, middle:] = 1
    return cube


def write(path: str, n: int = 260, side: int = 6) -> None:
    """Write bodies in random orientations, with noise."""
    random, turn = np.random.default_rng(0), volumes("O")
    labels, elements = random.integers(0, len(BODIES), n), random.integers(0, 24, n)
    straight = torch.stack([torch.from_numpy(body(BODIES[i], side))[None] for i in labels])
    turned = [turn(straight[i : i + 1], int(g))[0] for i, g in enumerate(elements)]
    inputs = torch.stack(turned).numpy() + 0.1 * random.standard_normal((n, 1, side, side, side))
    np.savez(path, inputs=inputs.astype(np.float32), labels=labels, class_names=BODIES)


if __name__ == "__main__":
    write("volumes.npz")
