"""Heads and squashes: every element, several groups, and what they refuse."""

import math
from collections.abc import Callable

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens import groups
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.groups import Group
from orbitlens.reps import Representation, direct_sum, irreps, permutation, regular
from orbitlens.symmetry.relax.heads import (
    InvariantHead,
    PermutedActionsHead,
    VectorActionsHead,
    warn_of_fixed_states,
)
from orbitlens.symmetry.relax.relaxed import RelaxedLiftingLinear
from orbitlens.symmetry.relax.squash import Squash
from orbitlens.testing import assert_equivariant

FLIP = irreps("C2")[1]  # x -> -x
QUARTERS = irreps("C4")[-1]  # turns of the plane by 90 degrees
SIXTHS = next(each for each in irreps("C6") if each.dim == 2)  # by 60 degrees
VECTORS = {
    "C2 flip": FLIP,
    "C2 flip twice": direct_sum(FLIP, FLIP),
    "C4 turn": QUARTERS,
    "D4 plane": irreps("D4")[-1],
    "C2 swap": regular("C2"),
    "C6 turn": SIXTHS,
    "S3 plane and sign": direct_sum(*irreps("S3")[1:]),
}
SETS = {
    "C2 regular": regular("C2"),
    "C4 regular": regular("C4"),
    "D4 regular": regular("D4"),
    "C2 left stay right": permutation("C2", [(2, 1, 0)]),
    "S3 on points": permutation("S3", [(1, 2, 0), (1, 0, 2)]),
}
every_vector = pytest.mark.parametrize("actions", VECTORS.values(), ids=VECTORS.keys())
every_set = pytest.mark.parametrize("actions", SETS.values(), ids=SETS.keys())
TOLERANCE = 1e-12


def noise(*shape: int, seed: int = 0) -> Float[Tensor, "..."]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


class Part(nn.Module):
    """One part of what a head returns."""

    def __init__(self, head: nn.Module, name: str) -> None:
        super().__init__()
        self.head, self.name = head, name

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self.head(x), self.name)


def on_features(group: Group) -> Float[Tensor, "order dim dim"]:
    return direct_sum(*[regular(group)] * 3).matrices


def on_spreads(actions: Representation) -> Float[Tensor, "order dim dim"]:
    """|rho_A| for signed permutations; other matrices keep spreads that are all alike."""
    sizes = actions.matrices.abs()
    whole = bool(((sizes - sizes.round()).abs() < 1e-9).all())
    return sizes if whole else torch.eye(actions.dim).double().expand_as(sizes)


@pytest.mark.parametrize("name", ["C1", "C2", "C4", "D4", "S3"])
def test_invariant_heads_give_moved_features_the_same_values(name: str) -> None:
    group = groups.from_name(name)
    head = InvariantHead(group, 3, 2).double()
    alike = torch.eye(2).double().expand(group.order, 2, 2)
    x = noise(4, 3 * group.order)
    assert_equivariant(head, on_features(group), alike, x, tolerance=TOLERANCE)
    single, plain = alike.float(), on_features(group).float()
    assert_equivariant(head.float(), plain, single, x.float(), tolerance=1e-5)


@every_set
def test_values_of_actions_are_permuted_with_the_features(actions: Representation) -> None:
    head, before = PermutedActionsHead(actions, 3).double(), on_features(actions.group)
    x = noise(4, before.shape[1])
    assert_equivariant(head, before, actions.matrices, x, tolerance=TOLERANCE)
    single = (before.float(), actions.matrices.float(), x.float())
    assert_equivariant(head.float(), *single, tolerance=1e-5)


def test_actions_permuted_as_the_elements_have_one_value_of_one_function_each() -> None:
    head = PermutedActionsHead(regular("D4"), 3).double()
    x = noise(4, 24)
    torch.testing.assert_close(head(x), head.layer(x), rtol=0, atol=0)


def test_an_action_that_stays_has_the_mean_of_a_function_of_its_own() -> None:
    head = PermutedActionsHead(SETS["C2 left stay right"], 3).double()
    x = noise(4, 6)
    first, second = head.layer(x).unflatten(-1, (2, 2)).unbind(1)
    expected = torch.stack([first[:, 0], second.mean(-1), first[:, 1]], dim=-1)
    torch.testing.assert_close(head(x), expected)


@every_vector
def test_means_and_spreads_move_with_the_actions(actions: Representation) -> None:
    head, before = VectorActionsHead(actions, 3).double(), on_features(actions.group)
    nn.init.normal_(head.layer.bias)
    x = noise(4, before.shape[1])
    for part, after in (("mean", actions.matrices), ("log_std", on_spreads(actions))):
        assert_equivariant(Part(head, part), before, after, x, tolerance=TOLERANCE)
    mean = Part(head.float(), "mean")
    single = (before.float(), actions.matrices.float(), x.float())
    assert_equivariant(mean, *single, tolerance=1e-5)


