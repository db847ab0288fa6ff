"""Layers on functions on a group, [..., features * |G|], beside those of `models.group_linears`."""

from itertools import pairwise
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from orbitlens.groups import Group
from orbitlens.models import GroupLinear


@final
class OrbitStack(nn.Module):
    """Reads values on places that a group permutes as functions on the group.

        F[f, g] = v[g p_f]        p_f the first place of orbit f

    (k v)[k p] = v[p] gives (k F)[f, g] = F[f, k^-1 g]. A place that some elements leave where it is
    is read several times, so nothing is lost.

    Source: the stack of four turned quarters in the code of Park et al. 2022, arXiv 2204.11371, for
    C4 and maps of an even side, up to the order of the places.
    """

    index: Tensor

    def __init__(self, moves: Int[np.ndarray, "group place"]) -> None:
        super().__init__()
        first = np.unique(moves.min(axis=0))
        self.features = len(first)
        index = torch.from_numpy(np.ascontiguousarray(moves[:, first].T))
        self.register_buffer("index", index.flatten(), persistent=False)

    def forward(self, values: Float[Tensor, "*batch place"]) -> Float[Tensor, "*batch out"]:
        return values[..., self.index]


@final
class FunctionNorm(nn.Module):
    """Normalises the features of functions, at each element of the group by itself.

    Scale and offset are those of a feature, the same at all elements.
    """

    def __init__(self, group: Group, features: int) -> None:
        super().__init__()
        self.order = group.order
        self.scale = nn.Parameter(torch.ones(features))
        self.offset = nn.Parameter(torch.zeros(features))

    def forward(self, x: Float[Tensor, "*batch values"]) -> Float[Tensor, "*batch values"]:
        functions = x.unflatten(-1, (-1, self.order)).transpose(-1, -2)
        normal = layer_norm(functions, self.scale.shape, self.scale, self.offset)
        return normal.transpose(-1, -2).flatten(-2)


@final
class MapNorm(nn.Module):
    """Batch normalisation of maps whose channels are functions on a group.

    Mean and variance are those of a feature over the batch, the places and the elements.
    """

    def __init__(self, group: Group, features: int) -> None:
        super().__init__()
        self.order = group.order
        self.norm = nn.BatchNorm3d(features)

    def forward(self, x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n channels h w"]:
        normal: Tensor = self.norm(x.unflatten(1, (-1, self.order)))
        return normal.flatten(1, 2)


def three_linears(group: Group, inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return the network of which encoder, edges and nodes consist: linear maps between functions.

    Weights start uniform in +- 1 / sqrt(values that a sum has). That is the start of the source's
    code for C4, and of `nn.Linear` for the trivial group. From the larger ones of `GroupLinear` the
    start that was tried was stuck.

    Source: the code of Park et al. 2022, arXiv 2204.11371; the norm stands after the second map.
    """
    linears = [GroupLinear(group, *pair) for pair in pairwise((inputs, hidden, hidden, outputs))]
    for layer in linears:
        bound = (layer.tied.shape[1] * group.order) ** -0.5
        nn.init.uniform_(layer.tied, -bound, bound)
    first, second, last = linears
    return nn.Sequential(first, nn.ReLU(), second, FunctionNorm(group, hidden), nn.ReLU(), last)
