"""Tied weights, both ways of computing them, against the matrices of the representation."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from orbitlens import groups
from orbitlens.groups import Group
from orbitlens.kernels import _tiles as tiles
from orbitlens.reps import direct_sum, irreps, tensor_product
from orbitlens.sae import Tied, tied
from orbitlens.testing import assert_equivariant
from orbitlens.typing import Tensor

GROUPS = [
    *(groups.cyclic(n) for n in range(1, 9)),
    *(groups.dihedral(n) for n in range(1, 9)),
    groups.product(groups.cyclic(2), groups.cyclic(3)),
    groups.product(groups.cyclic(3), groups.dihedral(3)),
    groups.symmetric(3),
    groups.octahedral(),
    groups.permutation_group([(1, 2, 3, 0, 5, 6, 7, 4), (4, 7, 6, 5, 2, 1, 0, 3)], "Q8"),
]
every_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
WAYS = ("dense", "blocks")
every_way = pytest.mark.parametrize("way", WAYS)
ROUNDING = {"atol": 1e-5, "rtol": 1e-5}
"""Everything here is float64, but a `Tied` keeps its irreps in float32."""


@contextmanager
def taking(way: str, *, tile: int = 1, rows: int = 3) -> Iterator[None]:
    """Take one way whatever the shapes; tiles are smaller than the tensors of a test."""
    few = {"dense": 10**9, "blocks": 0}[way]
    with (
        patch.object(tied, "_FEW", few),
        patch.multiple(tiles, _TILE=tile, _FEWEST_ROWS=rows),
    ):
        yield


class Case:
    """Random multiplicities, and inputs for the form T(y, w, z)."""

    def __init__(
        self,
        group: Group,
        seed: int = 0,
        *,
        batch: int = 7,
        atoms: int = 5,
        stack: tuple[int, ...] = (),
        most: int = 3,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        kinds = irreps(group)
        copies = torch.randint(most + 1, (len(kinds),), generator=generator)
        copies[seed % len(kinds)] += 1
        self.group, self.multiplicities = group, tuple(copies.tolist())
        self.tied = Tied(group, self.multiplicities).double()

        def random(*shape: int) -> Tensor:
            return torch.randn(*stack, *shape, generator=generator).double().requires_grad_()

        self.y, self.w = random(batch, self.tied.dim), random(atoms, self.tied.dim)
        self.z = random(batch, group.order * atoms)

    @property
    def matrices(self) -> Tensor:
        """rho(g) in coordinates [irrep, component, copy], copies fastest."""
        trivial, *_ = irreps(self.group)
        return direct_sum(
            *(
                tensor_product(irrep, direct_sum(*[trivial] * m))
                for irrep, m in zip(irreps(self.group), self.multiplicities, strict=True)
                if m
            )
        ).matrices

    @property
    def expanded(self) -> Tensor:
        """rho(g) w_c, shape [|G| * atoms, dim]."""
        return torch.stack([self.w @ rho.T for rho in self.matrices]).flatten(0, 1)


def results(case: Case) -> dict[str, Tensor]:
    """What both methods give, and their gradients along fixed directions."""
    products, sums = case.tied.products(case.y, case.w), case.tied.sums(case.z, case.w)
    return with_gradients(case, products, sums)


def with_gradients(case: Case, products: Tensor, sums: Tensor) -> dict[str, Tensor]:
    y, w, z = case.y, case.w, case.z
    of_products = torch.autograd.grad(products, (y, w), z.detach().cos())
    of_sums = torch.autograd.grad(sums, (z, w), y.detach().cos())
    names = ("products", "sums", "products by y", "products by w", "sums by z", "sums by w")
    return dict(zip(names, (products, sums, *of_products, *of_sums), strict=True))


@every_group
@every_way
class TestAgainstMatrices:
    def test_values_and_gradients(self, group: Group, way: str) -> None:
        case = Case(group)
        expected = with_gradients(case, case.y @ case.expanded.T, case.z @ case.expanded)
        with taking(way):
            received = results(case)
        for name, value in expected.items():
            torch.testing.assert_close(
                received[name], value, msg=lambda m, n=name: f"{n}: {m}", **ROUNDING
            )

    def test_orbits(self, group: Group, way: str) -> None:
        del way
        case = Case(group, seed=1)
        torch.testing.assert_close(
            case.tied.orbits(case.w).flatten(0, 1), case.expanded, **ROUNDING
        )

    def test_sums_are_the_adjoint_of_products(self, group: Group, way: str) -> None:
        case = Case(group, seed=2)
        with taking(way):
            left = (case.tied.products(case.y, case.w) * case.z).sum()
            right = (case.tied.sums(case.z, case.w) * case.y).sum()
        torch.testing.assert_close(left, right, atol=1e-10, rtol=1e-10)

    def test_products_are_equivariant(self, group: Group, way: str) -> None:
        case = Case(group, seed=3)
        # a(rho(h) y)[hg] = a(y)[g]
        moves = torch.zeros(group.order, group.order, group.order, dtype=torch.float64)
        for h in range(group.order):
            moves[h, torch.from_numpy(group.table[h].copy()), torch.arange(group.order)] = 1
        moves = torch.stack([torch.kron(move, torch.eye(5, dtype=move.dtype)) for move in moves])
        with taking(way):
            assert_equivariant(
                lambda y: case.tied.products(y, case.w),
                case.matrices,
                moves,
                case.y,
                tolerance=1e-6,
            )

    def test_a_stack_does_what_its_members_do_alone(self, group: Group, way: str) -> None:
        case = Case(group, seed=4, batch=4, atoms=2, stack=(2,))
        alone = case.tied.kernel
        # As `stack_saes` does with every buffer.
        case.tied.kernel = torch.stack([alone] * 2)
        with taking(way):
            together = results(case)
            case.tied.kernel = alone
            for member in range(2):
                single = Case(group, seed=4, batch=4, atoms=2)
                for name in ("y", "w", "z"):
                    setattr(single, name, getattr(case, name)[member].detach().requires_grad_())
                for name, value in results(single).items():
                    torch.testing.assert_close(together[name][member], value)


@every_way
@pytest.mark.parametrize(
    "group", [groups.cyclic(3), groups.dihedral(3)], ids=lambda group: group.name
)
def test_derivatives_of_both_orders_by_finite_differences(group: Group, way: str) -> None:
    case = Case(group, batch=4, atoms=2, most=1)
    with taking(way):
        for method, inputs in (
            (case.tied.products, (case.y, case.w)),
            (case.tied.sums, (case.z, case.w)),
        ):
            # Along random directions: entry by entry takes minutes.
            assert gradcheck(method, inputs, fast_mode=True)
            assert gradgradcheck(method, inputs, fast_mode=True)


@given(
    group=st.sampled_from(GROUPS),
    batch=st.integers(0, 9),
    atoms=st.integers(1, 6),
    stack=st.sampled_from([(), (1,), (4,)]),
    tile=st.integers(1, 200),
    rows=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_blocks_agree_with_dense_for_any_shapes_and_tiles(
    group: Group, batch: int, atoms: int, stack: tuple[int, ...], tile: int, rows: int, seed: int
) -> None:
    case = Case(group, seed, batch=batch, atoms=atoms, stack=stack)
    with taking("dense"):
        expected = results(case)
    with taking("blocks", tile=tile, rows=rows):
        received = results(case)
    for name, value in expected.items():
        torch.testing.assert_close(
            received[name], value, msg=lambda m, n=name: f"{n}: {m}", **ROUNDING
        )


@pytest.mark.parametrize(
    ("group", "multiplicities"),
    [(groups.cyclic(4), (20, 20, 20)), (groups.dihedral(4), (10, 10, 10, 10, 20))],
    ids=["C4", "D4"],
)
def test_of_many_coordinates_blocks_agree_to_rounding(
    group: Group, multiplicities: tuple[int, ...]
) -> None:
    layer = Tied(group, multiplicities)
    y, w = torch.randn(2, 50, layer.dim, generator=torch.Generator().manual_seed(0))
    with patch.object(tied, "tiled_products", wraps=tied.tiled_products) as in_blocks:
        products = layer.products(y, w)
    in_blocks.assert_called_once()
    dense = y @ layer.orbits(w).flatten(0, 1).T
    assert (products - dense).abs().max() < 1e-5 * dense.std()


def test_only_the_gradients_that_are_asked_for() -> None:
    case = Case(groups.cyclic(4))
    case.y.requires_grad_(False)
    with taking("blocks"), patch.object(tiles, "tiled_sums") as of_y:
        case.tied.products(case.y, case.w).sum().backward()
    of_y.assert_not_called()
    assert case.w.grad is not None


def test_products_by_hand() -> None:
    # C4 turns the plane: w = (1, 0) goes to (0, 1), (-1, 0), (0, -1), or the other way round.
    layer = Tied(groups.cyclic(4), (0, 0, 1)).double()
    y, w = torch.tensor([[2.0, 3.0]]).double(), torch.tensor([[1.0, 0.0]]).double()
    for way in WAYS:
        with taking(way):
            products = layer.products(y, w)[0].tolist()
        assert products[0::2] == pytest.approx([2.0, -2.0])
        assert sorted(products[1::2]) == pytest.approx([-3.0, 3.0])


def test_an_irrep_without_copies_takes_no_coordinates() -> None:
    weights = Tied(groups.cyclic(4), (2, 0, 1))
    y, w = torch.ones(3, 4), torch.ones(5, 4)
    assert weights.dim == 4
    assert weights.products(y, w).shape == (3, 20)
    assert weights.sums(torch.ones(3, 20), w).shape == (3, 4)
    assert weights.orbits(w).shape == (4, 5, 4)
