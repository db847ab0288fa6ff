"""The factored map: its dense matrix, its size, its first weights."""

import jaxtyping
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.relax.factored import FactoredLinear

sizes = st.integers(1, 4)


def dense(layer: FactoredLinear) -> Float[Tensor, "out_q in_p"]:
    """The matrix of the layer: V[q, c', c] U[c', c, p]."""
    parts = torch.einsum("qoc,ocp->oqcp", layer.v.weight, layer.u.weight)
    return parts.flatten(2).flatten(0, 1)


def offset(layer: FactoredLinear) -> Float[Tensor, " out_q"]:
    """Its constant: b_q + sum_c V[q, c', c] a_c'."""
    assert layer.u.bias is not None
    assert layer.v.bias is not None
    through = torch.einsum("qoc,o->oq", layer.v.weight, layer.u.bias)
    return (through + layer.v.bias).flatten()


@given(c=sizes, out=sizes, side=sizes, side_out=sizes)
def test_it_is_a_dense_map_whose_parts_have_rank_one(
    c: int, out: int, side: int, side_out: int
) -> None:
    layer = FactoredLinear(c, out, side, side_out).double()
    with torch.no_grad():
        for bias in (layer.u.bias, layer.v.bias):
            assert bias is not None
            bias.normal_()
    x = torch.randn(3, c, side, side, dtype=torch.float64)
    expected = x.flatten(1) @ dense(layer).T + offset(layer)
    assert torch.allclose(layer(x).flatten(1), expected, atol=1e-12)
    part = dense(layer).unflatten(0, (out, -1)).unflatten(2, (c, -1))[0, :, 0]
    assert torch.linalg.matrix_rank(part) <= 1


def test_it_has_far_fewer_weights_than_the_dense_map() -> None:
    layer = FactoredLinear(3, 8, 16, 8)
    assert sum(p.numel() for p in layer.parameters()) == 8 * 3 * (256 + 64) + 8 + 64


def test_outputs_have_about_the_variance_of_the_inputs() -> None:
    torch.manual_seed(0)
    found = FactoredLinear(16, 16, 16, 16)(torch.randn(50, 16, 16, 16)).var()
    assert 0.8 < found < 1.2


def test_its_matrix_is_no_convolution() -> None:
    layer = FactoredLinear(1, 1, 4, 4).double()
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    assert not torch.allclose(layer(x.roll(1, 2)), layer(x).roll(1, 2))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ([2, 3, 8, 6], "pad or crop the maps to squares"),
        ([2, 3, 6, 6], "build the layer for their channels and side"),
        ([2, 1, 8, 8], "build the layer for their channels and side"),
        ([3, 8, 8], r"received shape \[3, 8, 8\]"),
    ],
)
def test_maps_of_another_shape_are_refused(
    shape: list[int], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=words):
        FactoredLinear(3, 4, 8, 4)(torch.zeros(shape))


@pytest.mark.parametrize("name", ["in_channels", "out_channels", "in_side", "out_side"])
def test_sizes_below_one_are_refused(name: str) -> None:
    arguments = {"in_channels": 1, "out_channels": 1, "in_side": 2, "out_side": 2, name: 0}
    with pytest.raises(OrbitLensError, match=f"`{name}`: expected at least 1, received 0"):
        FactoredLinear(**arguments)
