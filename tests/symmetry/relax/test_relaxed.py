"""Relaxed layers on vectors: exact at first, exact for ever if frozen, and free to leave."""

from collections.abc import Callable

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens import groups
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.models import GroupLinear, LiftingLinear
from orbitlens.reps import Representation, direct_sum, irreps, regular
from orbitlens.symmetry.relax.relaxed import RelaxedGroupLinear, RelaxedLiftingLinear
from orbitlens.testing import assert_equivariant

FINITE = [groups.from_name(name) for name in ("C1", "C2", "C4", "D4", "S3")]
every_group = pytest.mark.parametrize("group", FINITE, ids=lambda group: group.name)
every_count = pytest.mark.parametrize("banks", [1, 2, 5])
TOLERANCE = 1e-12


def noise(*shape: int, seed: int = 0) -> Float[Tensor, "..."]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def on_input(group: Group) -> Representation:
    """All irreps together, in a basis that is not orthogonal."""
    rho, change = direct_sum(*irreps(group)), torch.eye(sum(each.dim for each in irreps(group)))
    change = change.double() + 0.1 * noise(*change.shape)
    return Representation(group, change @ rho.matrices @ change.inverse(), "skew")


def on_functions(group: Group, features: int) -> Representation:
    return direct_sum(*[regular(group)] * features)


def built(group: Group, **settings: object) -> tuple[RelaxedLiftingLinear, RelaxedGroupLinear]:
    """A lifting layer and one that can follow it, with biases that are not zero."""
    torch.manual_seed(1)
    lift = RelaxedLiftingLinear(on_input(group), 3, **settings).double()
    layer = RelaxedGroupLinear(group, 3, 2, **settings).double()
    for each in (lift, layer):
        nn.init.normal_(each.bias)
    return lift, layer


def network(group: Group, **settings: object) -> nn.Module:
    lift, layer = built(group, **settings)
    return nn.Sequential(lift, nn.ReLU(), layer)


@torch.no_grad()
def error(function: nn.Module, group: Group) -> float:
    """The largest relative error over the elements, of a network from vectors to functions."""
    before, after = on_input(group).matrices, on_functions(group, 2).matrices
    x = noise(8, before.shape[-1]).to(next(function.parameters()))
    plain = function(x)
    errors = [
        (function(x @ a.T.to(x)) - plain @ b.T.to(x)).norm() / plain.norm()
        for a, b in zip(before, after, strict=True)
    ]
    return float(torch.stack(errors).max())


@every_group
@every_count
def test_layers_commute_with_every_element_at_the_start(group: Group, banks: int) -> None:
    lift, layer = built(group, banks=banks)
    matrices = [on_input(group), on_functions(group, 3), on_functions(group, 2)]
    for each, before, after in zip((lift, layer), matrices, matrices[1:], strict=False):
        x = noise(4, before.dim)
        assert_equivariant(each, before.matrices, after.matrices, x, tolerance=TOLERANCE)
        assert set(each.symmetry_use().parts.values()) == {0.0}
        assert each.penalty().item() == 0


@every_group
def test_in_single_precision_the_error_is_that_of_rounding(group: Group) -> None:
    assert error(network(group).float(), group) < 1e-5


@settings(max_examples=10)
@given(st.sampled_from(FINITE), st.lists(st.floats(-2, 2), min_size=1, max_size=4))
def test_weights_that_are_constant_over_the_group_are_symmetric(
    group: Group, constants: list[float]
) -> None:
    net = network(group, banks=len(constants))
    for layer in (net[0], net[2]):
        constant = torch.tensor(constants, dtype=torch.float64)[:, None]
        layer.weights.data = constant.expand_as(layer.weights).clone()
        assert layer.symmetry_use().parts["bank 1"] == 0
    assert error(net, group) < 1e-10


@every_group
def test_with_one_bank_they_are_the_exact_layers(group: Group) -> None:
    lift, layer = built(group, banks=1, frozen=True)
    exact = (LiftingLinear(on_input(group), 3).double(), GroupLinear(group, 3, 2).double())
    for ours, other in zip((lift, layer), exact, strict=True):
        assert ours.filters[0].shape == other.tied.shape
        other.tied.data, other.bias.data = ours.filters[0].data, ours.bias.data
        x = noise(4, ours.combined().shape[1])
        torch.testing.assert_close(ours(x), other(x), rtol=1e-13, atol=1e-13)


