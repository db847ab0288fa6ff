"""What a sharing encodes: known spaces, principal angles, and words that promise no more."""

import math
from dataclasses import replace

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import orbitlens as ol
from orbitlens.data import TurnedFields, shift_tasks
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.groups import from_name
from orbitlens.reps import (
    Representation,
    direct_sum,
    irreps,
    permutation,
    regular,
    restrict,
)
from orbitlens.symmetry.relax.known_sharing import (
    convolution_basis,
    intertwiners,
    orbits_under,
    toeplitz,
)
from orbitlens.symmetry.relax.meta import MetaLearner
from orbitlens.symmetry.relax.meta_learn import meta_learn
from orbitlens.symmetry.relax.shared_weights import SharedLinear
from orbitlens.symmetry.relax.sharing import Sharing, measure_sharing, orthonormal

GROUPS = ("C2", "C5", "D4", "S3", "C2xC3")


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def spans_the_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    first, second = orthonormal(one), orthonormal(other)
    if first.shape != second.shape:
        return False
    return bool((first @ first.T - second @ second.T).abs().max() < 1e-10)


def pair_of(name: str) -> tuple[Representation, Representation]:
    """Return two representations of a group that share some irreps."""
    found = irreps(from_name(name))
    return direct_sum(found[-1], found[-1], found[0]), direct_sum(*found, found[-1])