def test_only_a_turn_that_is_no_permutation_makes_all_spreads_alike() -> None:
    x = noise(4, 12)
    spread = VectorActionsHead(VECTORS["C2 flip twice"], 6).double()(x).log_std
    assert not torch.allclose(spread[:, 0], spread[:, 1])
    spread = VectorActionsHead(SIXTHS, 2).double()(x).log_std
    assert torch.equal(spread[:, 0], spread[:, 1])


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("banks", [1, 2])
def test_one_step_on_broken_data_leaves_the_symmetry_unless_frozen(
    frozen: bool, banks: int
) -> None:
    settings = {"frozen": frozen, "banks": banks}
    heads = {
        InvariantHead("C4", 3, **settings): torch.eye(1).expand(4, 1, 1),
        PermutedActionsHead(regular("C4"), 3, **settings): regular("C4").matrices,
        VectorActionsHead(QUARTERS, 3, **settings): QUARTERS.matrices,
    }
    x = noise(8, 12)
    for head, after in heads.items():
        head.double()
        values = Part(head, "mean") if isinstance(head, VectorActionsHead) else head
        # The first step of Adam has one size for all weights, so it may move them alike.
        optimizer = torch.optim.SGD(head.parameters(), lr=1e-2)
        wanted = noise(*values(x).shape, seed=1)
        (values(x) - wanted).square().mean().backward()
        optimizer.step()
        check = (values, on_features(groups.cyclic(4)), after.double(), x)
        if frozen:
            assert_equivariant(*check, tolerance=TOLERANCE)
        else:
            with pytest.raises(OrbitLensError, match="does not commute"):
                assert_equivariant(*check, tolerance=1e-5)


@every_vector
def test_a_whole_policy_and_its_critic_commute(actions: Representation) -> None:
    group = actions.group
    states = direct_sum(*irreps(group))
    means = Part(VectorActionsHead(actions, 3), "mean")
    policy = nn.Sequential(RelaxedLiftingLinear(states, 3), means, Squash(actions)).double()
    x = noise(4, states.dim)
    assert_equivariant(policy, states.matrices, actions.matrices, x, tolerance=TOLERANCE)
    both = direct_sum(states, actions)
    critic = nn.Sequential(RelaxedLiftingLinear(both, 3), nn.ReLU(), InvariantHead(group, 3))
    alike, pairs = torch.ones(group.order, 1, 1).double(), noise(4, both.dim)
    assert_equivariant(critic.double(), both.matrices, alike, pairs, tolerance=TOLERANCE)


def test_states_that_no_element_moves_are_warned_of() -> None:
    states = direct_sum(irreps("C2")[0], FLIP)  # such as (cos, sin) of a pendulum
    some = [[1.0, 0.0], [0.0, 1.0], [-1.0, 1e-9]]
    with pytest.warns(OrbitLensWarning, match="C2 moves 2 of 3 states nowhere.*such as 0; relax"):
        warn_of_fixed_states(some, states, FLIP)
    with pytest.warns(OrbitLensWarning, match="1 of 1"):
        warn_of_fixed_states([[0.0, 0.0]], states, regular("C2"))


def test_states_that_move_or_actions_that_do_not_are_no_reason_to_warn() -> None:
    states = direct_sum(irreps("C2")[0], FLIP)
    warn_of_fixed_states([[0.0, 1.0], [1.0, -0.1]], states, FLIP)
    warn_of_fixed_states([[1.0, 0.0]], states, irreps("C2")[0])


def test_each_coordinate_of_a_state_is_compared_with_its_own_size() -> None:
    states = direct_sum(irreps("C2")[0], FLIP)
    warn_of_fixed_states([[1e6, 3.0]], states, FLIP)
    for some in ([[1e6, 0.0], [1.0, 0.0]], [[-1.0, math.sin(math.pi)]], [[1.0, 1e-7], [1.0, 0.2]]):
        with pytest.warns(OrbitLensWarning, match=r"moves (1|2) of (1|2) states nowhere"):
            warn_of_fixed_states(some, states, FLIP)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@every_vector
def test_a_cast_and_back_leaves_heads_exact(actions: Representation, kind: torch.dtype) -> None:
    before = on_features(actions.group).float()
    head = VectorActionsHead(actions, 3, frozen=True).to(kind).float()
    x = noise(4, before.shape[1]).float()
    matrices = actions.matrices.float()
    assert_equivariant(Part(head, "mean"), before, matrices, x, tolerance=1e-6)
    points = PermutedActionsHead(SETS["S3 on points"], 1)
    reads = points.reads.clone()
    assert torch.equal(points.to(kind).double().reads, reads)


WRONG = Representation(groups.cyclic(2), torch.stack([torch.eye(2), 2 * torch.eye(2)]), "double")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: InvariantHead("C4", 1, 0), "`out_features`: .*at least 1, received 0"),
        (lambda: InvariantHead("C4", 1, banks=0), "`banks`: .*at least 1, received 0"),
        (lambda: PermutedActionsHead(WRONG, 1), "actions double: .*multiply as C2"),
        (lambda: PermutedActionsHead(FLIP, 1), "an action set that is closed.*reps.permutation"),
        (lambda: PermutedActionsHead(SIXTHS, 1), "an action set that is closed.*other matrices"),
        (lambda: PermutedActionsHead("C2", 1), "`actions`: expected .*Representation"),
        (lambda: VectorActionsHead(WRONG, 1), "actions double: .*multiply as C2"),
        (lambda: VectorActionsHead(FLIP, 1, banks=0), "`banks`: .*at least 1, received 0"),
        (lambda: VectorActionsHead(FLIP, 2)(torch.zeros(1, 3)), r"\[..., 4\], .*shape \[1, 3\]"),
        (lambda: InvariantHead("C2", 2)(torch.zeros(1, 3)), r"\[..., 4\], .*shape \[1, 3\]"),
        (
            lambda: warn_of_fixed_states([[0.0]], regular("C2"), FLIP),
            r"`states`: expected shape \[n, dim = 2\]",
        ),
        (
            lambda: warn_of_fixed_states([[0.0, 0.0]], regular("C2"), QUARTERS),
            "`on_actions`: expected a representation of C2, .*received one of C4",
        ),
        (lambda: warn_of_fixed_states([[0.0, 0.0]], WRONG, FLIP), "on_states double"),
    ],
)
def test_impossible_heads_are_refused(
    call: Callable[[], object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        call()
