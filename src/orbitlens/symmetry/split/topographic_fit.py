"""Training of the topographic VAE on sequences that move by one step per frame."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import as_count, as_number, as_seed, as_tensor, check_kind, usual_torch
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.symmetry.split.topographic import TopographicVAE

_UNEVEN = 1.2  # times the usual step; even ones from random starts differ by 1%


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
            not cyclic; see `check_steps`.

    Example:
        >>> model = TopographicVAE(4, (1, 3, 3), capsules=2)
        >>> fit = fit_topographic(model, torch.rand(8, 4, 1, 3, 3), steps=2)
        >>> fit.status, fit.losses.shape
        ('completed', torch.Size([2]))
    """
    check_kind("model", model, TopographicVAE, "build one")
    steps, batch, seed = as_count("steps", steps), as_count("batch", batch), as_seed(seed)
    if as_number("lr", lr) <= 0:
        raise out_of_range("lr", "a number above 0", lr)
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

    The step from a frame to the next is measured over all sequences, sqrt(mean |x[l+1] - x[l]|^2).
    If sequences start anywhere, each is as large as the others. So a step that is more than 1.2
    times as large as their median, or as much smaller, shows frames that are missing or repeated,
    or a motion that does not return. It takes a few sequences, and it cannot see a gap after which
    frames are no less alike.

    Raises:
        OrbitLensError: If a step is too large or too small, or if nothing moves.

    Example:
        >>> line = torch.linspace(0, 1, 8).reshape(1, 8, 1)
        >>> check_steps(line)
        Traceback (most recent call last):
        orbitlens.errors.OrbitLensError: `sequences`: expected equal steps, also from the last frame
        back to the first, received a step from frame 7 to frame 0 of 7.0 times the usual one; ...
    """
    x = as_tensor("sequences", sequences)
    if x.ndim < 2 or len(x) == 0 or x.shape[1] < 2:
        raise OrbitLensError(
            "`sequences`",
            expected="shape [n, frames, ...], of two frames or more",
            received=f"shape {list(x.shape)}",
            remedy="bring the frames to axis 1; one frame alone does not move",
        )
    step = (x.roll(-1, 1) - x).transpose(0, 1).flatten(1).square().mean(1).sqrt()
    usual = step.median()
    if usual == 0:
        raise OrbitLensError(
            "`sequences`",
            expected="frames that differ from the next",
            received="frames that stay the same",
            remedy="give sequences of a transformation, one step per frame",
        )
    ratio = step / usual
    worst = int((ratio.log().abs()).argmax())
    if not 1 / _UNEVEN <= ratio[worst] <= _UNEVEN:
        raise OrbitLensError(
            "`sequences`",
            expected="equal steps, also from the last frame back to the first",
            received=f"a step from frame {worst} to frame {(worst + 1) % len(step)} of "
            f"{float(ratio[worst]):.1f} times the usual one",
            remedy="sample the transformation evenly over its whole period, from random starts",
        )
