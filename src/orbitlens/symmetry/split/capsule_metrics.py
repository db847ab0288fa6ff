"""Whether capsules roll with the input: the source's two figures, and two that training must earn.

Source: Keller & Welling 2021, arXiv 2109.01394, *Topographic VAEs learn Equivariant Capsules*, and
its code (MIT) for the roll error and the correlation. The errors of decoded frames are our own.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.checks import as_axes, as_count, as_indices, as_switch, as_tensor
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.symmetry.split._doors import as_like, as_steps, as_values, check_function

_Capsules = Float[Tensor, "n frames capsules slots"]


def rolled(
    capsules: Float[Tensor, "n capsules slots"], steps: Int[Tensor, " steps"]
) -> Float[Tensor, "n steps capsules slots"]:
    """Return capsules rolled by so many slots, one frame for each number.

        t[l, j] = t[j - steps_l]

    Raises:
        OrbitLensError: If the capsules have another shape, or a step is no whole number.

    Example:
        >>> rolled(torch.tensor([[[1.0, 2, 3]]]), torch.tensor([0, 1]))[0, :, 0].tolist()
        [[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]]
    """
    t = as_values("capsules", capsules, "n capsules slots")
    slots, by = t.shape[-1], as_steps("steps", steps).to(t.device)
    places = (torch.arange(slots, device=t.device) - by[:, None]) % slots
    return t[:, :, places].transpose(1, 2)


def roll_error(capsules: _Capsules) -> Float[Tensor, " n"]:
    """Return how far capsules are from one slot per frame, the source's E_eq.

        1/2 sum_{d=1}^{S-1} sum |t^[l + d, j + d] - t^[l, j]|,    t^ = t / |t|, capsule by capsule

    Training is not needed for a low one: sums over the whole sequence roll by construction. Compare
    with the untrained model. Independent Gaussian capsules give about

        capsules S (S - 1) / 2 slots sqrt(2 / pi) sqrt(2 / slots).

    Source: Keller & Welling 2021, arXiv 2109.01394, and its code.

    Args:
        capsules: Activations t of whole sequences, shape [n, frames, capsules, slots].

    Returns:
        One error for each sequence, shape [n]; 0 is exact.

    Raises:
        OrbitLensError: If a capsule has the norm 0, or if values are not finite.

    Example:
        >>> t0 = torch.rand(2, 3, 4)
        >>> bool((roll_error(rolled(t0, torch.arange(4))) < 1e-5).all())
        True
    """
    t = as_axes("capsules", capsules, "n frames capsules slots")
    dead = int((t == 0).all(-1).sum())
    if dead:
        raise OrbitLensError(
            "`capsules`",
            expected="capsules of a norm above 0",
            received=f"{dead} with all slots 0",
            remedy="these say nothing of a direction; look for dead latents",
        )
    t = _scaled(t, (-1,))
    unit = t / t.norm(dim=-1, keepdim=True)
    frames = t.shape[1]
    total = unit.new_zeros(len(unit))
    for d in range(1, frames):
        total += (unit.roll((d, d), (1, 3)) - unit).abs().sum((1, 2, 3))
    return total / 2


def capsule_rolls(
    reference: Float[Tensor, "n capsules slots"],
    capsules: Float[Tensor, "n capsules slots"],
    *,
    together: bool = False,
) -> Int[Tensor, " n"]:
    """Return the roll that takes the reference to the capsules.

        argmax_d sum_j reference[j] t[j + d]     for each capsule; then the most frequent one

    The smallest wins a draw. Capsules that hold less than the whole motion, such as the axis of an
    object but not its direction, outvote those that hold all of it. With `together` the sum is over
    the capsules too, so that those with the clearest slots decide.

    Source: Keller & Welling 2021, arXiv 2109.01394, and its code.

    Args:
        reference: Capsules of one frame, shape [n, capsules, slots].
        capsules: Those of another frame.
        together: Whether all capsules are rolled together; by default each has a vote, as in the
            source.

    Returns:
        Slots, from 0 to slots - 1, shape [n].

    Raises:
        OrbitLensError: If the shapes differ, if values are not finite, or if there is no capsule.

    Example:
        >>> t = torch.rand(5, 3, 8)
        >>> capsule_rolls(t, t.roll(3, -1)).tolist()
        [3, 3, 3, 3, 3]
    """
    before = as_axes("reference", reference, "n capsules slots")
    if 0 in before.shape[1:]:
        raise OrbitLensError(
            "`reference`",
            expected="a capsule and a slot or more",
            received=f"shape {list(before.shape)}",
            remedy="give capsules of a model",
        )
    axes = ("n", "capsules", "slots")
    after = as_axes(
        "capsules", capsules, " ".join(axes), sizes=dict(zip(axes, before.shape, strict=True))
    )
    before, after = _scaled(before, (1, 2)), _scaled(after.to(before.device), (1, 2))
    slots = before.shape[-1]
    moved = torch.stack([before.roll(d, -1) for d in range(slots)], dim=-2)
    alike = torch.einsum("ncdj,ncj->ncd", moved, after.to(moved.dtype))
    if as_switch("together", together):
        return alike.sum(1).argmax(-1)
    best = alike.argmax(-1)
    return torch.nn.functional.one_hot(best, slots).sum(1).argmax(-1)


def capsule_correlation(rolls: Int[Tensor, " n"], starts: Int[Tensor, " n"]) -> float:
    """Return Pearson's correlation of the rolls of capsules with the true starts, CapCorr.

    Ask for one motion at a time, with the rolls from the frame in which the motion is at step 0 to
    frame 0. The difference of two rolls is not taken around the ring, as in the source.

    Give it capsules of `TopographicVAE.capsules`, which draws nothing. With drawn u, neighbouring
    frames share their noise, and the noise alone gives up to 1.

    Source: Keller & Welling 2021, arXiv 2109.01394, and its code.

    Args:
        rolls: Of `capsule_rolls`, shape [n].
        starts: The step of the motion at frame 0, shape [n].

    Returns:
        The correlation; NaN where either does not vary, as nothing is known then.

    Raises:
        OrbitLensError: If these are no whole numbers of two sequences or more.

    Example:
        >>> capsule_correlation(torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3]))
        1.0
        >>> capsule_correlation(torch.tensor([5, 5, 5]), torch.tensor([1, 2, 3]))
        nan
    """
    largest = torch.iinfo(torch.int64).max
    found = as_indices("rolls", rolls, "n", most=largest)
    true = as_indices("starts", starts, "n", most=largest, size=len(found))
    if len(found) < 2:
        raise out_of_range("rolls", "those of two sequences or more", len(found))
    both = torch.stack([found, true.to(found.device)]).double()
    centred = both - both.mean(1, keepdim=True)
    size = centred.square().sum(1).prod().sqrt()
    return float((centred[0] @ centred[1]) / size) if size > 0 else math.nan


def roll_decode_error(
    decode: Callable[[_Capsules], Float[Tensor, "n frames *shape"]],
    capsules: Float[Tensor, "n capsules slots"],
    frames: Float[Tensor, "n frames *shape"],
    *,
    seen: int = 0,
    first: int | None = None,
    roll: bool = True,
) -> Float[Tensor, " n"]:
    """Return the squared error of frames that are decoded from the capsules of one frame.

        mean over l of (decode(roll(t[seen], l - seen)) - x[l])^2

    Untrained models fail it, unlike `roll_error`. The control is the same without the roll.

    Args:
        decode: Returns the frames of capsules [n, frames, capsules, slots].
        capsules: t[seen], shape [n, capsules, slots].
        frames: The true sequences, shape [n, frames, ...].
        seen: The frame that the capsules belong to.
        first: The first frame of those that count, up to the last one; by default all but `seen`.
        roll: Whether to roll; False for the control.

    Returns:
        The mean over the pixels of the frames that count, shape [n].

    Raises:
        OrbitLensError: If a frame is outside of the sequence, none counts, there are not as many
            capsules, the decoded frames have another shape, or a value is not finite.

    Example:
        >>> t0 = torch.rand(2, 1, 4)
        >>> frames = rolled(t0, torch.arange(4))
        >>> roll_decode_error(lambda t: t, t0, frames).tolist()
        [0.0, 0.0]
    """
    t, true = (
        as_axes("capsules", capsules, "n capsules slots"),
        as_tensor("frames", frames, dtype=None),
    )
    check_function("decode", decode, "the frames of capsules")
    if true.ndim < 2 or len(true) != len(t):
        raise OrbitLensError(
            "`frames`",
            expected=f"the {len(t)} sequences of the capsules, shape [{len(t)}, frames, ...]",
            received=f"shape {list(true.shape)}",
            remedy="give whole sequences, with the frames at axis 1",
        )
    length = true.shape[1]
    seen = as_count("seen", seen, least=0, most=length - 1)
    steps = torch.arange(length) - seen
    counted = steps != 0
    if first is not None:
        counted = torch.arange(length) >= as_count("first", first, least=0, most=length - 1)
    if not bool(counted.any()):
        raise out_of_range("frames", "a frame beside the one that is seen", 1, "give sequences")
    predicted = decode(rolled(t, steps if as_switch("roll", roll) else 0 * steps))
    predicted = as_like("decode(capsules)", predicted, "frames", true)
    as_tensor("decode(capsules)", predicted, dtype=None)  # finite
    return (predicted - true)[:, counted].square().flatten(1).mean(1)


def _scaled(t: Float[Tensor, "*axes"], dim: tuple[int, ...]) -> Float[Tensor, "*axes"]:
    """Return values divided by a power of two, to at most 2 along some axes, so without rounding.

    Products of very large or small ones would be infinite, or 0.
    """
    t = t.float() if t.dtype in (torch.float16, torch.bfloat16) else t
    largest = t.abs().amax(dim, keepdim=True)
    scale = largest / (2 * torch.frexp(largest).mantissa)
    return t / torch.where(largest > 0, scale, 1)


def importance_log_likelihood(weights: Float[Tensor, "samples n"]) -> Float[Tensor, " n"]:
    """Return the logarithm of the mean of importance weights.

        log 1/K sum_k exp(w_k),   w = log p(x | t) + log p(z) + log p(u) - log q(z) - log q(u)

    In expectation it is a lower bound of log p(x), which rises with K; for K = 1 it is the ELBO.
    Without 1/K, as in the source's code, it is too high by log K.

    Args:
        weights: w of each sample, shape [samples, n].

    Returns:
        The bound, shape [n].

    Raises:
        OrbitLensError: If there is no sample, or a weight is NaN or plus infinity.

    Example:
        >>> importance_log_likelihood(torch.full((10, 1), -3.0)).tolist()
        [-3.0]
    """
    w = as_axes("weights", weights, "samples n", least=1, finite=False)
    # Minus infinity is a sample of probability 0.
    if bool((w.isnan() | (w == math.inf)).any()):
        raise out_of_range(
            "weights", "logarithms of finite weights", "NaN or inf", "look at the model"
        )
    return w.logsumexp(0) - math.log(len(w))
