"""From a table over pairs (element, atom) to one number for two atoms and a relative element.

Where network and dictionaries are equivariant, (g, c) has the same effect on (g', c') as (kg, c) on
(kg', c'), on average over whole orbits. So the effect depends only on h = g^-1 g'.
"""

from typing import NamedTuple

import torch

from orbitlens.groups import Group
from orbitlens.typing import Bool, Float, Int, Tensor

ByElement = Float[Tensor, "group from group to"]
Relative = Float[Tensor, "group from to"]


class Reduction(NamedTuple):
    """A table reduced by symmetry.

    Attributes:
        relative: mean_g table[g, c, gh, c'], shape [|G|, from, to].
        explained: Share of the table's variance that this explains, 1 where it is equivariant.
    """

    relative: Relative
    explained: float


def reduce_table(table: ByElement, group: Group) -> Reduction:
    """Reduce a table of effects of pairs (g, c) on pairs (g', c') to relative elements.

    relative[h, c, c'] = mean_g table[g, c, gh, c']
    explained = 1 - sum (table[g, c, gh, c'] - relative[h, c, c'])^2 / sum (table - mean)^2
    """
    elements = torch.arange(group.order, device=table.device)
    products = torch.from_numpy(group.table.copy()).to(table.device)
    # aligned[g, h] holds what (g, c) does to (gh, c').
    aligned = table.transpose(1, 2)[elements[:, None], products]
    relative = aligned.mean(0)
    unexplained = (aligned - relative).square().sum().item()
    variance = (table - table.mean()).square().sum().item()
    explained = 1.0 if unexplained == 0 else 1 - unexplained / variance
    return Reduction(relative, explained)


def over_stabilisers(
    table: ByElement,
    group: Group,
    earlier: Bool[Tensor, "group from"],
    later: Bool[Tensor, "group to"],
) -> ByElement:
    """Return mean over s in H_c and s' in H_c' of table[gs, c, g's', c'], of the same shape.

    An atom with stabiliser H is the same in all orientations gH, and the SAE keeps any of them: the
    largest by a rounding error. The mean gives all of them the same effects.
    """
    rows, columns = (_shares(group, own).to(table) for own in (earlier, later))
    return torch.einsum("gkc,hld,kcld->gchd", rows, columns, table)


def double_cosets(
    group: Group, earlier: Bool[Tensor, "group from"], later: Bool[Tensor, "group to"]
) -> Int[Tensor, "group from to"]:
    """Return the first element of H_c h H_c' for each h, shape [|G|, from, to]."""
    products = torch.from_numpy(group.table.copy()).to(earlier.device)
    elements = torch.arange(group.order, device=earlier.device)
    first = elements[:, None, None].expand(-1, earlier.shape[1], later.shape[1])
    for s in range(group.order):
        for t in range(group.order):
            same = (earlier[s, :, None] & later[t]).expand_as(first)
            moved = products[products[s], t][:, None, None].expand_as(first)
            first = torch.where(same, torch.minimum(first, moved), first)
    return first


def _shares(
    group: Group, stabiliser: Bool[Tensor, "group atoms"]
) -> Float[Tensor, "group group atoms"]:
    """shares[g, k, c] = 1/|H_c| where k is in gH_c."""
    between = torch.from_numpy(group.table[group.inverses]).to(stabiliser.device)
    same = stabiliser[between].double()
    return same / same.sum(1, keepdim=True)
