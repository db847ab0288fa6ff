"""The shared group layers: every element, every layer, both kinds of images."""

from collections.abc import Callable

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

from orbitlens import groups
from orbitlens.actions import images, move_on_plane
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, plane_group_with
from orbitlens.models import (
    GroupConv2d,
    GroupLinear,
    LiftingConv2d,
    LiftingLinear,
    ProjectingConv2d,
    group_pool,
    joined,
)
from orbitlens.reps import direct_sum, irreps, regular
from orbitlens.testing import assert_equivariant

ALL = [groups.from_name(name) for name in ("C1", "C2", "C4", "D1", "D2", "D4")]
FINITE = [groups.from_name(name) for name in ("C1", "C5", "D3", "S3", "C2xC3", "S4")]
LAYERS = (LiftingConv2d, GroupConv2d, ProjectingConv2d)
every_group = pytest.mark.parametrize("group", ALL, ids=lambda group: group.name)
every_finite_group = pytest.mark.parametrize("group", FINITE, ids=lambda group: group.name)
every_layer = pytest.mark.parametrize("kind", LAYERS)
both_paddings = pytest.mark.parametrize("padding", ["zeros", "circular"])
TOLERANCE = 1e-12

_Maps = Float[Tensor, "n channels height width"]


def noise(*shape: int, seed: int = 0) -> Float[Tensor, "..."]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def built(kind: type[nn.Module], group: Group, kernel: int = 3, **settings: object) -> nn.Module:
    """A layer of two features or channels in and three out, with biases that are not zero."""
    torch.manual_seed(1)
    layer = kind(group, 2, 3, kernel, **settings).double()
    nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(2))
    return layer


def turned(maps: _Maps, group: Group, element: int, *, functions: bool) -> _Maps:
    """Move maps about the centre of the image: places, and the values of functions."""
    moved = images(group)(maps, element)
    if not functions:
        return moved
    own = torch.from_numpy(group.table[group.inverses[element]].copy())
    return moved.unflatten(1, (-1, group.order))[:, :, own].flatten(1, 2)


def sides(kind: type[nn.Module], group: Group) -> tuple[bool, bool, int]:
    """Whether the input and the output are functions on the group, and the channels in."""
    lifts, projects = kind is LiftingConv2d, kind is ProjectingConv2d
    return not lifts, not projects, 2 if lifts else 2 * group.order


@every_group
@every_layer
@both_paddings
@pytest.mark.parametrize(("kernel", "side"), [(3, 4), (5, 5)])
def test_a_convolution_commutes_with_every_turn_and_flip_of_the_image(
    group: Group, kind: type[nn.Module], padding: str, kernel: int, side: int
) -> None:
    layer, (before, after, channels) = (
        built(kind, group, kernel, padding=padding),
        sides(kind, group),
    )
    x = noise(2, channels, side, side)
    plain = layer(x)
    for g in range(group.order):
        moved = layer(turned(x, group, g, functions=before))
        expected = turned(plain, group, g, functions=after)
        torch.testing.assert_close(moved, expected, rtol=TOLERANCE, atol=TOLERANCE)


@every_group
@every_layer
@pytest.mark.parametrize("side", [3, 4])
def test_a_circular_convolution_commutes_with_every_element_of_its_plane_group(
    group: Group, kind: type[nn.Module], side: int
) -> None:
    turns, flips = groups.turns_and_flips(group) or (1, False)
    plane = plane_group_with(turns, flips, side)
    layer, (before, after, channels) = built(kind, group, padding="circular"), sides(kind, group)
    every = plane.element(torch.arange(plane.order))
    x = noise(1, channels, side, side)
    moved = layer(move_on_plane(x.expand(plane.order, -1, -1, -1), every, plane, regular=before))
    copies = layer(x).expand(plane.order, -1, -1, -1)
    expected = move_on_plane(copies, every, plane, regular=after)
    torch.testing.assert_close(moved, expected, rtol=TOLERANCE, atol=TOLERANCE)


