"""Networks of agents: exact at the start, free to leave, and equal in size."""

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.errors import OrbitLensError
from orbitlens.reps import Representation, direct_sum, irreps, permutation, regular
from orbitlens.symmetry.check import reflection
from orbitlens.symmetry.relax._budget import learned_numbers
from orbitlens.symmetry.relax._largest_spread import largest_spread
from orbitlens.symmetry.relax.agents import (
    Actor,
    Critic,
    QNetwork,
    actor,
    critic,
    learned_parameters,
    maps_of_agent,
    q_network,
)

TURNS = irreps("C4")[-1], regular("C4")
PENDULUM = reflection("Pendulum-v1")
SYMMETRIC = [("exact", 1), ("relaxed", 1), ("relaxed", 2)]
EVERY = [*SYMMETRIC, ("plain", 1)]
SINGLE = 1e-5  # errors in float32


def states(*shape: int) -> Float[Tensor, "..."]:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def moved(values: Tensor, rho: Representation, g: int) -> Tensor:
    return values @ rho.matrices[g].T.to(values)


@torch.no_grad()
def q_error(network: nn.Module) -> float:
    rho, sigma = network.on_states, network.on_actions
    x = states(64, rho.dim)
    wanted = network(x)
    errors = [
        (network(moved(x, rho, g)) - moved(wanted, sigma, g)).abs().max()
        for g in range(rho.group.order)
    ]
    return float(max(errors))


@torch.no_grad()
def actor_error(network: Actor) -> float:
    """The largest error of means, spreads and densities, over the elements."""
    rho, sigma = network.on_states, network.on_actions
    x, worst = states(64, rho.dim), 0.0
    mean, log_std = network(x)
    for g in range(rho.group.order):
        other = network(moved(x, rho, g))
        spread = log_std @ sigma.matrices[g].abs().T.to(x)
        worst = max(worst, float((other.mean - moved(mean, sigma, g)).abs().max()))
        worst = max(worst, float((other.log_std - spread).abs().max()))
        best = network.best(moved(x, rho, g)) - moved(network.best(x), sigma, g)
        worst = max(worst, float(best.abs().max()))
    return worst


@torch.no_grad()
def critic_error(network: Critic) -> float:
    rho, sigma = network.on_states, network.on_actions
    x, a = states(64, rho.dim), states(64, sigma.dim) / 3
    errors = [
        (network(moved(x, rho, g), moved(a, sigma, g)) - network(x, a)).abs().max()
        for g in range(rho.group.order)
    ]
    return float(max(errors))