@pytest.mark.parametrize("name", GROUPS)
def test_intertwiners_commute_and_are_orthonormal(name: str) -> None:
    rho_in, rho_out = pair_of(name)
    basis = intertwiners(rho_in, rho_out)
    matrices = basis.T.unflatten(1, (rho_out.dim, rho_in.dim))
    for g in range(rho_in.group.order):
        moved = rho_out.matrices[g] @ matrices - matrices @ rho_in.matrices[g]
        assert moved.abs().max() < 1e-12
    unit = torch.eye(basis.shape[1], dtype=torch.float64)
    torch.testing.assert_close(basis.T @ basis, unit, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", GROUPS)
def test_intertwiners_are_all_solutions_of_the_equations(name: str) -> None:
    """Against the null space of rho_out x I - I x rho_in^T, for every element."""
    rho_in, rho_out = pair_of(name)
    one, other = (torch.eye(rho.dim, dtype=torch.float64) for rho in (rho_in, rho_out))
    equations = torch.cat(
        [
            torch.kron(second, one) - torch.kron(other, first.T.contiguous())
            for first, second in zip(rho_in.matrices, rho_out.matrices, strict=True)
        ]
    )
    _, values, right = torch.linalg.svd(equations)
    assert spans_the_same(intertwiners(rho_in, rho_out), right[values < 1e-10].T)


@pytest.mark.parametrize("name", GROUPS)
def test_convolutions_are_the_intertwiners_of_regular_representations(name: str) -> None:
    rho = regular(name)
    assert spans_the_same(intertwiners(rho, rho), convolution_basis(name))


def test_intertwiners_of_a_representation_that_is_not_orthogonal() -> None:
    rho, turn = regular("S3"), draw(6, 6)
    other = Representation(rho.group, turn @ rho.matrices @ turn.inverse(), "skew")
    matrices = intertwiners(rho, other).T.unflatten(1, (6, 6))
    for g in range(6):
        assert (other.matrices[g] @ matrices - matrices @ rho.matrices[g]).abs().max() < 1e-10


@settings(max_examples=15, deadline=None)
@given(
    places=st.integers(1, 6),
    width=st.integers(1, 4),
    spare=st.integers(0, 2),
    seed=st.integers(0, 9),
)
def test_toeplitz_is_correlation_with_the_taps(
    places: int, width: int, spare: int, seed: int
) -> None:
    length = places + width - 1 + spare
    taps, x = draw(width, seed=seed), draw(length, seed=seed + 10)
    weight = (toeplitz(places, length, width) @ taps).view(places, length)
    expected = torch.stack([taps @ x[i : i + width] for i in range(places)])
    torch.testing.assert_close(weight @ x, expected)


def test_the_space_of_shift_tasks_is_toeplitz_at_rank_one() -> None:
    basis = shift_tasks(1, length=10).basis
    assert basis is not None
    assert torch.equal(basis.double(), toeplitz(8, 10, 3))


def test_the_fields_of_turned_filters_are_all_intertwiners() -> None:
    for flips in (False, True):
        tasks = TurnedFields(fields=2, flips=flips)
        matrices, dim = tasks.taps.matrices, 18
        basis = torch.zeros(2, len(matrices), 9, 2, 9, dtype=torch.float64)
        for field in range(2):
            basis[field, :, :, field] = matrices
        found = intertwiners(tasks.taps, tasks.channels)
        assert spans_the_same(found, basis.reshape(-1, dim))


def test_a_space_is_found_in_any_of_its_bases_and_beside_a_random_one() -> None:
    known = toeplitz(20, 22, 3)
    layer = SharedLinear.from_basis(known @ draw(3, 3), 22, 20)
    found = measure_sharing(layer, {"shifts": known})
    (angles,) = found.angles
    assert angles.cosines == pytest.approx((1, 1, 1))
    assert angles.control[0] < 0.25
    assert found.found == ("shifts",)
    assert found.sentence == ("A shared symmetry was found: col(U) spans the weights with shifts.")
    (row,) = found.table()
    assert (row["dim"], row["rank"], row["found"]) == (3, 3, True)


def test_cosines_are_those_of_scipy() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    known, u = draw(30, 4), draw(30, 6, seed=1)
    layer = SharedLinear.from_basis(u, 6, 5)
    (angles,) = measure_sharing(layer, {"some": known}).angles
    expected = sorted((math.cos(each) for each in linalg.subspace_angles(u, known)), reverse=True)
    assert angles.cosines == pytest.approx(expected)


def test_a_larger_space_holds_and_a_smaller_one_lies_in() -> None:
    known = toeplitz(20, 22, 3)
    wider = torch.cat([known, draw(440, 2)], dim=1)
    (angles,) = measure_sharing(SharedLinear.from_basis(wider, 22, 20), {"shifts": known}).angles
    assert angles.words == "holds the weights with shifts"
    layer = SharedLinear.from_basis(known[:, :2].clone(), 22, 20)
    (angles,) = measure_sharing(layer, {"shifts": known}).angles
    assert angles.words == "lies in the weights with shifts"


def nearly(known: torch.Tensor, cosine: float) -> torch.Tensor:
    """Turn the last direction of a space away from it, to an angle of this cosine."""
    basis = orthonormal(known)
    away = draw(len(basis), 1, seed=5)
    away = away - basis @ (basis.T @ away)
    turned = cosine * basis[:, -1:] + (1 - cosine**2) ** 0.5 * away / away.norm()
    return torch.cat([basis[:, :-1], turned], dim=1)


def test_all_that_was_found_is_named_largest_space_first_and_misses_with_their_cosine() -> None:
    """U misses one direction of C6 by little; it has smaller spaces within C6."""
    c6 = convolution_basis("C6")
    u, identity = nearly(c6, 0.98999), torch.eye(6, dtype=torch.float64).reshape(36, 1)
    inside = orthonormal(c6)[:, :2]
    known = {"the identity": identity, "D3": intertwiners(regular("D3"), regular("D3"))}
    found = measure_sharing(SharedLinear.from_basis(u, 6, 6), {**known, "two": inside, "C6": c6})
    by_name = {each.symmetry: each for each in found.angles}
    assert by_name["C6"].cosines[-1] == pytest.approx(0.98999)
    assert (by_name["C6"].words, by_name["D3"].words) == ("nearly has C6", "does not have D3")
    assert found.found == ("the identity", "two")
    assert found.sentence == (
        "A shared symmetry was found: col(U) holds the weights with two, and it holds the weights "
        "with the identity. Nearly found: C6 (dimension 6, smallest cosine 0.9899); the bound is "
        "0.99."
    )
    assert repr(found) == "Sharing(rank 6, found the identity, two, nearly C6)"


def test_misses_are_named_only_between_the_bounds_and_with_a_gain() -> None:
    c6 = convolution_basis("C6")

    def found(cosine: float, losses: tuple[float, float] | None = None) -> Sharing:
        layer = SharedLinear.from_basis(nearly(c6, cosine), 6, 6)
        return measure_sharing(layer, {"C6": c6}, losses=losses)

    near = "Nearly found: C6 (dimension 6, smallest cosine 0.9500); the bound is 0.99."
    assert found(0.95).sentence == f"No shared symmetry was found among C6. {near}"
    gained = found(0.95, (0.1, 1.0)).sentence
    assert gained == f"Sharing lowers the loss 10 times, but none of C6 is the symmetry. {near}"
    without = found(0.95, (1.0, 1.0))
    assert "Nearly" not in without.sentence
    assert repr(without) == "Sharing(rank 6, found none)"
    assert (found(0.89).near, found(0.995).near) == ((), ())
    assert found(0.995).found == ("C6",)
    (angles,) = found(0.95).angles
    assert not replace(angles, control=(0.95,)).near


def test_a_random_u_shares_nothing_that_is_known() -> None:
    found = measure_sharing(SharedLinear(22, 20, k=3), {"shifts": toeplitz(20, 22, 3)})
    assert found.found == ()
    assert found.sentence == "No shared symmetry was found among shifts."


def test_angles_that_a_random_u_has_too_say_nothing() -> None:
    layer = SharedLinear(3, 2, k=5)
    (angles,) = measure_sharing(layer, {"shifts": toeplitz(2, 3, 1)}).angles
    assert not replace(angles, cosines=(1.0,), control=(0.95,)).found
    words = replace(angles, cosines=(1.0,), control=(0.95,)).words
    assert words == "nothing can be said of shifts"


def test_a_family_without_shared_symmetry_is_reported_as_such() -> None:
    tasks = shift_tasks(60, rank=None, length=8, seed=1).tasks
    train, test = tasks.split()
    torch.manual_seed(0)
    losses = []
    for network in (SharedLinear(8, 6, k=3), nn.Linear(8, 6, bias=False)):
        learner = MetaLearner(network)
        meta_learn(learner, train, steps=20)
        losses.append(float(learner.losses_on(test, 12).mean()))
        if isinstance(network, SharedLinear):
            layer = network
    known = {"shifts": toeplitz(6, 8, 3)}
    found = measure_sharing(layer, known, losses=(losses[0], losses[1]))
    assert found.gain == pytest.approx(1, abs=0.1)
    assert found.found == ()
    assert "sharing gains nothing" in found.sentence
    # Nor is a symmetry that U happens to have, if it does not help.
    exact = SharedLinear.from_basis(known["shifts"], 8, 6)
    found = measure_sharing(exact, known, losses=(1.0, 1.0))
    assert found.sentence.startswith("No shared symmetry was found: the plain layer has 1 times")
    assert not any(row["found"] for row in found.table())


def test_a_gain_without_a_known_symmetry_is_told_apart() -> None:
    found = measure_sharing(
        SharedLinear(22, 20, k=3), {"shifts": toeplitz(20, 22, 3)}, losses=(0.1, 1.0)
    )
    assert found.sentence == (
        "Sharing lowers the loss 10 times, but none of shifts is the symmetry."
    )


def test_a_collapsed_u_is_warned_of_with_its_singular_values() -> None:
    u = draw(12, 3)
    u[:, 2] = 0
    with pytest.warns(OrbitLensWarning, match=r"1 of its columns are near zero.*singular values"):
        found = measure_sharing(SharedLinear.from_basis(u, 4, 3), {"shifts": toeplitz(3, 4, 2)})
    assert found.angles[0].rank == 2
    u[:, 2] = u[:, 0] + u[:, 1]
    with pytest.warns(OrbitLensWarning, match="0 of its columns are near zero, and its rank is 2"):
        measure_sharing(SharedLinear.from_basis(u, 4, 3), {"shifts": toeplitz(3, 4, 2)})


def test_the_group_of_an_adapted_layer_is_chosen_after_its_relu() -> None:
    """A layer with C4 x 2 fields, among C4, its subgroup and a wrong group."""
    group = from_name("C4")
    points = permutation(group, [(1, 2, 3, 0)])
    rho_in, rho_out = points, direct_sum(regular(group), regular(group))
    basis = intertwiners(rho_in, rho_out)
    layer = SharedLinear.from_basis(basis, rho_in.dim, rho_out.dim)
    layer.filter.data = draw(basis.shape[1])
    inputs = draw(400, 4)
    half = from_name("C2")
    wrong = permutation(from_name("C3"), [(1, 2, 0, 3)])
    stores = [
        ol.store_from_array(orbits_under(lambda x: layer(x).relu(), inputs, rho), group=rho.group)
        for rho in (restrict(rho_in, half, [0, 2]), rho_in, wrong)
    ]
    choice = ol.choose_group(stores)
    assert choice.chosen == "C4"
    by_name = {each.group: each for each in (*choice.ranking, *choice.unranked)}
    assert by_name["C4"].r2 > 0.999
    assert by_name["C3"].r2 < 0.95


def test_an_invertible_linear_layer_carries_every_group_and_names_none() -> None:
    weight, inputs = draw(6, 6), draw(400, 6, seed=1)
    stores = [
        ol.store_from_array(orbits_under(lambda x: x @ weight.T, inputs, regular(name)), group=name)
        for name in ("C6", "D3")
    ]
    assert all(each.r2 > 0.999 for each in ol.choose_group(stores).ranking)


def test_orbits_hold_the_outputs_on_moved_inputs() -> None:
    rho, x = regular("S3"), draw(5, 6)
    found = orbits_under(torch.tanh, x, rho)
    for g in range(6):
        torch.testing.assert_close(found[:, g], torch.tanh(x @ rho.matrices[g].T))


def test_representations_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="`rho_out`: expected a representation of .*C4"):
        intertwiners(regular("C4"), regular("C5"))
    zeros = Representation(from_name("C2"), torch.zeros(2, 3, 3).double(), "zeros")
    with pytest.raises(OrbitLensError, match="representation"):
        intertwiners(zeros, zeros)
    first, second = irreps(from_name("C2"))
    with pytest.raises(OrbitLensError, match="no irrep in common"):
        intertwiners(first, second)