@every_group
def test_frozen_banks_are_the_exact_layer_of_their_mean(group: Group) -> None:
    _, layer = built(group, banks=4, frozen=True)
    exact = GroupLinear(group, 3, 2).double()
    exact.tied.data, exact.bias.data = layer.filters.mean(0).data, layer.bias.data
    x = noise(4, 3 * group.order)
    torch.testing.assert_close(layer(x), exact(x), rtol=1e-13, atol=1e-13)


@every_group
def test_as_many_banks_as_elements_give_any_linear_map(group: Group) -> None:
    lift, layer = built(group, banks=group.order)
    for each in (lift, layer):
        each.weights.data = torch.eye(group.order, dtype=torch.float64)
    wanted = noise(3 * group.order, on_input(group).dim)
    rows = wanted.unflatten(0, (3, group.order))
    lift.filters.data = torch.einsum("fgi,gij->gfj", rows, on_input(group).matrices)
    torch.testing.assert_close(lift.combined(), wanted, rtol=1e-10, atol=1e-10)
    wanted = noise(2 * group.order, 3 * group.order)
    rows = wanted.unflatten(0, (2, group.order)).unflatten(2, (3, group.order))
    products = torch.from_numpy(group.table.copy())
    layer.filters.data = torch.stack([rows[:, g][..., products[g]] for g in range(group.order)])
    torch.testing.assert_close(layer.combined(), wanted, rtol=1e-10, atol=1e-10)


def after_training(group: Group, steps: int = 1, **settings: object) -> nn.Module:
    """A network after steps on targets that are broken: one value alone has a gain."""
    net = network(group, **settings)
    # The first step of Adam has one size for all weights, so it may move them alike.
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
    x = noise(32, on_input(group).dim)
    gain = torch.ones(2 * group.order, dtype=torch.float64)
    gain[0] = 2.0
    target = (net(x) * gain).detach()
    for _ in range(steps):
        optimizer.zero_grad()
        (net(x) - target).square().mean().backward()
        optimizer.step()
    return net


@pytest.mark.parametrize("name", ["C2", "C4", "D4"])
@every_count
def test_one_step_on_broken_data_leaves_the_symmetry(name: str, banks: int) -> None:
    group = groups.from_name(name)
    net = after_training(group, banks=banks)
    assert error(net, group) > 1e-5
    for layer in (net[0], net[2]):
        use = layer.symmetry_use()
        assert use.kind == "spread"
        assert list(use.parts) == [f"bank {n}" for n in range(1, banks + 1)]
        assert min(use.parts.values()) > 0
        assert layer.penalty().item() > 0


@pytest.mark.parametrize("name", ["C2", "C4", "D4"])
def test_a_frozen_network_stays_exact_however_long_it_trains(name: str) -> None:
    group = groups.from_name(name)
    net = after_training(group, steps=20, frozen=True)
    assert error(net, group) < TOLERANCE
    assert not net[0].weights.requires_grad


def test_frozen_weights_are_no_parameters_that_could_be_let_go() -> None:
    group = groups.cyclic(4)
    net = network(group, frozen=True)
    assert {name for name, _ in net.named_parameters()} == {
        f"{layer}.{name}" for layer in (0, 2) for name in ("filters", "bias")
    }
    assert net.state_dict().keys() == network(group).state_dict().keys()
    net.requires_grad_(False).requires_grad_(True)
    x, wanted = noise(8, 4), noise(8, 8, seed=1)
    for _ in range(3):
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
        optimizer.zero_grad()
        (net(x) - wanted).square().mean().backward()
        optimizer.step()
    assert error(net, group) < TOLERANCE
    assert [float(each.weight_spread().max()) for each in (net[0], net[2])] == [0.0, 0.0]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_a_cast_and_back_leaves_the_fixed_matrices_those_of_single_precision(
    kind: torch.dtype,
) -> None:
    group = groups.from_name("C6")
    lift = RelaxedLiftingLinear(on_input(group), 2, frozen=True)
    plain = lift.back.float()
    assert torch.equal(lift.to(kind).float().back, plain)
    assert torch.equal(lift.to(kind).double().back, lift.back)
    assert lift.to(kind).back.dtype == kind
    net = nn.Sequential(lift, nn.ReLU(), RelaxedGroupLinear(group, 2, 2, frozen=True))
    assert error(net.to(kind).float(), group) < 1e-6


