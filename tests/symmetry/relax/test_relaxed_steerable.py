"""The relaxed steerable convolution: its basis, and its layer before and after it is relaxed."""

from collections.abc import Callable

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens import groups
from orbitlens.actions import images
from orbitlens.errors import OrbitLensError
from orbitlens.models import GroupConv2d, LiftingConv2d
from orbitlens.reps import Representation, direct_sum, irreps, regular
from orbitlens.symmetry.relax.relaxed_steerable import RelaxedSteerableConv2d, steerable_basis


def noise(*shape: int, seed: int = 0) -> Float[Tensor, "..."]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def scalars(name: str) -> Representation:
    return irreps(name)[0]


def mixed(name: str) -> Representation:
    """All irreps, in a basis that is not orthogonal."""
    rho = direct_sum(*irreps(name))
    change = torch.eye(rho.dim).double() + 0.1 * noise(rho.dim, rho.dim, seed=3)
    return Representation(rho.group, change @ rho.matrices @ change.inverse(), "skew")


FIELDS = {
    "C1": (scalars("C1"), scalars("C1")),
    "C2": (scalars("C2"), regular("C2")),
    "D1": (regular("D1"), mixed("D1")),
    "D2": (mixed("D2"), regular("D2")),
    "C4": (regular("C4"), regular("C4")),
    "C4 scalars": (scalars("C4"), irreps("C4")[-1]),
    "D4": (scalars("D4"), regular("D4")),
    "D4 plane": (irreps("D4")[-1], mixed("D4")),
}
every_pair = pytest.mark.parametrize(("rho_in", "rho_out"), FIELDS.values(), ids=FIELDS.keys())

_Maps = Float[Tensor, "n channels height width"]


def moved(maps: _Maps, rho: Representation, element: int) -> _Maps:
    """Move places as pixels, and the numbers of each field by rho(g)."""
    fields = images(rho.group)(maps, element).unflatten(1, (-1, rho.dim))
    return torch.einsum("ij,nfjyx->nfiyx", rho.matrices[element].to(maps), fields).flatten(1, 2)


@torch.no_grad()
def error(layer: nn.Module, rho_in: Representation, rho_out: Representation, side: int) -> float:
    """The largest relative error over the elements."""
    x = noise(2, 2 * rho_in.dim, side, side).to(layer.weights)
    plain = layer(x)
    errors = [
        (layer(moved(x, rho_in, g)) - moved(plain, rho_out, g)).norm() / plain.norm()
        for g in range(rho_in.group.order)
    ]
    return float(torch.stack(errors).max())


def built(rho_in: Representation, rho_out: Representation, **settings: object) -> nn.Module:
    """A layer of two fields in and three out, with biases that are not zero."""
    layer = RelaxedSteerableConv2d(rho_in, rho_out, 2, 3, **settings).double()
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    return layer


@every_pair
@pytest.mark.parametrize("kernel", [1, 3])
def test_the_basis_spans_all_kernels_that_commute(
    rho_in: Representation, rho_out: Representation, kernel: int
) -> None:
    if kernel == 1 and not rho_in.dim * rho_out.dim > 2:
        return
    action, group = images(rho_in.group), rho_in.group
    basis = steerable_basis(rho_in, rho_out, kernel)
    for g in range(group.order):
        inverse = rho_in.matrices[group.inverses[g]]
        turned = action(basis.flatten(0, 1), g).unflatten(0, basis.shape[:2])
        found = torch.einsum("ij,bjkyx,kl->bilyx", rho_out.matrices[g], turned, inverse)
        torch.testing.assert_close(found, basis, rtol=1e-12, atol=1e-12)
    assert torch.linalg.matrix_rank(basis.flatten(1)) == len(basis)
    # The dimension is the mean of the character: that of pixels is the number that g keeps.
    places = action.grid(kernel, kernel)
    kept = torch.tensor([(row == range(kernel**2)).sum() for row in places])
    back = rho_in.character[torch.from_numpy(group.inverses.copy())]
    assert len(basis) == round(float((kept * rho_out.character * back).mean()))


