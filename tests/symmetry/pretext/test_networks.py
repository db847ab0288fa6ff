"""Encoders, projectors and heads move as they promise, before and after training."""

import copy

import jaxtyping
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from orbitlens import actions, groups
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.symmetry.pretext import (
    EquivariantHead,
    GroupEncoder,
    GroupMLP,
    InvariantHead,
    Jigsaw,
    RelativePosition,
    frozen_features,
    nontrivial_energy,
)

from .moves import EXACT, acted, acted_by_own, elements, noise

every_group = pytest.mark.parametrize("group", EXACT, ids=lambda group: group.name)
non_abelian = pytest.mark.parametrize("group", [groups.dihedral(4), groups.symmetric(3)], ids=str)
EXACTLY = {"rtol": 1e-10, "atol": 1e-10}


def trained(network: nn.Module, x: torch.Tensor, steps: int = 3) -> nn.Module:
    """A network in float64 after a few steps, whose batch norms have seen something."""
    optimiser = torch.optim.SGD(network.double().parameters(), lr=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.autograd.backward(network(x).square().mean() - network(x).mean())
        optimiser.step()
    return network


@every_group
@pytest.mark.parametrize("side", [6, 8])
def test_an_encoder_makes_copies_of_the_regular_representation(group: Group, side: int) -> None:
    x, move = noise(4, 2, side, side), actions.images(group)
    model = trained(GroupEncoder(group, side, 2, width=2), x)
    for training in (True, False):
        model.train(training)
        plain = model(x)
        for g in range(group.order):
            wanted = acted(group, plain, g)
            torch.testing.assert_close(model(move(x, g)), wanted, **EXACTLY)


def test_an_encoder_is_equivariant_in_training_if_every_input_moves_by_itself() -> None:
    group, x = groups.dihedral(4), noise(6, 1, 8, 8)
    model, own = GroupEncoder(group, 8, width=2).double(), elements(group, 6)
    move = actions.images(group)
    moved = torch.cat([move(each[None], int(g)) for each, g in zip(x, own, strict=True)])
    torch.testing.assert_close(model(moved), acted_by_own(group, model(x), own), **EXACTLY)


def test_an_encoder_tells_where_things_lie_and_starts_from_its_seed_alone() -> None:
    corners = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    corners[0, 0, 1, 1] = corners[1, 0, 1, 5] = 1
    state = torch.get_rng_state()
    model = GroupEncoder("C1", 8, width=4).double().eval()
    codes = model(corners)
    assert (codes[0] - codes[1]).norm() > 0.1 * codes.norm()
    assert torch.equal(torch.get_rng_state(), state)
    first, again, other = (GroupEncoder("C4", 8, width=2, seed=k).lift.tied for k in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@non_abelian
@pytest.mark.parametrize("norm", [False, True])
def test_a_projector_commutes_with_every_element(group: Group, norm: bool) -> None:
    z = noise(5, 3 * group.order)
    model = trained(GroupMLP(group, 3, 4, 2, norm=norm), z)
    plain = model(z)
    for g in range(group.order):
        torch.testing.assert_close(model(acted(group, z, g)), acted(group, plain, g), **EXACTLY)


@every_group
def test_logits_move_with_the_input(group: Group) -> None:
    for task in (Jigsaw(group), Jigsaw(group, 3), RelativePosition(group)):
        z, labels = noise(5, 3 * group.order), task.labels
        model = trained(EquivariantHead(group, labels, 3, hidden=4), z)
        plain, everything = model(z), torch.arange(labels.n)
        for g in range(group.order):
            moved = model(acted(group, z, g))
            torch.testing.assert_close(moved[:, labels.move(everything, g)], plain, **EXACTLY)


def test_the_cross_entropy_stays_if_inputs_and_labels_move_together() -> None:
    group, x = groups.dihedral(4), noise(6, 1, 8, 8)
    task, move = Jigsaw(group), actions.images(group)
    model = nn.Sequential(
        GroupEncoder(group, 8, width=2), EquivariantHead(group, task.labels, 8, hidden=4)
    ).double()
    inputs, y = task.draw(x, torch.Generator().manual_seed(0))
    own = elements(group, 6)
    moved = torch.cat([move(each[None], int(g)) for each, g in zip(inputs, own, strict=True)])
    before = cross_entropy(model(inputs), y)
    torch.testing.assert_close(
        cross_entropy(model(moved), task.labels.move(y, own)), before, **EXACTLY
    )


def test_a_logit_is_the_mean_of_its_function_over_the_stabiliser() -> None:
    labels = Jigsaw("D4").labels
    head = EquivariantHead("D4", labels, 2, hidden=3).double()
    z, group = noise(1, 16), labels.group
    u = head.mlp(z).unflatten(1, (-1, 8))[0]
    logits = head(z)[0]
    for i, (orbit, stabiliser) in enumerate(zip(labels.orbits, labels.stabilisers, strict=True)):
        for g in range(8):
            mean = sum(u[i, group.multiply(g, h)] for h in stabiliser) / len(stabiliser)
            torch.testing.assert_close(logits[labels.moved[g, orbit[0]]], mean)


def test_the_trivial_group_makes_an_ordinary_head() -> None:
    labels, z = Jigsaw("C1").labels, noise(4, 5)
    head = EquivariantHead("C1", labels, 5, hidden=6).double()
    torch.testing.assert_close(head(z), head.mlp(z))


@every_group
def test_the_invariant_head_cannot_separate_the_labels_of_an_orbit(group: Group) -> None:
    task, move = Jigsaw(group), actions.images(group)
    head = InvariantHead(group, task.labels, 8, hidden=4).double()
    model = nn.Sequential(GroupEncoder(group, 8, width=2).double(), head).eval()
    images = actions.images(group).orbit(noise(1, 1, 8, 8))[0]
    # On all moved images with all labels, as many answers are right as the cap says, at most.
    n, order = task.labels.n, group.order
    inputs = task.inputs(images.repeat(n, 1, 1, 1), torch.arange(n).repeat_interleave(order))
    logits = model(inputs)
    torch.testing.assert_close(model(move(inputs, order - 1)), logits, **EXACTLY)
    answers = logits.argmax(1).unflatten(0, (n, order))
    right = (answers == torch.arange(n)[:, None]).double().mean()
    assert right <= task.labels.cap + 1e-12


def test_frozen_features_stay_and_energies_are_shares() -> None:
    group, z = groups.dihedral(4), noise(6, 24)
    own = elements(group, 6)
    moved = acted_by_own(group, z, own)
    torch.testing.assert_close(frozen_features(moved, group), frozen_features(z, group))
    energy = nontrivial_energy(z, group)
    torch.testing.assert_close(nontrivial_energy(moved, group), energy)
    assert ((energy > 0) & (energy < 1)).all()
    assert nontrivial_energy(z, "C1").abs().max() == 0
    still = z.unflatten(1, (-1, 8)).mean(-1, keepdim=True).expand(-1, -1, 8).flatten(1)
    assert nontrivial_energy(still, group).max() < 1e-12
    torch.testing.assert_close(nontrivial_energy(3 * z, group), energy)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_an_energy_does_not_depend_on_the_length(scale: float) -> None:
    z = noise(3, 8).float()
    torch.testing.assert_close(nontrivial_energy(scale * z, "C4"), nontrivial_energy(z, "C4"))
    halves = (1000 * z).half()
    torch.testing.assert_close(
        nontrivial_energy(halves, "C4").float(), nontrivial_energy(z, "C4"), rtol=0, atol=1e-2
    )


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (GroupEncoder("C4", 4, width=1), (2, 1, 4, 4)),
        (GroupMLP("C4", 2, 3, 1, norm=True), (2, 8)),
        (EquivariantHead("C4", Jigsaw("C4").labels, 2, 3), (2, 8)),
        (InvariantHead("C4", Jigsaw("C4").labels, 2, 3), (2, 8)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_inputs_of_any_kind_are_taken_in_the_type_of_the_weights(
    network: nn.Module, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    x = (noise(*shape) * 8).round()  # which half precision holds
    network.eval()
    wanted = network(x.float())
    for given in (x, x.half(), x.int(), x.numpy(), x.tolist()):
        assert torch.equal(network(given), wanted)


def test_looking_leaves_the_networks_as_they_are() -> None:
    model = GroupEncoder("C4", 8, width=2).eval()
    before = copy.deepcopy(model.state_dict())
    model(torch.zeros(2, 1, 8, 8))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GroupEncoder("C8", 8), "C1, C2, C4, D1, D2 or D4.*received C8"),
        (lambda: GroupEncoder("C4", 12, halvings=3), "even side.*3 of a side of 12 pixels"),
        (lambda: GroupEncoder("C4", 9, halvings=1), "even side.*1 of a side of 9 pixels"),
        (lambda: GroupEncoder("C4", 8, width=0), "`width`: .*at least 1"),
        (lambda: GroupEncoder("C4", 8)(torch.zeros(1, 1, 8, 6)), r"\[n, 1, 8, 8\].*\[1, 1, 8, 6\]"),
        (lambda: GroupEncoder("C4", 8)(torch.zeros(1, 3, 8, 8)), r"\[n, 1, 8, 8\].*\[1, 3, 8, 8\]"),
        (lambda: GroupMLP("C4", 2, 0, 1), "`hidden`: .*at least 1"),
        (lambda: GroupMLP("C4", 2, 3, 1, norm="yes"), "`norm`: expected True or False"),
        (lambda: GroupMLP("C4", 2, 10**12, 1), "GiB of memory"),
        (lambda: GroupEncoder("C4", 1001, width=10**5), "GiB of memory"),
        (
            lambda: GroupMLP("C4", 2, 3, 1, norm=True)(torch.zeros(8)),
            r"\[n, 8\], 2 functions on C4",
        ),
        (lambda: InvariantHead("C4", Jigsaw("C4").labels, 0.5), "`features`"),
        (lambda: EquivariantHead("D2", Jigsaw("C4").labels, 2), "that D2 moves.*labels of C4"),
        (lambda: InvariantHead("C4", Jigsaw("D4").labels, 2), "that C4 moves.*labels of D4"),
        (lambda: EquivariantHead("C4", Jigsaw("C4"), 2), "`labels`"),
        (lambda: EquivariantHead("C4", Jigsaw("C4").labels, 2)(torch.zeros(1, 6)), "8"),
        (lambda: frozen_features(torch.zeros(2, 6), "C4"), r"f \* 4.*received \[2, 6\]"),
        (lambda: nontrivial_energy(torch.zeros(2, 8), "C4"), "2 rows of zeros"),
        (lambda: nontrivial_energy(torch.full((2, 8), torch.nan), "C4"), "2 rows with NaN"),
    ],
)
def test_what_does_not_fit_is_refused(
    call: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        call()