@every_group
@every_layer
def test_maps_that_bring_their_margin_need_no_padding(group: Group, kind: type[nn.Module]) -> None:
    circular, none = (built(kind, group, 5, padding=padding) for padding in ("circular", "none"))
    x = noise(2, sides(kind, group)[2], 4, 6)
    assert torch.equal(none(joined(x, 2, 2)), circular(x))


@every_layer
def test_a_free_share_breaks_the_symmetry_by_degrees(kind: type[nn.Module]) -> None:
    group = groups.dihedral(4)
    whole, same, half = (built(kind, group, broken=share) for share in (None, 0.0, 0.5))
    before, after, channels = sides(kind, group)
    x = noise(2, channels, 5, 5)
    torch.testing.assert_close(whole(x), same(x), rtol=0, atol=0)
    assert "free" not in whole.state_dict()
    moved, expected = half(turned(x, group, 1, functions=before)), half(x)
    assert not torch.allclose(moved, turned(expected, group, 1, functions=after), atol=0.1)


@every_group
def test_projecting_is_the_transpose_of_lifting(group: Group) -> None:
    lift, project = (
        LiftingConv2d(group, 2, 3, bias=False),
        ProjectingConv2d(group, 3, 2, bias=False),
    )
    # A correlation has the correlation with the kernel upside down as its transpose.
    project.tied.data = lift.tied.data.transpose(0, 1).flip(-1, -2)
    assert lift.bias is None
    x, y = noise(1, 2, 5, 5).float(), noise(1, 3 * group.order, 5, 5, seed=1).float()
    torch.testing.assert_close((lift(x) * y).sum(), (x * project(y)).sum(), rtol=1e-4, atol=1e-4)


def test_the_trivial_group_gives_ordinary_convolutions() -> None:
    x = noise(2, 2, 5, 5)
    for kind in LAYERS:
        layer = built(kind, groups.cyclic(1))
        expected = conv2d(x, layer.tied[:, :, 0], layer.bias, padding=1)
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)


