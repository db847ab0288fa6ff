"""Features that turn, stay or do neither are told apart, on codes that are planted."""

from dataclasses import replace

import jaxtyping
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orbitlens import groups
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, cyclic, dihedral
from orbitlens.metrics import Turning, _orbit_overlap, feature_turning
from orbitlens.reps import Representation, direct_sum, isotypic_basis, regular
from orbitlens.sae import SAE, OrbitDictionary, TopK, compose, topk_sae
from orbitlens.transport import Motion, Transport
from orbitlens.typing import Tensor

GROUPS = [cyclic(3), cyclic(4), dihedral(4), groups.product(cyclic(2), cyclic(3))]
every_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def one_of(n: int, order: int, seed: int = 0) -> Tensor:
    """One active code of random strength in each row, in a random place, shape [n, order]."""
    place = torch.randint(order, (n,), generator=torch.Generator().manual_seed(seed))
    return torch.eye(order)[place] * (0.5 + random(n, 1, seed=seed + 1))


def copies(group: Group, number: int) -> Representation:
    return direct_sum(*[regular(group)] * number)


def turned(group: Group, first: Tensor) -> Tensor:
    """Orbits z(hx)[hg] = z(x)[g] of codes z(x)[g], shape [n, h, g]."""
    return first[:, torch.from_numpy(group.table[group.inverses].copy())]


def rho_of(group: Group, number: int) -> Transport:
    motion = Motion(copies(group, number).matrices.float(), variable=number * group.order)
    one = torch.ones(group.order)
    return Transport(group, motion, "exact", 1.0, (1.0, 1.0), one, 0.0, one, 0.0, {}, 1.0, "a:b")


def plain(width: int) -> SAE:
    """An SAE whose codes are the positive part of the activations."""
    sae = topk_sae(width, width, width)
    with torch.no_grad():
        sae.encoder.get_parameter("W_enc").copy_(torch.eye(width))
        sae.dictionary.get_parameter("W_dec").copy_(torch.eye(width))
        for name, value in sae.named_parameters():
            if name.endswith(("b_enc", "b_dec", "bias")):
                value.zero_()
    return sae


def tied(group: Group, number: int) -> SAE:
    """The same with one atom for each copy of the regular representation."""
    dictionary = OrbitDictionary(number, isotypic_basis(copies(group, number)))
    atoms = torch.zeros(number, number * group.order)
    atoms[torch.arange(number), torch.arange(number) * group.order] = 1
    with torch.no_grad():
        dictionary.atoms.copy_(dictionary.coordinates(atoms))
    dictionary.project_()
    dictionary.settle_()
    return compose(TopK(number * group.order), dictionary)


def planted(group: Group, n: int = 60) -> Tensor:
    """Codes that turn, that stay in one place, and that are in a random place of each input."""
    order = group.order
    turns = turned(group, one_of(n, order))
    stays = one_of(n, order, seed=2)[:, None].expand(-1, order, -1)
    loose = one_of(n * order, order, seed=4).view(n, order, order)
    return torch.cat([turns, stays, loose], dim=-1)


@every_group
def test_planted_atoms_are_told_apart(group: Group) -> None:
    found = feature_turning(tied(group, 3), planted(group))
    assert found.words == ("turns with the image", "invariant", "neither")
    assert found.turns[0].item() == pytest.approx(1.0, abs=1e-6)
    assert found.stays[1].item() == pytest.approx(1.0, abs=1e-6)
    assert found.inputs.tolist() == [60, 60, 60]
    assert found.firing_rates.tolist() == [1.0, 1.0, 1.0]
    # By chance 1 of |G| places is the right one.
    assert found.turns[2].item() < 0.5


@every_group
def test_planted_latents_are_told_apart(group: Group) -> None:
    """Each latent of another SAE finds its partners by direction."""
    order = group.order
    found = feature_turning(plain(3 * order), planted(group, 240), rho_of(group, 3))
    words = ["turns with the image"] * order + ["invariant"] * order + ["neither"] * order
    assert found.words == tuple(words)
    torch.testing.assert_close(found.turns[:order], torch.ones(order).double())
    torch.testing.assert_close(found.stays[order : 2 * order], torch.ones(order).double())


