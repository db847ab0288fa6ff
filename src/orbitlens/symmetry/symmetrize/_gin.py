"""Graph isomorphism network with a virtual node: one score for each node.

    h_i <- ReLU(BN(MLP(sum_j A_ij h_j + (1 + eps) h_i)))      MLP = Linear, BN, ReLU, Linear

Source: Xu et al. 2019, arXiv 1810.00826, *How Powerful are Graph Neural Networks?*, equation 4.1;
the virtual node as in Kim et al. 2023, arXiv 2306.02866.
"""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import pad

from orbitlens.symmetry.symmetrize._batch_norm import on_valid_rows

# Of the running statistics. A batch has thousands of nodes, so its own are precise; with the 0.1 of
# torch the running ones lag behind the weights, and evaluation may fail where training does well.
_MOMENTUM = 0.5


@final
class GIN(nn.Module):
    """Layers on a graph with one node more, which is joined to all nodes and to itself.

    Its first state is learned. Without it, distant nodes would hear of each other too late.
    """

    def __init__(self, features: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.virtual = nn.Parameter(torch.randn(features))
        widths = [features, *[hidden] * layers]
        self.layers = nn.ModuleList(map(_Layer, widths[:-1], widths[1:]))
        self.score = nn.Linear(hidden, 1)

    def forward(
        self,
        states: Float[Tensor, "n samples nodes features"],
        adjacency: Float[Tensor, "n nodes nodes"],
        valid: Bool[Tensor, "n nodes"] | None,
    ) -> Float[Tensor, "n samples nodes"]:
        """Return the scores of nodes whose states differ between the samples of a graph."""
        virtual = self.virtual.expand(*states.shape[:2], 1, -1)
        h = torch.cat([states, virtual], dim=2)
        joined = pad(adjacency, (0, 1, 0, 1), value=1.0)
        if valid is not None:
            valid = pad(valid, (0, 1), value=True)
            joined = joined.masked_fill(~(valid[:, :, None] & valid[:, None]), 0.0)
            valid = valid[:, None].expand(h.shape[:3])
        for layer in self.layers:
            h = layer(h, joined, valid)
        scores: Tensor = self.score(h[:, :, :-1])
        return scores.squeeze(-1)


@final
class _Layer(nn.Module):
    """One round of messages."""

    def __init__(self, wide: int, out: int) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.rand(()))
        # Without biases: the batch norms would take them away again.
        self.update = nn.Sequential(
            nn.Linear(wide, out, bias=False),
            nn.BatchNorm1d(out, momentum=_MOMENTUM),
            nn.ReLU(),
            nn.Linear(out, out, bias=False),
            nn.BatchNorm1d(out, momentum=_MOMENTUM),
            nn.ReLU(),
        )

    def forward(
        self,
        h: Float[Tensor, "n samples nodes channels"],
        adjacency: Float[Tensor, "n nodes nodes"],
        valid: Bool[Tensor, "n samples nodes"] | None,
    ) -> Float[Tensor, "n samples nodes out"]:
        messages = adjacency[:, None] @ h
        return on_valid_rows(self.update, messages + (1 + self.eps) * h, valid)


def in_double(
    network: nn.Module,
    states: Float[Tensor, "n samples nodes features"],
    adjacency: Float[Tensor, "n nodes nodes"],
    valid: Bool[Tensor, "n nodes"] | None,
) -> Float[Tensor, "n samples nodes"]:
    """Return the scores in double precision; gradients and statistics reach the network itself."""
    weights = {name: each.double() for name, each in network.named_parameters()}
    kept = dict(network.named_buffers())
    buffers = {n: each.double() if each.is_floating_point() else each for n, each in kept.items()}
    inputs = (states.double(), adjacency.double(), valid)
    scores: Tensor = functional_call(network, {**weights, **buffers}, inputs)
    for name, buffer in kept.items():
        buffer.copy_(buffers[name])
    return scores
