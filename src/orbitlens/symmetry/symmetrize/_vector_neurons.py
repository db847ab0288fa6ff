"""Vector neurons: layers whose channels are vectors of space, which turn when the input turns.

The columns of V, [..., 3, channels], are vectors, and R V turns them. A matrix that mixes channels
commutes with that; so does every factor that depends on lengths and inner products alone.

    linear       V W
    batch norm   v BN(|v|) / |v|, and 0 at 0
    leaky ReLU   q, without (1 - slope) of its part against the direction d
    max pool     the v of the point where <v, d> is largest

Points that are alike have equal distances and equal <v, d>. Rounding must not choose among them, so
all that are equal up to rounding are taken.

Source: Deng et al. 2021, arXiv 2104.12229, *Vector Neurons*, sections 3.1 to 3.5; the layer on
neighbours after Wang et al. 2019, arXiv 1801.07829, *Dynamic Graph CNN*.
"""

from functools import partial
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from orbitlens.symmetry.symmetrize._batch_norm import on_valid_rows
from orbitlens.symmetry.symmetrize._rounding import rounding
from orbitlens.symmetry.symmetrize._sinkhorn import straight_through

_SLOPE = 0.2
_LEAST = 1e-6  # keeps quotients finite at the vector 0


# Batch norms make 1e-4 of the roundings of lengths in single precision.
_EQUAL = partial(rounding, power=1 / 2)


def vector_linear(wide: int, out: int) -> nn.Linear:
    """Return the layer V W, which adds nothing: no vector but 0 stays where it is when all turn."""
    return nn.Linear(wide, out, bias=False)


@final
class VectorBatchNorm(nn.Module):
    """v BN(|v|) / |v|, with the statistics of the lengths of each channel.

    Next to the longest vector of an input, a very short one is a rounding of 0. It has no
    direction, so it becomes shorter still: 1 / |v| is |v| / (|v|^2 + (least |v_longest|)^2).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(
        self, v: Float[Tensor, "*points 3 channels"], valid: Bool[Tensor, "*points"] | None
    ) -> Float[Tensor, "*points 3 channels"]:
        # Over three numbers, torch.linalg.vector_norm takes several times as long.
        squares = v.square().sum(-2) + torch.finfo(v.dtype).tiny
        seen = squares.detach()
        if valid is not None:
            seen = seen.masked_fill(~valid[..., None], 0.0)
        longest = seen.amax(tuple(range(1, seen.ndim - 1)), keepdim=True)
        lengths = squares.sqrt()
        inverse = lengths / (squares + rounding(v.dtype) * longest + _LEAST**2)
        return v * (on_valid_rows(self.norm, lengths, valid) * inverse).unsqueeze(-2)


def vector_leaky_relu(
    q: Float[Tensor, "*points 3 channels"], d: Float[Tensor, "*points 3 channels"]
) -> Float[Tensor, "*points 3 channels"]:
    """Return q with (1 - slope) of its part along d taken away where <q, d> < 0."""
    along = (q * d).sum(-2, keepdim=True)
    length = (d * d).sum(-2, keepdim=True) + _LEAST
    return q - (1 - _SLOPE) * along.clamp(max=0) / length * d


@final
class EdgeLayer(nn.Module):
    """Messages from the nearest points, in the space of the channels, and from the point itself.

    q_ij, d_ij = linear(v_j, v_i)      v_i <- mean over neighbours j of leaky(BN(q_ij), d_ij)

    `alike` says whether neighbours as far as the last one, up to rounding, are taken too. With
    noise in the input there are none.
    """

    def __init__(
        self, wide: int, out: int, neighbours: int, dropout: float, *, alike: bool = True
    ) -> None:
        super().__init__()
        self.neighbours, self.dropout, self.alike = neighbours, dropout, alike
        self.other, self.own = vector_linear(wide, 2 * out), vector_linear(wide, 2 * out)
        self.norm = VectorBatchNorm(out)

    def forward(
        self,
        v: Float[Tensor, "batch points 3 channels"],
        valid: Bool[Tensor, "batch points"] | None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch points 3 out"]:
        near, there = _nearest(v.detach(), self.neighbours, valid, self.alike)
        q, d = (_at(self.other(v), near) + self.own(v)[:, :, None]).chunk(2, dim=-1)
        messages = vector_leaky_relu(self.norm(q, there), d)
        if there is None:
            mean = messages.mean(2)
        else:
            weights = there[..., None, None].to(messages)
            mean = (messages * weights).sum(2) / weights.sum(2).clamp(min=1)
        if not (self.training and self.dropout):
            return mean
        # A whole vector is dropped, or the rest would not turn with the input.
        place = mean.device if generator is None else generator.device
        drawn = torch.rand(mean[..., :1, :].shape, generator=generator, device=place)
        return mean * ((drawn.to(mean.device) >= self.dropout) / (1 - self.dropout)).to(mean)


@final
class VectorMaxPool(nn.Module):
    """For each channel, the vector of the point that lies furthest along a learned direction.

    The choice has no gradient of its own, so the direction gets that of a softmax over the points.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.direction = vector_linear(channels, channels)

    def forward(
        self,
        v: Float[Tensor, "batch points 3 channels"],
        valid: Bool[Tensor, "batch points"] | None,
    ) -> Float[Tensor, "batch 3 channels"]:
        direction = self.direction(v)
        along = (v * direction).sum(-2)
        if valid is not None:
            along = along.masked_fill(~valid[:, :, None], -torch.inf)
        with torch.no_grad():
            terms = (v.square().sum(-2) * direction.square().sum(-2)).amax(1, keepdim=True).sqrt()
            largest = along >= along.amax(1, keepdim=True) - _EQUAL(v.dtype) * terms
            chosen = largest / largest.sum(1, keepdim=True)
        weights = straight_through(chosen.to(v), along.softmax(1))
        return (v * weights[:, :, None]).sum(1)


def _nearest(
    v: Float[Tensor, "batch points 3 channels"],
    neighbours: int,
    valid: Bool[Tensor, "batch points"] | None,
    alike: bool,
) -> tuple[Int[Tensor, "batch points near"] | None, Bool[Tensor, "batch points near"] | None]:
    """Return each point itself and its nearest neighbours, over all channels, and which count.

    None stands for all points, and for all that are named.
    """
    points, near = v.shape[1], neighbours + 1
    if near >= points:
        return None, None if valid is None else valid[:, :, None] & valid[:, None]
    flat = v.flatten(2)
    squares = flat.square().sum(-1)
    distances = squares[:, :, None] + squares[:, None] - 2 * flat @ flat.mT
    if valid is not None:
        distances = distances.masked_fill(~valid[:, None], torch.inf)
    values, indices = distances.topk(near, largest=False)
    there = values.isfinite()
    if alike:
        furthest = values[..., -1:] + _EQUAL(v.dtype) * squares.amax(1)[:, None, None]
        most = int((distances <= furthest).sum(-1).max())
        values, indices = distances.topk(most, largest=False)
        there = values.isfinite() & (values <= furthest)
    if valid is not None:
        return indices, there & valid[:, :, None]
    return indices, there if indices.shape[-1] > near else None


def _at(
    v: Float[Tensor, "batch points 3 channels"], near: Int[Tensor, "batch points near"] | None
) -> Float[Tensor, "batch #points near 3 channels"]:
    """Return the vectors of the neighbours of each point; None stands for all points."""
    if near is None:
        return v[:, None]
    return v[torch.arange(len(v), device=v.device)[:, None, None], near]