def step_on(network: nn.Module, loss: Tensor) -> None:
    """One step of Adam."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss.backward()
    optimiser.step()


@pytest.mark.parametrize(("kind", "banks"), SYMMETRIC)
def test_values_of_actions_are_symmetric_at_first(kind: str, banks: int) -> None:
    torch.manual_seed(0)
    assert q_error(q_network(*TURNS, kind=kind, banks=banks, parameters=1000)) < SINGLE


@pytest.mark.parametrize(("kind", "banks"), SYMMETRIC)
def test_actors_and_critics_are_symmetric_at_first(kind: str, banks: int) -> None:
    torch.manual_seed(0)
    how = {"kind": kind, "banks": banks, "parameters": 800}
    assert actor_error(actor(*PENDULUM, **how, low=-2, high=2)) < SINGLE
    assert critic_error(critic(*PENDULUM, **how)) < SINGLE


def test_turned_vectors_are_squashed_by_their_length() -> None:
    torch.manual_seed(0)
    turns = irreps("C3")[-1]
    network = Actor(direct_sum(turns, irreps("C3")[0]), turns, [6, 6], radius=2.0)
    x = states(64, 3)
    wanted = moved(network.best(x), turns, 1)
    found = network.best(moved(x, network.on_states, 1))
    torch.testing.assert_close(found, wanted, atol=SINGLE, rtol=0)


@pytest.mark.parametrize(("kind", "leaves"), [("exact", False), ("relaxed", True)])
def test_one_step_on_broken_data_leaves_the_symmetry_if_it_can(kind: str, leaves: bool) -> None:
    torch.manual_seed(0)
    x, targets = states(32, 2), states(32, 4)
    network = q_network(*TURNS, kind=kind, parameters=1000)
    step_on(network, (network(x) - targets).square().mean())
    assert (q_error(network) > 10 * SINGLE) == leaves
    x, a = states(32, 3), states(32, 1)
    how = {"kind": kind, "parameters": 800}
    own, judge = actor(*PENDULUM, **how, low=-2, high=2), critic(*PENDULUM, **how)
    # Flipped data would have actions of the other sign; these are all positive.
    step_on(own, (own(x).mean - a.abs()).square().mean())
    step_on(judge, (judge(x, a) - targets[:, 0]).square().mean())
    assert (actor_error(own) > 10 * SINGLE) == leaves
    assert (critic_error(judge) > 10 * SINGLE) == leaves


@pytest.mark.parametrize(("kind", "banks"), EVERY)
def test_budgets_are_met_within_five_percent(kind: str, banks: int) -> None:
    how = {"kind": kind, "banks": banks}
    for network, wanted in [
        (q_network(*TURNS, **how, parameters=4825), 4825),
        (q_network(*reflection("CartPole-v1"), **how, parameters=3000), 3000),
        (actor(*PENDULUM, **how, parameters=4500), 4500),
        (critic(*PENDULUM, **how, parameters=4500), 4500),
    ]:
        assert abs(learned_parameters(network) - wanted) <= 0.05 * wanted


@pytest.mark.parametrize(("kind", "banks"), EVERY)
def test_the_count_of_a_width_is_that_of_the_network(kind: str, banks: int) -> None:
    network = Critic(*maps_of_agent(*PENDULUM), [3, 5], kind=kind, banks=banks)
    order = 1 if kind == "plain" else 2
    found = learned_numbers(4, [3, 5], 1, order=order, banks=banks, frozen=kind != "relaxed")
    assert found == learned_parameters(network)


def test_a_plain_network_is_not_symmetric() -> None:
    torch.manual_seed(0)
    assert q_error(q_network(*TURNS, kind="plain", parameters=1000)) > 1e-2


def test_values_begin_near_zero() -> None:
    torch.manual_seed(0)
    for kind, banks in EVERY:
        network = q_network(*TURNS, kind=kind, banks=banks, parameters=4825)
        assert network(states(64, 2)).abs().max() < 1


def test_densities_integrate_to_one() -> None:
    torch.manual_seed(0)
    network = actor(*PENDULUM, kind="relaxed", parameters=500, low=-2, high=2).double()
    state = states(1, 3).double()
    mean, log_std = network(state)
    u = torch.linspace(-8, 8, 20_001).double()[:, None]
    normal = torch.distributions.Normal(mean, log_std.exp())
    density = (normal.log_prob(u).sum(-1) - network.squash.log_det(u)).exp()
    a = network.squash(u)[:, 0]
    torch.testing.assert_close(torch.trapezoid(density, a), torch.ones(()).double())


def test_scales_that_the_group_keeps_keep_the_symmetry() -> None:
    torch.manual_seed(0)
    network = actor(*PENDULUM, kind="exact", parameters=500, centre=[0.5, 0, 0], scale=[1, 2, 4])
    assert actor_error(network) < SINGLE


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ({"centre": [0.0, 0.3, 0.0]}, "`centre` of observations.*no running mean"),
        ({"scale": [1.0, 0.0, 1.0]}, "`scale`: expected numbers above 0"),
        ({"centre": [0.0, 0.0]}, "`centre`"),
    ],
)
def test_scaling_that_breaks_the_symmetry_is_refused(scaling: dict, message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        critic(*PENDULUM, kind="relaxed", parameters=500, **scaling)


def test_each_centre_is_compared_with_its_own_scale() -> None:
    maps = direct_sum(*irreps("C2")), regular("C2")
    how = {"kind": "exact", "parameters": 500}
    q_network(*maps, centre=[1e5, 0.0], scale=[1e5, 0.1], **how)
    with pytest.raises(OrbitLensError, match="`centre` of observations"):
        q_network(*maps, centre=[0.0, 0.5], scale=[1.01e5, 0.1], **how)


@pytest.mark.parametrize("kind", ["exact", "relaxed", "plain"])
def test_a_state_of_other_scales_or_bounds_is_refused(kind: str) -> None:
    how = {"kind": kind, "parameters": 500}
    own = actor(*PENDULUM, scale=[1, 2, 4], low=-2, high=2, **how)
    state = own.state_dict()
    again = actor(*PENDULUM, scale=[1, 2, 4], low=-2, high=2, **how)
    again.load_state_dict(state)
    x = states(5, 3)
    assert torch.equal(again.best(x), own.best(x))
    with pytest.raises(OrbitLensError, match=r"`scaling.scale` of a state: .*\[1.0, 2.0, 4.0\]"):
        actor(*PENDULUM, low=-2, high=2, **how).load_state_dict(state)
    with pytest.raises(OrbitLensError, match=r"`squash.low` of a state: .*\[-2.0\]"):
        actor(*PENDULUM, scale=[1, 2, 4], **how).load_state_dict(state)
    # States of before have neither.
    fixed = ("squash.low", "squash.high", "scaling.centre", "scaling.scale")
    again.load_state_dict({name: each for name, each in state.items() if name not in fixed})
    assert torch.equal(again.best(x), own.best(x))


def test_an_exact_network_that_is_frozen_and_let_go_again_stays_exact() -> None:
    torch.manual_seed(0)
    network = q_network(*TURNS, kind="exact", parameters=800)
    count = learned_parameters(network)
    network.requires_grad_(False).requires_grad_(True)
    assert learned_parameters(network) == count
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    x = states(64, 2)
    (network(x)[:, 0] - x[:, 0]).square().mean().backward()
    optimiser.step()
    assert largest_spread(network) == 0


def test_unequal_scales_of_numbers_that_are_mixed_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="`scale` of observations.*one scale"):
        q_network(*TURNS, kind="exact", parameters=500, scale=[1.0, 2.0])


def test_maps_that_are_no_representation_are_refused() -> None:
    matrices, swaps = reflection("CartPole-v1")
    with pytest.raises(OrbitLensError, match="a group; closure"):
        q_network(2 * matrices - torch.eye(4), swaps, kind="exact", parameters=500)
    with pytest.raises(OrbitLensError, match="same elements"):
        maps_of_agent(matrices, swaps[:1])
    wrong = Representation(TURNS[0].group, 2 * TURNS[0].matrices, "doubled")
    with pytest.raises(OrbitLensError, match="states"):
        QNetwork(wrong, TURNS[1], [4])
    with pytest.raises(OrbitLensError, match="a representation of C4.*one of C2"):
        maps_of_agent(TURNS[0], permutation("C2", [(1, 0)]))
    with pytest.raises(OrbitLensError, match="`actions`: expected an object Representation"):
        maps_of_agent(TURNS[0], swaps)


def test_an_action_set_that_is_not_closed_is_refused() -> None:
    matrices, _ = reflection("CartPole-v1")
    with pytest.raises(OrbitLensError, match="permutations of 0 to 1"):
        q_network(matrices, [[0, 1], [1, 1]], kind="relaxed", parameters=500)
    with pytest.raises(OrbitLensError, match="closed"):
        q_network(TURNS[0], TURNS[0], kind="plain", parameters=500)


def test_bounds_that_the_group_does_not_keep_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="bounds"):
        actor(*PENDULUM, kind="plain", parameters=500, low=-1, high=2)


def test_numbers_out_of_range_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OrbitLensError, match="`banks`"):
        q_network(*TURNS, kind="relaxed", banks=0, parameters=500)
    with pytest.raises(OrbitLensError, match="within 5%"):
        q_network(*TURNS, kind="exact", parameters=10)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="did you mean 'exact'"):
        QNetwork(*TURNS, [4], kind="exakt")


def test_states_of_another_dimension_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for kind in ("exact", "relaxed", "plain"):
        with pytest.raises(OrbitLensError, match="2 numbers"):
            q_network(*TURNS, kind=kind, parameters=500)(torch.rand(3, 5))
        with pytest.raises(OrbitLensError, match=r"1 numbers .*\[3, 2\] for states .*\[3, 3\]"):
            critic(*PENDULUM, kind=kind, parameters=500)(torch.rand(3, 3), torch.rand(3, 2))
        with pytest.raises(OrbitLensError, match=r"`actions`: .*\[4, 1\] for states .*\[3, 3\]"):
            critic(*PENDULUM, kind=kind, parameters=500)(torch.rand(3, 3), torch.rand(4, 1))