def test_gradients_of_a_circular_layer_agree_with_finite_differences() -> None:
    layer = built(GroupConv2d, groups.cyclic(2), padding="circular")
    x = noise(1, 4, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(lambda y: joined(y, 2, 1), (x,))


@settings(max_examples=20)
@given(
    before=st.integers(-2, 3),
    after=st.integers(-2, 3),
    height=st.integers(3, 5),
    seed=st.integers(),
)
def test_the_margin_continues_the_torus(before: int, after: int, height: int, seed: int) -> None:
    x = noise(1, 1, height, 4, seed=abs(seed) % 100)[..., :3]
    if before + height + after < 1 or before + 3 + after < 1:
        return
    rows = torch.arange(-before, height + after) % height
    columns = torch.arange(-before, 3 + after) % 3
    assert torch.equal(joined(x, before, after), x[:, :, rows][..., columns])


@every_finite_group
def test_pooling_is_invariant_and_pools_each_function_alone(group: Group) -> None:
    x = noise(2, 3 * group.order, 4)
    functions = x.unflatten(1, (3, group.order))
    assert torch.equal(group_pool(x, group, "max"), functions.amax(2))
    torch.testing.assert_close(group_pool(x, group), functions.mean(2))
    for g in range(group.order):
        own = torch.from_numpy(group.table[group.inverses[g]].copy())
        moved = functions[:, :, own].flatten(1, 2)
        for how in ("mean", "max"):
            torch.testing.assert_close(group_pool(moved, group, how), group_pool(x, group, how))


@every_finite_group
def test_linear_layers_commute_with_every_element(group: Group) -> None:
    torch.manual_seed(2)
    on_input = direct_sum(*irreps(group))
    on_features = direct_sum(*[regular(group)] * 3)
    lift = LiftingLinear(on_input, 3).double()
    linear = GroupLinear(group, 3, 2).double()
    for layer in (lift, linear):
        nn.init.normal_(layer.bias)
    out = direct_sum(*[regular(group)] * 2).matrices
    matrices = (on_input.matrices, on_features.matrices, out)
    for layer, before, after in zip((lift, linear), matrices, matrices[1:], strict=False):
        x = noise(4, before.shape[-1])
        assert_equivariant(layer, before, after, x, tolerance=TOLERANCE)


@every_finite_group
def test_every_map_that_commutes_is_a_group_linear_layer(group: Group) -> None:
    # Those of the regular representation to itself have as many dimensions as the group elements.
    torch.manual_seed(3)
    layer = GroupLinear(group, 1, 1, bias=False).double()
    identity = torch.eye(group.order, dtype=torch.float64)
    found = []
    for weight in identity:
        layer.tied.data = weight.reshape(1, 1, -1)
        found.append(layer(identity).flatten().detach())
    assert torch.linalg.matrix_rank(torch.stack(found)) == group.order


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LiftingConv2d("C3", 1, 1), "C1, C2, C4, D1, D2 or D4.*received C3"),
        (lambda: GroupConv2d("C4", 1, 1, 2), "`kernel`: expected an odd number of pixels"),
        (lambda: GroupConv2d("C4", 0, 1), "`in_features`: .*at least 1, received 0"),
        (lambda: GroupConv2d("C4", 1, 1, padding="same"), "zeros, circular, none.*'same'"),
        (lambda: ProjectingConv2d("C4", 1, 1, broken=2.0), "`broken`: expected 0 to 1"),
        (lambda: group_pool(torch.zeros(1, 5), "C4"), r"features \* 4, .*received \[1, 5\]"),
        (lambda: group_pool(torch.zeros(1, 4), "C4", "sum"), "mean, max, received 'sum'"),
        (lambda: GroupLinear("S3", 1, 0), "`out_features`: .*at least 1, received 0"),
        (lambda: LiftingLinear(regular("C2"), 0), "`features`: .*at least 1, received 0"),
    ],
)
def test_impossible_layers_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        call()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (LiftingConv2d("C4", 1, 2), (1, 3, 5, 5), r"\[batch, 1, .*float32 of shape \[1, 3, 5, 5\]"),
        (LiftingConv2d("C4", 1, 2), (1, 5, 5), r"\[batch, 1, height, width\], .*\[1, 5, 5\]"),
        (GroupConv2d("C4", 2, 2), (1, 4, 5, 5), r"\[batch, 8, height, width\], .*\[1, 4, 5, 5\]"),
        (ProjectingConv2d("C4", 2, 1), (1, 2, 5, 5), r"\[batch, 8, .*\[1, 2, 5, 5\]"),
        (
            LiftingConv2d("C4", 1, 2, 7, padding="circular"),
            (1, 1, 2, 2),
            "margin of maps of 2 x 2 places: expected at most .*received 3",
        ),
        (
            LiftingLinear(regular("D3"), 2),
            (1, 5),
            r"\[..., 6\], received float32 of shape \[1, 5\]",
        ),
        (GroupLinear("C4", 2, 1), (1, 4), r"\[..., 8\], received float32 of shape \[1, 4\]"),
    ],
)
def test_maps_that_a_layer_was_not_built_for_are_refused(
    monkeypatch: pytest.MonkeyPatch, layer: nn.Module, shape: tuple[int, ...], message: str
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        layer(torch.zeros(shape))


@pytest.mark.parametrize("layer", [LiftingConv2d("C1", 1, 1), GroupLinear("C1", 3, 1)])
def test_whole_numbers_are_no_maps(monkeypatch: pytest.MonkeyPatch, layer: nn.Module) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="expected floats .*received int64"):
        layer(torch.zeros(1, 1, 3, 3, dtype=torch.int64))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_margin_keeps_the_order_of_maps_in_memory(memory: torch.memory_format) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=memory)
    x.requires_grad_()
    wide = joined(x, 2, 1)
    wide.square().sum().backward()
    assert wide.is_contiguous(memory_format=memory)
    assert x.grad.is_contiguous(memory_format=memory)
    assert torch.equal(wide, joined(x.detach().contiguous(), 2, 1))


def test_a_margin_can_be_mapped_over_batches() -> None:
    x = torch.randn(3, 2, 2, 4, 4).permute(0, 1, 4, 2, 3)
    together = torch.vmap(lambda maps: joined(maps, 1, 2))(x)
    assert torch.equal(together, torch.stack([joined(maps, 1, 2) for maps in x]))