@every_group
def test_all_live_atoms_of_an_exactly_equivariant_network_turn(group: Group) -> None:
    first = random(40, 2, group.order).sub(0.5)
    orbits = torch.cat([turned(group, first[:, c]) for c in range(2)], dim=-1)
    found = feature_turning(tied(group, 2), orbits)
    assert found.words == ("turns with the image",) * 2
    torch.testing.assert_close(found.turns, torch.ones(2).double())
    assert found.intervals[0].min().item() == pytest.approx(1.0, abs=1e-6)


@every_group
def test_no_atom_turns_where_the_elements_are_shuffled(group: Group) -> None:
    orbits = turned(group, one_of(80, group.order))
    noise = random(80, group.order, seed=5)
    noise[:, 0] = -1.0
    found = feature_turning(tied(group, 1), orbits[torch.arange(80)[:, None], noise.argsort(1)])
    assert found.words == ("neither",)


def test_an_atom_that_the_group_leaves_unchanged_is_invariant() -> None:
    group = cyclic(4)
    dictionary = OrbitDictionary(1, isotypic_basis(regular(group)))
    with torch.no_grad():
        dictionary.atoms.copy_(dictionary.coordinates(torch.ones(1, 4)))
    dictionary.project_()
    dictionary.settle_()
    orbits = random(30, 1).add(0.1)[:, None].expand(-1, 4, 4)
    # The orbits do not move, so that all of them count.
    found = feature_turning(compose(TopK(1), dictionary), orbits)
    assert found.words == ("invariant",)
    torch.testing.assert_close(found.turns, found.stays)


def test_shares_by_hand() -> None:
    """C2 swaps two latents: codes (3, 0) of x and (1, 2) of rx."""
    x = torch.tensor([[3.0, 0.0], [1.0, 2.0]])
    found = feature_turning(plain(2), x.expand(12, 2, 2), rho_of(cyclic(2), 1))
    # Latent 0: z(x) = 3, z(rx) = 1. Pairs (x, rx) and (rx, x).
    # Turning: min(3, 2) + min(1, 0) = 2 of (3 + 2) + (1 + 0) = 6.
    assert found.turns[0].item() == pytest.approx(2 * 2 / 6)
    # Staying: min(3, 1) twice of (3 + 1) twice.
    assert found.stays[0].item() == pytest.approx(2 * 2 / 8)
    # Every input is the same, so that chance does as well.
    torch.testing.assert_close(found.by_chance, torch.stack([found.turns, found.stays]))


def test_symmetric_inputs_prove_nothing() -> None:
    group = cyclic(4)
    moving = turned(group, one_of(20, 4))
    same = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(200, 4, 4)
    both = torch.cat([moving, same])
    found, alone = (feature_turning(tied(group, 1), orbits) for orbits in (both, moving))
    assert found.words == ("turns with the image",)
    assert (found.turns.item(), found.inputs.item()) == (alone.turns.item(), 20)


def test_all_codes_of_a_layer_that_does_not_move_are_invariant() -> None:
    orbits = one_of(200, 4)[:, None].expand(-1, 4, -1)
    found = feature_turning(plain(4), orbits, rho_of(cyclic(4), 1))
    assert found.words == ("invariant",) * 4


def test_codes_that_never_vary_are_invariant_and_random_ones_are_not() -> None:
    """Dense positive numbers overlap by 2/3 whatever they mean."""
    codes = random(300, 4, 4)
    codes[:, :, 0] = 1.0
    words = feature_turning(plain(4), codes, rho_of(cyclic(4), 1)).words
    assert words == ("invariant", "neither", "neither", "neither")


def test_a_rare_or_dead_feature_is_not_judged() -> None:
    group = cyclic(4)
    first = one_of(30, 4)
    first[9:] = 0
    for orbits, fires in ((turned(group, first), 9), (-random(30, 4, 4), 0)):
        found = feature_turning(tied(group, 1), orbits)
        assert (found.words, found.inputs.item()) == (("too few to tell",), fires)
        (row,) = found.rows
        assert (row["share"], row["low"], row["by_chance"]) == (None, None, None)
        assert row["firing_rate"] == pytest.approx(fires / 30)


