"""Kernel regression from anchors, and the layers whose weights live there."""

import jaxtyping
import pytest
import torch
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.relax.factored import FactoredLinear
from orbitlens.symmetry.relax.sparse import KernelRegression, SparseConv2d, SparseFactoredLinear


def readout_by_hand(layer: KernelRegression, omega: float) -> Tensor:
    """(K_zz + s^2 I)^-1 K_zt, entry by entry."""
    middle = (layer.side - 1) / 2
    pixels = [(i - middle, j - middle) for i in range(layer.side) for j in range(layer.side)]
    anchors = layer.anchors.double()
    near = torch.zeros(len(anchors), len(anchors), dtype=torch.float64)
    far = torch.zeros(len(anchors), len(pixels), dtype=torch.float64)
    for i, z in enumerate(anchors):
        for j, other in enumerate(anchors):
            near[i, j] = (1 + 1e-6) * torch.exp(-(omega**2) * ((z - other) ** 2).sum() / 2)
        for j, pixel in enumerate(pixels):
            to = z - torch.tensor(pixel, dtype=torch.float64)
            far[i, j] = (1 + 1e-6) * torch.exp(-(omega**2) * (to**2).sum() / 2)
    return torch.linalg.inv(near + 0.01**2 * torch.eye(len(anchors))) @ far


@pytest.mark.parametrize("omega", [0.5, 1.0])
@pytest.mark.parametrize("learned", [False, True])
def test_the_readout_is_the_formula_of_kernel_regression(omega: float, learned: bool) -> None:
    layer = KernelRegression(3, omega=omega, learn_omega=learned).double()
    found = layer.matrix()
    assert found.shape == (4, 9)
    assert torch.allclose(found, readout_by_hand(layer, omega), atol=1e-3)


def test_values_at_anchors_are_read_out_nearly_as_they_are_where_a_pixel_is_an_anchor() -> None:
    layer = KernelRegression(2, share=1.0, learn_omega=True)
    layer.anchors.copy_(torch.tensor([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]))
    u = torch.randn(3, 4)
    assert torch.allclose(layer(u), u, atol=5e-3)


def test_the_first_values_are_the_least_squares_ones() -> None:
    layer = KernelRegression(4).double()
    pixels = torch.randn(5, 16, dtype=torch.float64)
    u = layer.values(pixels)
    gradient = (layer(u) - pixels) @ layer.matrix().T
    assert gradient.abs().max() < 1e-6


def test_the_anchors_are_uniform_over_the_grid_and_fixed() -> None:
    layer = KernelRegression(32)
    assert layer.anchors.shape == (512, 2)
    assert layer.anchors.abs().max() <= 15.5
    assert layer.anchors.std(0).sub(31 / 12**0.5).abs().max() < 1
    assert "anchors" in dict(layer.named_buffers())
    assert not list(layer.parameters())


def test_omega_is_learned_where_that_is_asked_for() -> None:
    layer = SparseFactoredLinear(1, 2, 4, 4, learn_omega=True)
    layer(torch.randn(3, 1, 4, 4)).square().sum().backward()
    omegas = [p for name, p in layer.named_parameters() if name.endswith("log_omega")]
    assert len(omegas) == 2
    assert all(p.grad is not None and p.grad != 0 for p in omegas)


def test_a_sparse_factored_map_is_the_factored_map_of_its_readouts() -> None:
    sparse = SparseFactoredLinear(2, 3, 4, 2).double()
    whole = FactoredLinear(2, 3, 4, 2).double()
    with torch.no_grad():
        sparse.v.bias.normal_()  # type: ignore[union-attr]
        whole.u.weight.copy_(sparse.read_in(sparse.u.weight))
        whole.v.weight.copy_(torch.einsum("mq,moc->qoc", sparse.read_out.matrix(), sparse.v.weight))
        whole.v.bias.copy_(sparse.read_out(sparse.v.bias))  # type: ignore[union-attr,arg-type]
    x = torch.randn(5, 2, 4, 4, dtype=torch.float64)
    assert torch.allclose(sparse(x), whole(x), atol=1e-12)


def test_a_sparse_convolution_commutes_with_shifts_and_is_that_of_its_filters() -> None:
    layer = SparseConv2d(2, 3).double()
    x = torch.randn(4, 2, 5, 5, dtype=torch.float64)
    assert layer.weight.shape == (3, 2, 4)
    assert SparseConv2d(2, 3, share=0.8).weight.shape == (3, 2, 7)
    moved = layer(x.roll((2, 3), (2, 3)))
    assert torch.allclose(moved, layer(x).roll((2, 3), (2, 3)), atol=1e-12)
    middle = torch.zeros(1, 2, 5, 5, dtype=torch.float64)
    middle[0, 1, 2, 2] = 1
    assert torch.allclose(layer(middle)[0, :, 1:4, 1:4].flip(1, 2), layer.filters()[:, 1])


def test_non_square_maps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="pad or crop the maps to squares"):
        SparseFactoredLinear(1, 1, 4, 4)(torch.zeros(1, 1, 4, 6))


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [("share", 0.0, "a share of the pixels"), ("share", 1.5, "share"), ("omega", 0.0, "above 0")],
)
def test_numbers_out_of_range_are_refused(argument: str, value: float, words: str) -> None:
    with pytest.raises(OrbitLensError, match=words):
        KernelRegression(4, **{argument: value})  # type: ignore[arg-type]
