"""Training of networks that are no SAEs: so many steps of Adam, with what the recipe asks of it."""

import time
from collections.abc import Callable, Collection, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def train_steps(
    network: nn.Module,
    loss: Callable[[int], Float[Tensor, ""]],
    *,
    checks: Collection[int],
    lr: float,
    warmup: int = 0,
    clip: float | None = None,
) -> Iterator[tuple[int, float]]:
    """Train a network by Adam, and let the caller look at it after some numbers of steps.

    The learning rate rises in proportion to the step over the first `warmup` steps, and stays. The
    network is in training mode in every step, whatever the caller does in between.

    Args:
        network: The network, changed in place.
        loss: The loss of a step, from its number, counted from 0; it draws its own samples.
        checks: Numbers of steps after which to look; 0 is before training, the largest one ends it.
        lr: Learning rate.
        warmup: Steps until the learning rate is reached, default 0.
        clip: Largest norm of the whole gradient; None (the default) for no limit.

    Yields:
        The number of steps done, and the seconds that they took, without those of the caller.

    Example:
        >>> line = nn.Linear(1, 1)
        >>> distance = lambda step: (line.weight - 2).square().sum()
        >>> [steps for steps, seconds in train_steps(line, distance, checks=[50, 99], lr=0.1)]
        [50, 99]
        >>> round(line.weight.item(), 1)
        2.0
    """
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    seconds = 0.0
    if 0 in checks:
        yield 0, seconds
    for step in range(max(checks)):
        start = time.perf_counter()
        network.train()
        for group in optimiser.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / warmup) if warmup else lr
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss(step))
        if clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimiser.step()
        seconds += time.perf_counter() - start
        if step + 1 in checks:
            yield step + 1, seconds


def draw_batches(
    n: int, batch: int, generator: torch.Generator
) -> Iterator[Int[Tensor, " samples"]]:
    """Yield the samples of one batch after the other, without end: each epoch in a new order.

    What an epoch leaves over is not a batch; fewer samples than a batch are one.

    Example:
        >>> drawn = draw_batches(10, 4, torch.Generator().manual_seed(0))
        >>> [len(next(drawn)) for _ in range(5)]
        [4, 4, 4, 4, 4]
    """
    while True:
        order = torch.randperm(n, generator=generator)
        yield from order[: max(batch, n - n % batch)].split(batch)