def test_a_latent_without_a_partner_does_not_turn() -> None:
    """The group changes the sign of every direction, and codes have none."""
    signs = Motion(torch.stack([torch.eye(2), -torch.eye(2)]), variable=2)
    rho = replace(rho_of(cyclic(2), 1), motion=signs)
    found = feature_turning(plain(2), random(20, 2, 2).add(0.5), rho)
    assert found.turns.tolist() == [0.0, 0.0]


def test_positions_of_one_input_are_one_unit() -> None:
    group = cyclic(4)
    orbits = turned(group, one_of(40, 4))
    found = feature_turning(tied(group, 1), orbits, positions=8)
    assert (found.words, found.inputs.item()) == (("too few to tell",), 5)
    with pytest.raises(OrbitLensError, match="3 rows for each input, received 40 rows"):
        feature_turning(tied(group, 1), orbits, positions=3)


@every_group
def test_parts_of_the_inputs_give_the_same_sums(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    sae, orbits = tied(group, 3), planted(group)
    whole = feature_turning(sae, orbits, positions=2)
    monkeypatch.setattr(_orbit_overlap, "_NUMBERS", 1)
    monkeypatch.setattr(_orbit_overlap, "_FEATURES_AT_ONCE", 2)
    parts = feature_turning(sae, orbits, positions=2)
    torch.testing.assert_close(parts.turns, whole.turns)
    torch.testing.assert_close(parts.intervals, whole.intervals)
    assert parts.words == whole.words


@given(st.sampled_from(GROUPS), st.integers(0, 1000), st.floats(0.01, 100))
def test_shares_are_shares_and_units_change_nothing(group: Group, seed: int, scale: float) -> None:
    orbits = random(12, group.order, 2 * group.order, seed=seed).sub(0.5)
    found, scaled = (feature_turning(tied(group, 2), x) for x in (orbits, orbits * scale))
    for shares in (found.turns, found.stays, found.intervals, found.by_chance):
        assert bool(((shares >= 0) & (shares <= 1)).all())
    assert bool((found.intervals[:, 0] <= found.intervals[:, 1]).all())
    torch.testing.assert_close(scaled.turns, found.turns, atol=1e-5, rtol=1e-5)


def test_rows_and_counts_are_of_the_words() -> None:
    found = feature_turning(tied(cyclic(4), 3), planted(cyclic(4)))
    assert isinstance(found, Turning)
    assert list(found.counts.items()) == [
        ("turns with the image", 1),
        ("invariant", 1),
        ("neither", 1),
        ("too few to tell", 0),
    ]
    others = feature_turning(tied(cyclic(4), 3), planted(cyclic(4)), action="points")
    assert next(iter(others.counts)) == others.rows[0]["word"] == "moves with the input"
    assert [{**row, "word": ""} for row in others.rows] == [{**x, "word": ""} for x in found.rows]
    turns, stays, loose = found.rows
    assert [row["feature"] for row in found.rows] == [0, 1, 2]
    assert turns["share"] == turns["turns"] == found.turns[0].item()
    assert stays["share"] == stays["stays"] == found.stays[1].item()
    assert loose["share"] == max(loose["turns"], loose["stays"])
    assert loose["low"] <= loose["share"] <= loose["high"]


def test_bad_input_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`transport`: expected one, because the latents"):
        feature_turning(plain(4), torch.ones(3, 4, 4))
    with pytest.raises(OrbitLensError, match="`transport`: expected an object Transport"):
        feature_turning(plain(4), torch.ones(3, 4, 4), torch.eye(4))  # type: ignore[arg-type]
    with pytest.raises(OrbitLensError, match="width 5"):
        feature_turning(plain(5), torch.ones(3, 4, 5), rho_of(cyclic(4), 1))
    with pytest.raises(OrbitLensError, match="`orbits`"):
        feature_turning(tied(cyclic(4), 1), torch.ones(3, 2, 4))
    with pytest.raises(OrbitLensError, match="`sae`"):
        feature_turning(torch.eye(4), torch.ones(3, 4, 4))  # type: ignore[arg-type]
    with pytest.raises(OrbitLensError, match="`action`: expected a text"):
        feature_turning(tied(cyclic(4), 1), torch.ones(3, 4, 4), action=4)  # type: ignore[arg-type]