@every_pair
@pytest.mark.parametrize(("padding", "side", "stride"), [("zeros", 4, 1), ("circular", 7, 2)])
def test_layers_commute_with_every_element_at_the_start(
    rho_in: Representation, rho_out: Representation, padding: str, side: int, stride: int
) -> None:
    layer = built(rho_in, rho_out, padding=padding, stride=stride)
    assert error(layer, rho_in, rho_out, side) < 1e-12
    assert set(layer.symmetry_use().parts.values()) == {0.0}
    assert layer.penalty().item() == 0
    assert error(layer.float(), rho_in, rho_out, side) < 1e-5


def test_it_can_be_every_exact_layer_on_functions() -> None:
    # One feature in and one out: coefficients of the exact kernel in the basis.
    one, all_ = scalars("D4"), regular("D4")
    for kind, rho_in, weights in ((LiftingConv2d, one, 9), (GroupConv2d, all_, 72)):
        exact = kind("D4", 1, 1, bias=False).double()
        basis = steerable_basis(rho_in, all_)
        assert len(basis) == weights
        found = torch.linalg.lstsq(basis.flatten(1).T, exact.kernels().flatten()[:, None])
        rebuilt = (basis.flatten(1).T @ found.solution).reshape(exact.kernels().shape)
        torch.testing.assert_close(rebuilt, exact.kernels(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pair", ["C2", "C4 scalars", "D4"])
@pytest.mark.parametrize("frozen", [False, True])
def test_one_step_on_broken_data_leaves_the_symmetry_unless_frozen(pair: str, frozen: bool) -> None:
    rho_in, rho_out = FIELDS[pair]
    layer = built(rho_in, rho_out, frozen=frozen)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-2)
    x = noise(4, 2 * rho_in.dim, 5, 5)
    (layer(x) - noise(4, 3 * rho_out.dim, 5, 5, seed=1)).square().mean().backward()
    optimizer.step()
    moved_by, use = error(layer, rho_in, rho_out, 5), layer.symmetry_use()
    assert moved_by < 1e-12 if frozen else moved_by > 1e-5
    assert use.kind == "spread"
    assert list(use.parts)[:2] == ["bank 1", "bank 2"]
    assert max(use.parts.values()) == 0 if frozen else max(use.parts.values()) > 0
    assert layer.penalty().item() == 0 if frozen else layer.penalty().item() > 0


def test_an_exact_layer_refuses_a_state_that_has_left_the_symmetry() -> None:
    rho_in, rho_out = FIELDS["D4"]
    relaxed, exact = (built(rho_in, rho_out, frozen=frozen) for frozen in (False, True))
    again = built(rho_in, rho_out, frozen=True)
    again.load_state_dict(exact.state_dict())
    x = noise(2, 2 * rho_in.dim, 5, 5)
    assert torch.equal(again(x), exact(x))
    # The weights of a relaxed layer are equal at first.
    exact.load_state_dict(relaxed.state_dict())
    torch.testing.assert_close(exact(x), relaxed(x))
    relaxed.weights.data[0, 0, 0, 1, 1] += 0.25
    with pytest.raises(OrbitLensError, match=r"equal for all taps, .* that differ by 0\.25"):
        exact.load_state_dict(relaxed.state_dict())


@torch.no_grad()
def test_the_variance_of_the_output_is_that_of_he() -> None:
    layer = RelaxedSteerableConv2d(regular("C4"), regular("C4"), 8, 100, padding="circular")
    x = noise(4, 32, 6, 6).float()
    assert float(layer(x).square().mean()) == pytest.approx(2, rel=0.15)


def test_fields_without_a_fixed_direction_have_no_bias() -> None:
    plane = irreps("D4")[-1]
    assert RelaxedSteerableConv2d(scalars("D4"), plane, 1, 1).bias is None
    assert RelaxedSteerableConv2d(plane, scalars("D4"), 1, 2).bias.shape == (2, 1)
    assert RelaxedSteerableConv2d(plane, scalars("D4"), 1, 2, bias=False).biases() is None


def test_the_basis_belongs_to_the_state() -> None:
    names = set(RelaxedSteerableConv2d(scalars("C4"), regular("C4"), 1, 1).state_dict())
    assert names == {"basis", "fixed", "weights", "bias"}


@pytest.mark.parametrize("pair", ["D2", "C4 scalars", "D4 plane"])
@torch.no_grad()
def test_a_cast_and_back_or_a_rounded_state_leaves_the_layer_exact(pair: str) -> None:
    rho_in, rho_out = FIELDS[pair]
    layer = built(rho_in, rho_out).bfloat16().float()
    assert error(layer, rho_in, rho_out, 5) < 1e-6
    rounded = {name: each.bfloat16() for name, each in layer.state_dict().items()}
    other = built(rho_in, rho_out)
    other.load_state_dict(rounded)
    assert error(other, rho_in, rho_out, 5) < 1e-12


def test_another_basis_of_the_same_kernels_loads_and_one_of_others_is_refused() -> None:
    rho = regular("C2")
    layer, other = built(rho, rho), built(rho, rho)
    turn, _ = torch.linalg.qr(noise(len(layer.basis), len(layer.basis), seed=5))
    state = layer.state_dict()
    state["basis"] = torch.einsum("bc,cijyx->bijyx", turn, state["basis"])
    other.load_state_dict(state)
    torch.testing.assert_close(other.basis, state["basis"], rtol=0, atol=1e-12)
    torch.testing.assert_close(other.bfloat16().double().basis, state["basis"], rtol=0, atol=1e-12)
    state["basis"] = noise(*layer.basis.shape)
    with pytest.raises(OrbitLensError, match="received one of other kernels"):
        built(rho, rho).load_state_dict(state)


WRONG = Representation(groups.cyclic(2), torch.stack([torch.eye(2), 2 * torch.eye(2)]), "double")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: steerable_basis(WRONG, WRONG), "rho_in double: .*multiply as C2"),
        (lambda: steerable_basis(regular("C2"), WRONG), "rho_out double: .*multiply as C2"),
        (lambda: steerable_basis(regular("C2"), regular("C4")), "of C2, .*received one of C4"),
        (lambda: steerable_basis(regular("C3"), regular("C3")), "C1, C2, C4.*received C3"),
        (lambda: steerable_basis(regular("C4"), regular("C4"), 2), "`kernel`: .*odd"),
        (
            lambda: steerable_basis(scalars("D4"), irreps("D4")[-1], 1),
            "some that commute with D4, received zero alone; choose a larger kernel",
        ),
        (lambda: steerable_basis("C4", regular("C4")), "`rho_in`: expected .*Representation"),
        (
            lambda: RelaxedSteerableConv2d(regular("C4"), regular("C4"), 1, 0),
            "`out_fields`: .*at least 1, received 0",
        ),
        (
            lambda: RelaxedSteerableConv2d(regular("C4"), regular("C4"), 1, 1, padding="same"),
            "zeros, circular.*'same'",
        ),
        (
            lambda: RelaxedSteerableConv2d(regular("C4"), regular("C4"), 1, 1, stride=0),
            "`stride`: .*at least 1",
        ),
    ],
)
def test_impossible_layers_are_refused(
    call: Callable[[], object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        call()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 5, 6), "under C4: expected height = width, received 5 x 6"),
        ((1, 4, 6, 6), "stride 2: .*received 6 x 6"),
        ((1, 3, 5, 5), r"\[batch, 4, .*received float32 of shape \[1, 3, 5, 5\]"),
    ],
)
def test_maps_that_the_group_cannot_move_are_refused(shape: tuple[int, ...], message: str) -> None:
    layer = RelaxedSteerableConv2d(regular("C4"), regular("C4"), 1, 1, stride=2)
    with pytest.raises(OrbitLensError, match=message):
        layer(torch.zeros(shape))