@torch.no_grad()
@pytest.mark.parametrize("kind", ["lifting", "group"])
def test_the_variance_of_the_output_does_not_depend_on_the_banks(kind: str) -> None:
    group = groups.cyclic(4)
    found = []
    for banks in (1, 2, 4):
        layer = (
            RelaxedLiftingLinear(regular(group), 200, banks=banks)
            if kind == "lifting"
            else RelaxedGroupLinear(group, 4, 200, banks=banks)
        )
        x = noise(500, layer.combined().shape[1]).float()
        found.append(float(layer(x).square().mean()))
    assert found == pytest.approx([2.0] * 3, rel=0.15)  # what He's start gives, for ReLUs


@pytest.mark.parametrize("frozen", [True, False])
def test_an_exact_state_loads_into_both_kinds(frozen: bool) -> None:
    group = groups.cyclic(4)
    trained, other = after_training(group, frozen=True), network(group, frozen=frozen)
    other.load_state_dict(trained.state_dict())
    x = noise(4, on_input(group).dim)
    assert torch.equal(trained(x), other(x))


def test_an_exact_layer_refuses_a_state_that_has_left_the_symmetry() -> None:
    group = groups.cyclic(4)
    relaxed, exact = after_training(group), network(group, frozen=True)
    before = {name: each.clone() for name, each in exact.state_dict().items()}
    spread = max(relaxed[0].symmetry_use().parts.values())
    message = (
        f"RelaxedLiftingLinear with frozen=True: expected relaxation weights that are equal for "
        f"all elements of C4, received weights that differ by {spread:.2g}.*with frozen=False"
    )
    with pytest.raises(OrbitLensError, match=message):
        exact.load_state_dict(relaxed.state_dict())
    assert all(torch.equal(before[name], each) for name, each in exact.state_dict().items())
    # A relaxed layer takes it, even one whose training is over.
    other = network(group).requires_grad_(False)
    other.load_state_dict(relaxed.state_dict())
    assert other[0].symmetry_use() == relaxed[0].symmetry_use()


def test_gradients_agree_with_finite_differences() -> None:
    net = network(groups.cyclic(2))
    x = noise(3, on_input(groups.cyclic(2)).dim)
    names = list(dict(net.named_parameters()))
    values = tuple(each.detach().requires_grad_() for each in net.parameters())
    call = lambda *given: torch.func.functional_call(  # noqa: E731
        net, dict(zip(names, given, strict=True)), (x,)
    )
    assert torch.autograd.gradcheck(call, values)


WRONG = Representation(groups.cyclic(2), torch.stack([torch.eye(2), 2 * torch.eye(2)]), "double")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RelaxedLiftingLinear(WRONG, 2), "double: expected matrices that multiply as C2"),
        (lambda: RelaxedLiftingLinear(regular("C2"), 0), "`features`: .*at least 1, received 0"),
        (lambda: RelaxedLiftingLinear(regular("C2"), 1, banks=0), "`banks`: .*at least 1"),
        (lambda: RelaxedGroupLinear("C2", 1, 1, banks=0), "`banks`: .*at least 1, received 0"),
        (lambda: RelaxedGroupLinear("C2", 1, 1, banks=1.5), "`banks`: .*whole number"),
        (lambda: RelaxedGroupLinear("C2", 1, 0), "`out_features`: .*at least 1, received 0"),
        (lambda: RelaxedGroupLinear("C2", 1, 1, frozen=1), "`frozen`: expected True or False"),
        (lambda: RelaxedLiftingLinear("C2", 1), "`representation`: expected .*Representation"),
    ],
)
def test_impossible_layers_are_refused(
    call: Callable[[], object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        call()


@pytest.mark.parametrize(
    ("layer", "x", "message"),
    [
        (
            RelaxedLiftingLinear(regular("D3"), 2),
            torch.zeros(1, 5),
            r"\[..., 6\], received float32 of shape \[1, 5\]",
        ),
        (RelaxedGroupLinear("C4", 2, 1), torch.zeros(1, 4), r"\[..., 8\], .*shape \[1, 4\]"),
        (RelaxedGroupLinear("C4", 2, 1), torch.zeros(1, 8).int(), r"floats .*received int32"),
    ],
)
def test_vectors_of_another_space_are_refused(
    layer: nn.Module, x: Tensor, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        layer(x)
