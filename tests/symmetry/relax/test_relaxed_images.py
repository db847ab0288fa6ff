"""Relaxed layers on images: every element, both layers, and what they refuse."""

from collections.abc import Callable

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens import groups
from orbitlens.actions import images
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.models import GroupConv2d, LiftingConv2d
from orbitlens.symmetry.relax.relaxed_images import RelaxedGroupConv2d, RelaxedLiftingConv2d

ALL = [groups.from_name(name) for name in ("C2", "C4", "D1", "D4")]
every_group = pytest.mark.parametrize("group", ALL, ids=lambda group: group.name)
LAYERS = {RelaxedLiftingConv2d: LiftingConv2d, RelaxedGroupConv2d: GroupConv2d}
every_layer = pytest.mark.parametrize("kind", LAYERS)

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


def channels(kind: type[nn.Module], group: Group) -> int:
    return 2 if kind is RelaxedLiftingConv2d else 2 * group.order


def turned(maps: _Maps, group: Group, element: int, *, functions: bool) -> _Maps:
    """Move maps about the centre of the image: places, and the values of functions."""
    moved = images(group)(maps, element)
    if not functions:
        return moved
    own = torch.from_numpy(group.table[group.inverses[element]].copy())
    return moved.unflatten(1, (-1, group.order))[:, :, own].flatten(1, 2)


@torch.no_grad()
def error(layer: nn.Module, group: Group, x: _Maps) -> float:
    """The largest relative error over the elements."""
    functions, plain = isinstance(layer, RelaxedGroupConv2d), layer(x)
    errors = [
        (
            layer(turned(x, group, g, functions=functions))
            - turned(plain, group, g, functions=True)
        ).norm()
        / plain.norm()
        for g in range(group.order)
    ]
    return float(torch.stack(errors).max())


