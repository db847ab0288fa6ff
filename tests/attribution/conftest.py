"""What the tests of attribution share: small networks with orbit SAEs on two of their layers."""

import pytest
import torch
from torch import nn

import orbitlens as ol
from orbitlens.attribution import Site
from orbitlens.groups import Group
from orbitlens.reps import isotypic_basis, regular
from orbitlens.sae import SAE, OrbitDictionary, TopK, compose
from orbitlens.typing import Float, Tensor

QUARTERS = ol.groups.cyclic(4)


def rows_sae(atoms: Float[Tensor, "atoms 4"], k: int, source: str, group: Group = QUARTERS) -> SAE:
    """An orbit SAE on vectors that C4 moves around, with these atoms, which also encode."""
    dictionary = OrbitDictionary(len(atoms), isotypic_basis(regular(group)), source=source)
    with torch.no_grad():
        dictionary.atoms.copy_(dictionary.coordinates(atoms))
    dictionary.project_()
    dictionary.settle_()
    return compose(TopK(k), dictionary).eval()


class Ring(nn.Module):
    """A picture of 2 x 2 pixels as a ring of four, then two circulant layers."""

    def __init__(self, first: list[float], second: list[float], relu: bool = False) -> None:
        super().__init__()
        self.ring = nn.Flatten()
        self.first, self.second = (_circulant(weights) for weights in (first, second))
        self.between = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        # In the order in which a quarter turn moves pixels: y_g holds the corner moved by r^g.
        ring = self.ring(images)[:, [0, 2, 3, 1]]
        out: Tensor = self.second(self.between(self.first(ring)))
        return out


def _circulant(weights: list[float]) -> nn.Linear:
    """W[gh, g] = weights[h]."""
    layer = nn.Linear(4, 4, bias=False)
    columns = [torch.tensor(weights).roll(g) for g in range(4)]
    layer.weight = nn.Parameter(torch.stack(columns, dim=1))
    return layer


@pytest.fixture
def pictures() -> Float[Tensor, "n 1 2 2"]:
    return torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(0)) + 0.5


@pytest.fixture
def corner() -> Float[Tensor, "atoms 4"]:
    """One atom, the first of the four corners; its orientations are all of them."""
    return torch.eye(4)[:1]


@pytest.fixture
def sites(corner: Tensor) -> tuple[Site, Site]:
    """Every coordinate of both layers is a feature, and all are active."""
    return (
        Site("first", rows_sae(corner, 4, "Ring:first")),
        Site("second", rows_sae(corner, 4, "Ring:second")),
    )
