"""The samples of a probe, and how many latents it keeps, at the door."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from orbitlens.checks import as_axes, as_count, as_flags, as_indices
from orbitlens.errors import OrbitLensError


@dataclass(frozen=True, eq=False)
class ProbeSet:
    """Codes of a set of samples, with the truth about them.

    Args:
        codes: Codes, shape [n, latents].
        labels: One column per binary task, shape [n, tasks].
        elements: The true orientation of each sample, shape [n]; the oracle needs it.
        x: Activations, shape [n, dim]; inferring orientations needs them.
        x_hat: Full reconstructions before transport, D(E(x)), shape [n, dim]; likewise.
    """

    codes: Float[Tensor, "n latents"]
    labels: Bool[Tensor, "n tasks"]
    elements: Int[Tensor, " n"] | None = None
    x: Float[Tensor, "n dim"] | None = None
    x_hat: Float[Tensor, "n dim"] | None = None


def as_counts(t: object) -> list[int]:
    """Return numbers of latents to keep, at least 1 each; one alone is a list of one."""
    if isinstance(t, Tensor | np.ndarray):
        t = t.tolist()
    return [as_count("t", count) for count in (t if isinstance(t, Sequence) else [t])]


def as_probe_set(samples: ProbeSet, name: str) -> ProbeSet:
    """Return a set with tensors that fit together, codes in float32 as the probes see them."""
    if not isinstance(samples, ProbeSet):
        raise OrbitLensError(
            f"`{name}`",
            expected="a ProbeSet",
            received=type(samples).__name__,
            remedy="put codes and labels into one",
        )
    codes = as_axes(f"{name}.codes", samples.codes, "n latents", dtype=torch.float32, least=1)
    n, found = len(codes), {"codes": codes}
    found["labels"] = as_flags(f"{name}.labels", samples.labels, "n tasks", size=n)
    if samples.elements is not None:
        most = 2**31  # the group is known where the samples are moved
        elements = as_indices(f"{name}.elements", samples.elements, "n", most=most, size=n)
        found["elements"] = elements
    for field in ("x", "x_hat"):
        if (rows := getattr(samples, field)) is not None:
            found[field] = as_axes(f"{name}.{field}", rows, "n dim", sizes={"n": n})
    return replace(samples, **found)
