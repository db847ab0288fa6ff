"""The record of an attribution: effects of the features of one layer on those of another."""

from dataclasses import dataclass
from typing import Any, final

import torch

from orbitlens.attribution._relative import Relative, double_cosets
from orbitlens.errors import out_of_range
from orbitlens.groups import Group
from orbitlens.typing import Bool, Tensor


@final
@dataclass(frozen=True)
class Edge:
    """The effect of one atom on another, for one element between their orientations.

    Args:
        source: Atom of the earlier layer.
        target: Atom of the later layer.
        relative: Name of the element h: the target has orientation gh where the source has g.
        strength: The source's part in the target's pre-activation, summed over the target's
            positions, on average over inputs in every orientation.
    """

    source: int
    target: int
    relative: str
    strength: float


@final
@dataclass(frozen=True, eq=False)
class AttributionGraph:
    """Attribution between the atoms of two orbit SAEs.

    Args:
        group: The group.
        earlier: Model and layer of the earlier SAE.
        later: Model and layer of the later SAE.
        n: Inputs that it was measured on, each in all orientations.
        attribution: attribution[h, c, c'], the effect of (g, c) on (gh, c') on average over g,
            shape [|G|, from, to].
        explained: Share of the variance of the full table, over pairs (g, c) and (g', c'), that
            depends only on h = g^-1 g': 1 where network and transports are exact.
        stabilisers: Of the earlier and of the later atoms, shapes [|G|, from] and [|G|, to].
    """

    group: Group
    earlier: str
    later: str
    n: int
    attribution: Relative
    explained: float
    stabilisers: tuple[Bool[Tensor, "group from"], Bool[Tensor, "group to"]]

    def strongest(self, n: int = 20) -> list[Edge]:
        """Return the edges of the largest absolute strength, the strongest first.

        Two symmetric atoms do not distinguish the elements of H_c h H_c'. These are one edge, named
        by the first of them; its strength is the effect of one orientation on one orientation.

        Args:
            n: Edges at most; edges of strength 0 are left out.

        Raises:
            OrbitLensError: If n is below 1.

        Example:
            >>> from orbitlens.groups import cyclic
            >>> free = torch.tensor([[True], [False]])
            >>> table = torch.tensor([0.5, -2.0]).reshape(2, 1, 1)
            >>> graph = AttributionGraph(cyclic(2), "m:a", "m:b", 9, table, 1.0, (free, free))
            >>> graph.strongest(1)
            [Edge(source=0, target=0, relative='r', strength=-2.0)]
        """
        if n < 1:
            raise out_of_range("n", "at least 1", n)
        earlier, later = self.stabilisers
        elements = torch.arange(self.group.order, device=self.attribution.device)
        named = double_cosets(self.group, earlier, later) == elements[:, None, None]
        times = earlier.sum(0)[:, None] * later.sum(0)
        strengths = self.attribution * times * named
        order = strengths.abs().flatten().argsort(descending=True, stable=True)[:n]
        return [
            Edge(source, target, self.group.element_names[h], strengths[h, source, target].item())
            for h, source, target in zip(
                *(axis.tolist() for axis in torch.unravel_index(order, strengths.shape)),
                strict=True,
            )
            if strengths[h, source, target] != 0
        ]

    def to_dict(self, n: int = 20) -> dict[str, Any]:
        """Return a JSON-ready record with the n strongest edges."""
        return {
            "group": self.group.name,
            "earlier": self.earlier,
            "later": self.later,
            "n": self.n,
            "atoms": list(self.attribution.shape[1:]),
            "explained": self.explained,
            "edges": [vars(edge) for edge in self.strongest(n)],
        }
