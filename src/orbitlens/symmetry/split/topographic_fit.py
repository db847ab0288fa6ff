"""Training of the topographic VAE on sequences that move by one step per frame."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import (
    as_axes,
    as_count,
    as_number,
    as_seed,
    check_kind,
    check_learns,
    usual_torch,
)
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.symmetry.split._doors import as_values
from orbitlens.symmetry.split.topographic import TopographicVAE

_UNEVEN = 1.2  # times the usual step; those of drawn shapes differ by 8% at most


@dataclass(frozen=True, eq=False)
class TopographicFit:
    """What a training was like.

    Args:
        losses: Minus the ELBO per frame of each step, in nats, shape [steps].
        status: "completed", or "diverged": a loss was not finite, the step was not taken, and the
            weights are those before it.
    """

    losses: Float[Tensor, " steps"]
    status: str


def fit_topographic(
    model: TopographicVAE,
    sequences: Float[Tensor, "n frames *shape"],
    *,
    steps: int,
    batch: int = 8,
    lr: float = 2e-3,
    seed: int = 0,
) -> TopographicFit:
    """Train a topographic VAE, or one of its controls, by Adam on minus the ELBO.

        loss = mean over sequences and frames of -(log p(x | t) - KL(z) - KL(u))

    with one sample of z and u. Each epoch is in a new order.

    Source: Keller & Welling 2021, arXiv 2109.01394, for the loss and the batch of 8; its code takes
    SGD with 1e-4 and 600,000 steps.

    Args:
        model: The model, changed in place, and left in evaluation mode.
        sequences: Sequences in [0, 1], shape [n, frames, *shape].
        steps: Steps of Adam.
        batch: Sequences of a step.
        lr: Learning rate.
        seed: Seed of batches and samples.

    Returns:
        The loss of every step, and whether the training went to its end.

    Raises:
        OrbitLensError: If the sequences do not fit the model, do not move by equal steps, or are
            not cyclic, see `check_steps`; or if no weight can be trained.

    Example:
        >>> model = TopographicVAE(4, (1, 4, 4), capsules=2)
        >>> start = torch.rand(8, 1, 4, 4)
        >>> x = torch.stack([start.roll(frame, -1) for frame in range(4)], 1)
        >>> fit = fit_topographic(model, x, steps=2)
        >>> fit.status, fit.losses.shape
        ('completed', torch.Size([2]))
    """
    check_kind("model", model, TopographicVAE, "build one")
    check_learns("training of a TopographicVAE", model)
    steps, batch, seed = as_count("steps", steps), as_count("batch", batch), as_seed(seed)
    if as_number("lr", lr) <= 0:
        raise out_of_range("lr", "a number above 0", lr)
    sequences = as_values("sequences", sequences, "n frames ...")
    check_steps(sequences)
    with torch.no_grad():
        model.posterior(sequences)
    generator = torch.Generator(sequences.device).manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    losses, status = [], "completed"
    with usual_torch():
        model.train()
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(steps):
            if len(order) < min(batch, len(sequences)):
                order = torch.randperm(len(sequences), generator=generator, device=sequences.device)
            chosen, order = order[:batch], order[batch:]
            log_likelihood, kl_z, kl_u = model.elbo(sequences[chosen], generator)
            loss = (kl_z + kl_u - log_likelihood).mean()
            if not math.isfinite(loss.item()):
                status = "diverged"
                break
            losses.append(loss.item())
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()
        model.eval()
    return TopographicFit(torch.tensor(losses), status)


@torch.no_grad()
def check_steps(sequences: Float[Tensor, "n frames *shape"]) -> None:
    """Check that frames are one equal step apart, and that the last leads back to the first.

    The step from a frame to the next is sqrt(mean |x[l+1] - x[l]|^2). Each sequence is judged by
    its own median step: one that is more than 1.2 times as large, or as much smaller, shows frames
    that are missing, repeated or in disorder, or a motion that does not return. A gap after which
    frames are no less alike cannot be seen, nor can a sequence that runs backwards.

    Raises:
        OrbitLensError: If a step is too large or too small, or if a sequence stands still.

    Example:
        >>> line = torch.linspace(0, 1, 8).reshape(1, 8, 1)
        >>> check_steps(line)
        Traceback (most recent call last):
        orbitlens.errors.OrbitLensError: `sequences`: expected equal steps, also from the last frame
        back to the first, received a step from frame 7 to frame 0 of 7.0 times the usual one, in
        sequence 0; ...
    """
    x = as_axes("sequences", sequences, "n frames ...")
    if len(x) == 0 or x.shape[1] < 2 or x.ndim < 3:
        raise OrbitLensError(
            "`sequences`",
            expected="shape [n, frames, ...], of two frames or more",
            received=f"shape {list(x.shape)}",
            remedy="bring the frames to axis 1; one frame alone does not move",
        )
    step = (x.roll(-1, 1) - x).flatten(2).square().mean(2).sqrt()
    usual = step.median(1, keepdim=True).values
    still = int((usual == 0).sum())
    if still:
        raise OrbitLensError(
            "`sequences`",
            expected="frames that differ from the next",
            received=f"frames that stay the same, in {still} of {len(x)} sequences",
            remedy="give sequences of a transformation, one step per frame",
        )
    ratio = step / usual
    sequence, frame = divmod(int(ratio.log().abs().argmax()), x.shape[1])
    worst = float(ratio[sequence, frame])
    if not 1 / _UNEVEN <= worst <= _UNEVEN:
        raise OrbitLensError(
            "`sequences`",
            expected="equal steps, also from the last frame back to the first",
            received=f"a step from frame {frame} to frame {(frame + 1) % x.shape[1]} of "
            f"{worst:.1f} times the usual one, in sequence {sequence}",
            remedy="sample the transformation evenly over its whole period, from random starts",
        )
