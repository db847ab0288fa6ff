"""The picture of an attribution."""

from pathlib import Path

import pytest
import torch

from orbitlens import groups
from orbitlens.attribution import AttributionGraph
from orbitlens.errors import OrbitLensError
from orbitlens.report import draw_attribution
from orbitlens.report._ordering import order_atoms
from orbitlens.typing import Tensor

GROUP = groups.dihedral(4)


def graph_of(attribution: Tensor) -> AttributionGraph:
    free = [torch.zeros(GROUP.order, width, dtype=torch.bool) for width in attribution.shape[1:]]
    for each in free:
        each[0] = True
    earlier, later = free
    return AttributionGraph(GROUP, "m:a", "m:b", 7, attribution, 0.9, (earlier, later))


def test_a_picture_is_whole_and_the_same_again(tmp_path: Path) -> None:
    noise = torch.randn(GROUP.order, 4, 6, generator=torch.Generator().manual_seed(0))
    for name in ("one.png", "two.png"):
        draw_attribution(graph_of(noise), tmp_path / name, n=30)
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one == two
    assert one.startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_single_edge_can_be_drawn(tmp_path: Path) -> None:
    draw_attribution(graph_of(-torch.eye(GROUP.order)[:, :1, None]), tmp_path / "edge.png", n=1)
    assert (tmp_path / "edge.png").exists()


def test_crossings_are_undone() -> None:
    crossed = torch.zeros(GROUP.order, 3, 3)
    for source, target, strength in ((0, 2, 3.0), (1, 0, 2.0), (2, 1, 1.5)):
        crossed[1, source, target] = strength
    sources, targets = order_atoms(graph_of(crossed).strongest())
    places = [(sources.index(s), targets.index(t)) for s, t in ((0, 2), (1, 0), (2, 1))]
    assert not any((a - c) * (b - d) < 0 for a, b in places for c, d in places)


def test_nothing_is_not_drawn(tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match="expected at least one edge"):
        draw_attribution(graph_of(torch.zeros(GROUP.order, 2, 2)), tmp_path / "none.png")
    assert list(tmp_path.iterdir()) == []
