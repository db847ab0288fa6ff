"""Vector neurons: layers whose channels are vectors of space, which turn when the input turns.

The columns of V, [..., 3, channels], are vectors, and R V turns them. A matrix that mixes channels
commutes with that; so does every factor that depends on lengths and inner products alone.

    linear       V W
    batch norm   v BN(|v|) / |v|
    leaky ReLU   q, without (1 - slope) of its part against the direction d
    max pool     the v of the point where <v, d> is largest

Source: Deng et al. 2021, arXiv 2104.12229, *Vector Neurons*, sections 3.1 to 3.5; the layer on
neighbours after Wang et al. 2019, arXiv 1801.07829, *Dynamic Graph CNN*.
"""

from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import dropout, one_hot

from orbitlens.symmetry.symmetrize._batch_norm import on_valid_rows
from orbitlens.symmetry.symmetrize._sinkhorn import straight_through

_SLOPE = 0.2
_LEAST = 1e-6  # keeps quotients finite at the vector 0, and roundings of it short


def vector_linear(wide: int, out: int) -> nn.Linear:
    """Return the layer V W, which adds nothing: no vector but 0 stays where it is when all turn."""
    return nn.Linear(wide, out, bias=False)


@final
class VectorBatchNorm(nn.Module):
    """v BN(|v|) / |v|, with the statistics of the lengths of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(
        self, v: Float[Tensor, "*points 3 channels"], valid: Bool[Tensor, "*points"] | None
    ) -> Float[Tensor, "*points 3 channels"]:
        # Over three numbers, torch.linalg.vector_norm takes several times as long.
        lengths = (v.square().sum(-2) + _LEAST**2).sqrt()
        return v * (on_valid_rows(self.norm, lengths, valid) / lengths).unsqueeze(-2)


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
    """

    def __init__(self, wide: int, out: int, neighbours: int, dropout: float) -> None:
        super().__init__()
        self.neighbours, self.dropout = neighbours, dropout
        self.other, self.own = vector_linear(wide, 2 * out), vector_linear(wide, 2 * out)
        self.norm = VectorBatchNorm(out)

    def forward(
        self,
        v: Float[Tensor, "batch points 3 channels"],
        valid: Bool[Tensor, "batch points"] | None,
    ) -> Float[Tensor, "batch points 3 out"]:
        near = _nearest(v.detach(), self.neighbours, valid)
        each = torch.arange(len(v), device=v.device)[:, None, None]
        q, d = (self.other(v)[each, near] + self.own(v)[:, :, None]).chunk(2, dim=-1)
        there = None if valid is None else valid[each, near] & valid[:, :, None]
        messages = vector_leaky_relu(self.norm(q, there), d)
        if there is None:
            mean = messages.mean(2)
        else:
            weights = there[..., None, None].to(messages)
            mean = (messages * weights).sum(2) / weights.sum(2).clamp(min=1)
        # A whole vector is dropped, or the rest would not turn with the input.
        kept = dropout(torch.ones_like(mean[..., :1, :]), self.dropout, self.training)
        return mean * kept


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
        along = (v * self.direction(v)).sum(-2)
        if valid is not None:
            along = along.masked_fill(~valid[:, :, None], -torch.inf)
        chosen = one_hot(along.argmax(1), v.shape[1]).mT.to(v)
        weights = straight_through(chosen, along.softmax(1))
        return (v * weights[:, :, None]).sum(1)


def _nearest(
    v: Float[Tensor, "batch points 3 channels"],
    neighbours: int,
    valid: Bool[Tensor, "batch points"] | None,
) -> Int[Tensor, "batch points near"]:
    """Return each point itself and its nearest neighbours, over all channels."""
    flat = v.flatten(2)
    distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    if valid is not None:
        distances = distances.masked_fill(~valid[:, None], torch.inf)
    return distances.topk(min(neighbours + 1, v.shape[1]), largest=False).indices
