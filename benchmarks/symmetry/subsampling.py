"""The group autoencoder against the ordinary one: seconds of a training step.

    python benchmarks/symmetry/subsampling.py                # exits 1 if the target is missed

Images of 32 x 32 pixels, batches of 32, float32. The ordinary autoencoder has the channels, kernels
and strides of the p1 autoencoder; p4 and p4m have about as many parameters as p1, so more channels.
Group autoencoders keep channels last in memory. The ordinary one does not, as in the recipe; a row
shows what it would gain.
A step is forward, backward and fused Adam, on one thread, in CPU time. Steps of all networks take
turns, so that a slow moment hits all; the median counts. The target: the fast form for p1 takes at
most 1.2 times as long as the ordinary autoencoder of the recipe.
"""

import argparse
import runpy
import statistics
import sys
import time
from collections.abc import Callable
from typing import final

import torch
from torch import nn

from orbitlens.groups import PlaneGroup
from orbitlens.reproduce import locate
from orbitlens.symmetry import GroupAutoencoder

SIDE, BATCH, TARGET = 32, 32, 1.2
KERNELS, STRIDES, LATENT = (3, 3, 3, 5), (2, 2, 2, 4), 16
WIDTHS = {"p1": 16, "p4": 10, "p4m": 7}


@final
class ChannelsLast(nn.Module):
    """Images with channels last in memory; the convolutions after it keep that order."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the same images."""
        return images.contiguous(memory_format=torch.channels_last)


def networks() -> dict[str, nn.Module]:
    """The ordinary autoencoder, and the group autoencoders in both forms."""
    ordinary = runpy.run_path(str(locate("group-subsampling") / "run.py"))["OrdinaryAutoencoder"]
    sizes = SIDE, 3, WIDTHS["p1"], LATENT, KERNELS, STRIDES
    found: dict[str, nn.Module] = {
        "ordinary": ordinary(*sizes, seed=0),
        "ordinary, channels last": nn.Sequential(ChannelsLast(), ordinary(*sizes, seed=0)).to(
            memory_format=torch.channels_last
        ),
    }
    for form, fast in (("fast", True), ("slow", False)):
        for name, width in WIDTHS.items():
            group = PlaneGroup(name, SIDE)
            found[f"{name}, {form}"] = GroupAutoencoder(group, width=width, fast=fast)
    return found


def stepper(model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    """One training step of a network, again and again."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        (model(images) - images).square().mean().backward()
        optimizer.step()

    return step


def medians(steps: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median seconds of each step; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            # The first turn allocates.
            if turn:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def main() -> int:
    """Print seconds and ratios, and whether the target is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30, help="steps of each network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = networks()
    images = torch.rand(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    found = medians(
        {name: stepper(model, images) for name, model in models.items()}, options.repeats
    )
    print(
        "| autoencoder | parameters | ms of a step | times the ordinary one |\n" + "|---" * 4 + "|"
    )
    for name, seconds in found.items():
        parameters = sum(each.numel() for each in models[name].parameters())
        ratio = seconds / found["ordinary"]
        print(f"| {name} | {parameters:,} | {1e3 * seconds:.1f} | {ratio:.2f} |")
    met = found["p1, fast"] <= TARGET * found["ordinary"]
    print(f"\ntarget (p1, fast: at most {TARGET} times): {'yes' if met else 'NO'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