@every_group
@every_layer
@pytest.mark.parametrize(
    ("padding", "kernel", "side", "stride"),
    [("zeros", 3, 6, 1), ("circular", 5, 5, 1), ("zeros", 3, 7, 2), ("none", 3, 9, 4)],
)
def test_convolutions_commute_with_every_element_at_the_start(
    group: Group, kind: type[nn.Module], padding: str, kernel: int, side: int, stride: int
) -> None:
    side = side + 2 * (kernel // 2) if padding == "none" else side
    layer = built(kind, group, kernel, padding=padding, stride=stride)
    x = noise(2, channels(kind, group), side, side)
    assert error(layer, group, x) < 1e-12


@every_group
@every_layer
def test_in_single_precision_the_error_is_that_of_rounding(
    group: Group, kind: type[nn.Module]
) -> None:
    x = noise(2, channels(kind, group), 7, 7).float()
    assert error(built(kind, group).float(), group, x) < 1e-5


@every_group
@every_layer
@pytest.mark.parametrize("padding", ["zeros", "circular", "none"])
def test_with_one_bank_they_are_the_exact_layers(
    group: Group, kind: type[nn.Module], padding: str
) -> None:
    ours = built(kind, group, banks=1, frozen=True, padding=padding)
    exact = LAYERS[kind](group, 2, 3, padding=padding).double()
    exact.tied.data, exact.bias.data = ours.filters[0].data, ours.bias.data
    x = noise(2, channels(kind, group), 5, 5)
    torch.testing.assert_close(ours(x), exact(x), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(ours.combined(), exact.kernels(), rtol=1e-13, atol=1e-13)


@every_layer
def test_an_exact_layer_refuses_a_state_that_has_left_the_symmetry(
    kind: type[nn.Module],
) -> None:
    group = groups.from_name("D4")
    relaxed, exact = built(kind, group), built(kind, group, frozen=True)
    exact.load_state_dict(relaxed.state_dict())
    assert torch.equal(exact.filters, relaxed.filters)
    relaxed.weights.data[0, 0] += 0.25
    with pytest.raises(OrbitLensError, match=r"elements of D4, .* that differ by 0\.25"):
        exact.load_state_dict(relaxed.state_dict())


@pytest.mark.parametrize("name", ["C2", "C4", "D4"])
@every_layer
@pytest.mark.parametrize("frozen", [False, True])
def test_one_step_on_broken_data_leaves_the_symmetry_unless_frozen(
    name: str, kind: type[nn.Module], frozen: bool
) -> None:
    group = groups.from_name(name)
    layer = built(kind, group, frozen=frozen)
    # The first step of Adam has one size for all weights, so it may move them alike.
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-2)
    x = noise(4, channels(kind, group), 5, 5)
    target = layer(x).detach()
    target[:, 0] *= 2
    (layer(x) - target).square().mean().backward()
    optimizer.step()
    moved = error(layer, group, x)
    assert moved < 1e-12 if frozen else moved > 1e-5
    parts = layer.symmetry_use().parts.values()
    assert len(parts) == 2
    assert all(value == 0 for value in parts) if frozen else min(parts) > 0


@torch.no_grad()
@every_layer
def test_the_variance_of_the_output_does_not_depend_on_the_banks(kind: type[nn.Module]) -> None:
    group, found = groups.cyclic(4), []
    for banks in (1, 2, 4):
        layer = kind(group, 4, 50, banks=banks, padding="circular")
        x = noise(8, layer.combined().shape[1], 6, 6).float()
        found.append(float(layer(x).square().mean()))
    assert found == pytest.approx([2.0] * 3, rel=0.15)  # what He's start gives, for ReLUs


def test_a_layer_whose_element_has_a_kernel_of_its_own_is_worked_by_hand() -> None:
    # C2 turns by 180 degrees. Bank 1 serves the identity, bank 2 the half turn.
    layer = RelaxedLiftingConv2d("C2", 1, 1, bias=False)
    layer.weights.data = torch.eye(2)
    kernels = torch.arange(18.0).reshape(2, 3, 3)
    layer.filters.data = kernels.reshape(2, 1, 1, 1, 3, 3)
    assert torch.equal(layer.combined()[0, 0], kernels[0])
    assert torch.equal(layer.combined()[1, 0], kernels[1].flip(0, 1))


@pytest.mark.parametrize("name", ["C2", "D1", "D2"])
def test_half_turns_and_flips_work_on_images_that_are_not_square(name: str) -> None:
    group = groups.from_name(name)
    layer = built(RelaxedLiftingConv2d, group, stride=2)
    assert error(layer, group, noise(2, 2, 5, 9)) < 1e-12


def test_the_trivial_group_takes_images_of_any_size() -> None:
    layer = RelaxedLiftingConv2d("C1", 1, 2, stride=2)
    assert layer(torch.rand(1, 1, 6, 8)).shape == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RelaxedLiftingConv2d("C3", 1, 1), "C1, C2, C4, D1, D2 or D4.*received C3"),
        (lambda: RelaxedGroupConv2d("C4", 1, 1, 2), "`kernel`: expected an odd number of pixels"),
        (lambda: RelaxedGroupConv2d("C4", 0, 1), "`in_features`: .*at least 1, received 0"),
        (lambda: RelaxedLiftingConv2d("C4", 1, 1, banks=0), "`banks`: .*at least 1, received 0"),
        (lambda: RelaxedLiftingConv2d("C4", 1, 1, stride=0), "`stride`: .*at least 1, received 0"),
        (lambda: RelaxedGroupConv2d("C4", 1, 1, padding="same"), "zeros, circular.*'same'"),
    ],
)
def test_impossible_layers_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        call()


@pytest.mark.parametrize(
    ("layer", "x", "message"),
    [
        (RelaxedLiftingConv2d("C4", 1, 2), torch.zeros(1, 1, 4, 5), "height = width, .*4 x 5"),
        (RelaxedLiftingConv2d("C4", 1, 2), torch.zeros(1, 3, 5, 5), r"\[batch, 1, .*\[1, 3, 5, 5"),
        (RelaxedGroupConv2d("D4", 1, 2), torch.zeros(1, 8, 4, 5), "under D4: .*received 4 x 5"),
        (
            RelaxedLiftingConv2d("C4", 1, 2, stride=2),
            torch.zeros(1, 1, 84, 84),
            r"stride 2: expected height and width of 1 \+ a multiple of 2.*84 x 84.*85 x 85",
        ),
        (
            RelaxedLiftingConv2d("C2", 1, 2, stride=2, padding="none"),
            torch.zeros(1, 1, 9, 8),
            r"3 \+ a multiple of 2.*9 x 8",
        ),
        (RelaxedLiftingConv2d("C4", 1, 2), torch.zeros(1, 1, 4, 4).int(), "floats .*int32"),
        (RelaxedLiftingConv2d("C4", 1, 2), torch.zeros(1, 4, 4), r"\[batch, 1, .*\[1, 4, 4\]"),
    ],
)
def test_maps_that_the_group_cannot_move_are_refused(
    layer: nn.Module, x: Tensor, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        layer(x)