def test_known_weights_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = SharedLinear(4, 3, k=2)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match="`known`: expected at least one symmetry"):
        measure_sharing(layer, {})
    with pytest.raises(OrbitLensError, match=r"known\['x'\]`: expected shape \[weights = 12, dim"):
        measure_sharing(layer, {"x": toeplitz(3, 5, 2)})
    with pytest.raises(OrbitLensError, match="at least one direction each, received 2 and 0"):
        measure_sharing(layer, {"nothing": torch.zeros(12, 2)})
    with pytest.raises(OrbitLensError, match="`layer`: expected an object SharedLinear"):
        measure_sharing(nn.Linear(4, 3), {"x": toeplitz(3, 4, 2)})  # type: ignore[arg-type]
    with pytest.raises(OrbitLensError, match="`losses`: expected numbers above 0"):
        measure_sharing(layer, {"x": toeplitz(3, 4, 2)}, losses=(0.0, 1.0))
    layer.symmetry.data[0, 0] = torch.nan
    with pytest.raises(OrbitLensError, match="U of `layer`: expected finite numbers, received 1"):
        measure_sharing(layer, {"x": toeplitz(3, 4, 2)})
    with pytest.raises(OrbitLensError, match="`in_features`: expected at least 5, received 4"):
        toeplitz(3, 4, 3)
    with pytest.raises(OrbitLensError, match=r"`inputs`: expected shape \[n, dim = 6\]"):
        orbits_under(torch.relu, torch.zeros(2, 5), regular("S3"))
