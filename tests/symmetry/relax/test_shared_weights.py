"""Shared weights: exact convolutions as U v, Proposition 1, and the Kronecker form."""

import jaxtyping
import pytest
import torch
from torch import nn
from torch.nn.functional import conv1d, conv2d

from orbitlens.data import TurnedFields
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.groups import from_name
from orbitlens.reps import regular
from orbitlens.symmetry.relax.known_sharing import convolution_basis, toeplitz
from orbitlens.symmetry.relax.shared_weights import SharedConv2d, SharedLinear, shared_names

GROUPS = ("C2", "C5", "D3", "D4", "S3", "C2xC3", "O")


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def whole(*shape: int, seed: int = 0) -> torch.Tensor:
    """Small whole numbers, whose sums have no rounding errors."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-9, 10, shape, generator=generator).double()


@pytest.mark.parametrize(("length", "width"), [(70, 3), (9, 4), (6, 5)])
def test_the_analytic_u_gives_conv1d_exactly(length: int, width: int) -> None:
    places = length - width + 1
    layer = SharedLinear.from_basis(toeplitz(places, length, width), length, places)
    x, taps = whole(6, length), whole(width, seed=1)
    layer.filter.data = taps
    assert torch.equal(layer(x), conv1d(x[:, None], taps[None, None])[:, 0])


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_convolution_has_such_a_u(name: str) -> None:
    """Proposition 1, against the sum over the group."""
    group = from_name(name)
    layer = SharedLinear.from_basis(convolution_basis(group), group.order, group.order)
    x, v = whole(4, group.order), whole(group.order, seed=1)
    layer.filter.data = v
    expected = torch.zeros_like(x)
    for g in range(group.order):
        for h in range(group.order):
            expected[:, g] += x[:, h] * v[group.multiply(int(group.inverses[h]), g)]
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("name", GROUPS)
def test_a_layer_with_that_u_commutes_with_the_group(name: str) -> None:
    group = from_name(name)
    layer = SharedLinear.from_basis(convolution_basis(group), group.order, group.order)
    layer.filter.data = whole(group.order)
    x = whole(3, group.order, seed=2)
    for matrix in regular(group).matrices:
        assert torch.equal(layer(x @ matrix.T), layer(x) @ matrix.T)


def test_turned_fields_have_such_a_u() -> None:
    """Each column of U is one tap of one field, put where the turns of the group put it."""
    tasks = TurnedFields(fields=2, side=5)
    matrices, (order, taps) = tasks.taps.matrices, (8, 9)
    basis = torch.zeros(2, order, taps, 2, taps, dtype=torch.float64)
    for field in range(2):
        basis[field, :, :, field] = matrices
    layer = SharedLinear.from_basis(basis.reshape(-1, 2 * taps), taps, 2 * order)
    filters, image = whole(2, taps), whole(1, 1, 5, 5, seed=1)
    layer.filter.data = filters.flatten()
    turned = torch.einsum("gij,fj->fgi", matrices, filters).reshape(16, 1, 3, 3)
    patches = image.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2)[:, 0]
    assert torch.equal(layer(patches).movedim(-1, 1), conv2d(image, turned))


def test_rows_of_w_follow_each_other_in_u_v() -> None:
    layer = SharedLinear(3, 2, k=4)
    expected = (layer.symmetry @ layer.filter).tolist()
    assert layer.weight.flatten().tolist() == expected
    x = torch.randn(5, 3)
    torch.testing.assert_close(layer(x)[:, 1], x @ layer.weight[1])


def test_the_initial_values_are_those_of_the_source() -> None:
    layer = SharedLinear(70, 68, k=30, seed=3)
    assert layer.symmetry.std().item() == pytest.approx(0.01, rel=0.02)
    assert layer.filter.std().item() == pytest.approx(1 / 68, rel=0.5)
    assert layer.bias is None
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    again = SharedLinear(70, 68, k=30, seed=3)
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(again.symmetry, layer.symmetry)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("kernel_size", [3, (2, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kronecker_form_begins_as_the_plain_convolution(
    padding: int, kernel_size: int | tuple[int, int], dtype: torch.dtype
) -> None:
    layer = SharedConv2d(3, 4, kernel_size, padding=padding).to(dtype)
    x = draw(2, 3, 8, 8).to(dtype)
    kernel = layer.kernel.unflatten(2, layer.kernel_size)
    assert torch.equal(layer.weight, kernel)
    assert torch.equal(layer(x), conv2d(x, kernel, padding=padding))


def test_the_kronecker_form_is_the_product_of_its_three_matrices() -> None:
    layer = SharedConv2d(2, 3, 2).double()
    for number, name in enumerate(layer.shared):
        matrix = layer.get_parameter(name)
        matrix.data = draw(*matrix.shape, seed=number)
    a, b, c = (layer.get_parameter(name) for name in layer.shared)
    expected = torch.kron(torch.kron(a, b), c) @ layer.kernel.flatten()
    torch.testing.assert_close(layer.weight.flatten(), expected, rtol=1e-13, atol=1e-13)


def test_the_kronecker_form_of_one_tap_is_a_dense_layer() -> None:
    layer = SharedConv2d(5, 4, 1)
    x = torch.randn(2, 5)
    torch.testing.assert_close(layer(x[:, :, None, None])[..., 0, 0], x @ layer.weight[..., 0, 0].T)


def test_layers_say_what_they_share_wherever_they_stand() -> None:
    network = nn.Sequential(SharedConv2d(1, 2, 3), nn.Flatten(), SharedLinear(8, 3, 2, bias=True))
    shared = {"0.out_mixing", "0.in_mixing", "0.tap_mixing", "2.symmetry"}
    assert set(shared_names(network)) == shared
    assert shared_names(SharedLinear(3, 2, 1)) == ("symmetry",)
    assert shared_names(nn.Linear(3, 2)) == ()


def test_as_many_numbers_as_weights_are_warned_of() -> None:
    for k in (12, 13):
        with pytest.warns(OrbitLensWarning, match="only 4 x 3 = 12 weights, so none need be"):
            SharedLinear(3, 4, k)
    SharedLinear(3, 4, 11)


def test_a_u_that_would_not_fit_is_refused_with_the_kronecker_form_as_remedy() -> None:
    message = r"4096 -> 4096 with k = 9: .* received 150,994,944, 576 MiB; use the Kronecker form"
    with pytest.raises(OrbitLensError, match=message):
        SharedLinear(4096, 4096, 9)
    assert SharedLinear(70, 68, 30).symmetry.shape == (4760, 30)


def test_sizes_below_one_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OrbitLensError, match="`k`: expected at least 1, received 0"):
        SharedLinear(3, 4, 0)
    with pytest.raises(OrbitLensError, match="`in_features`: expected at least 1"):
        SharedLinear(0, 4, 1)
    with pytest.raises(OrbitLensError, match="`kernel_size`: expected one number, or two"):
        SharedConv2d(1, 1, (3, 3, 3))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=r"`basis`: expected shape \[weights = 12, k\]"):
        SharedLinear.from_basis(torch.zeros(11, 2), 3, 4)


def test_inputs_of_another_width_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=r"last axis is 3 long, received shape \[2, 5\]"):
        SharedLinear(3, 4, 2)(torch.zeros(2, 5))
    with pytest.raises(OrbitLensError, match=r"images \[n, 2, height, width\], received shape"):
        SharedConv2d(2, 4, 3)(torch.zeros(1, 3, 5, 5))
