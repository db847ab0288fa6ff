"""The figures of a layer, its controls, its spectrum, and the choice of a group."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from orbitlens import actions, groups
from orbitlens.activations import ActivationStore, harvest, store_from_array
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.models import GroupCNN
from orbitlens.reps import irreps, isotypic_projections, regular
from orbitlens.transport import (
    LayerEquivariance,
    canonical_scores,
    choose_group,
    cross_moments,
    fit_transport,
    measure_layer,
    rank_groups,
    shuffled,
    symmetry_spectrum,
)
from orbitlens.transport._controls import another_group
from orbitlens.typing import Tensor

NAMES = ["C2", "C3", "C4", "D4", "S3", "C2xC2"]


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def orbits_of(name: str, *, n: int = 600, noise: float = 0.0, invariant: float = 0.0) -> Tensor:
    """Orbits under the regular representation; noise, and a share that no element moves."""
    group = groups.from_name(name)
    start = random(n, group.order)
    moved = torch.einsum("gij,nj->ngi", regular(group).matrices, start)
    still = random(n, 1, group.order, seed=1).expand_as(moved)
    mixed = (1 - invariant) ** 0.5 * moved + invariant**0.5 * still
    return mixed + noise * random(*moved.shape, seed=2)


def store_of(name: str, orbits: Tensor) -> ActivationStore:
    return store_from_array(orbits, group=groups.from_name(name))


@pytest.mark.parametrize("name", NAMES)
def test_an_equivariant_layer_is_found_to_be_one(name: str) -> None:
    found = measure_layer(store_of(name, orbits_of(name)))
    assert found.verdict == "exactly equivariant"
    assert found.r2 > 0.999999
    assert found.relation_error < 1e-3
    assert found.control_r2 < 0.9
    assert found.equivariance_score > 0.999
    assert found.invariance_score < 0.6


def test_the_same_figures_as_those_of_the_transports_alone() -> None:
    store = store_of("D4", orbits_of("D4", noise=0.2))
    found = measure_layer(store)
    bound, free = fit_transport(store, "exact"), fit_transport(store, "least_squares")
    assert found.r2 == pytest.approx(bound.r2, abs=1e-6)
    assert found.free_r2 == pytest.approx(free.r2, abs=1e-6)
    assert found.identity_r2 == pytest.approx(bound.identity_r2)
    assert found.relation_error == pytest.approx(free.relation_error, rel=1e-4)
    assert found.condition_number == pytest.approx(bound.condition_number, rel=1e-4)
    assert (found.r2_low, found.r2_high) == pytest.approx(bound.r2_interval, abs=1e-6)


def test_an_invariant_layer_is_found_to_be_one() -> None:
    still = random(300, 1, 6).expand(-1, 4, -1)
    found = measure_layer(store_of("C4", still))
    assert found.verdict == "exactly invariant"
    assert found.spectrum == pytest.approx((1.0, 0.0, 0.0), abs=1e-9)
    assert found.invariance_score == pytest.approx(1.0)


@pytest.mark.parametrize("name", NAMES)
def test_noise_has_no_transport_above_its_control(name: str) -> None:
    order = groups.from_name(name).order
    found = measure_layer(store_of(name, random(800, order, 6)))
    assert not found.acts
    assert found.verdict == ("none" if found.r2 >= 0 else "none, worse than the mean")
    assert abs(found.equivariance_score) < 0.15
    assert abs(found.invariance_score) < 0.15


def test_a_transport_that_explains_a_part_acts_in_part() -> None:
    found = measure_layer(store_of("C4", orbits_of("C4", noise=0.4)))
    assert found.verdict == "mostly equivariant"
    assert found.control_r2 < 0.5 < found.r2 < 0.9


def test_another_group_of_the_same_order_does_not_act() -> None:
    found = measure_layer(store_of("C4", orbits_of("C4")))
    assert found.wrong_group_r2 is not None
    assert found.wrong_group_r2 < 0.8
    assert measure_layer(store_of("C3", orbits_of("C3"))).wrong_group_r2 is None


def test_another_group_has_the_same_order_and_another_structure() -> None:
    for name in ("C4", "D2", "C6", "D3", "C8", "D4", "C2xC4"):
        group = groups.from_name(name)
        other = another_group(group)
        assert other is not None
        assert other.order == group.order
        assert other.conjugacy_classes != group.conjugacy_classes or sorted(
            map(other.element_order, range(other.order))
        ) != sorted(map(group.element_order, range(group.order)))
    assert another_group(groups.cyclic(7)) is None


@pytest.mark.parametrize(("name", "other"), [("D4", "C8"), ("C4", "D2"), ("C2xC4", "C8")])
def test_another_group_is_the_first_family_that_differs(name: str, other: str) -> None:
    assert another_group(groups.from_name(name)) == groups.from_name(other)


def test_shuffling_keeps_each_orbit_and_all_positions_of_an_input_together() -> None:
    orbits = random(20, 3, 4, 5)
    mixed = shuffled(orbits, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixed.sort(dim=2).values, orbits.sort(dim=2).values)
    order = (mixed[:, 0, :, None] == orbits[:, 0, None]).all(-1).int().argmax(-1)
    for sample in range(20):
        assert torch.equal(mixed[sample], orbits[sample][:, order[sample]])
    assert not torch.equal(mixed, orbits)


def test_of_two_elements_the_second_comes_from_another_input() -> None:
    orbits = random(5, 1, 2, 3)
    mixed = shuffled(orbits, torch.Generator())
    assert torch.equal(mixed[1:, :, 1], orbits[:-1, :, 1])
    assert torch.equal(mixed[:, :, 0], orbits[:, :, 0])


@given(st.sampled_from([*NAMES, "O", "C2xC3"]), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_shares_add_up_to_one_and_none_is_negative(name: str, seed: int) -> None:
    group = groups.from_name(name)
    orbits = random(30, group.order, 3, seed=seed) + 2.0
    autocorrelation = cross_moments([orbits], group, 3).autocorrelation
    spectrum = symmetry_spectrum(group, autocorrelation)
    assert float(spectrum.sum()) == pytest.approx(1.0)
    assert float(spectrum.min()) > -1e-9


@pytest.mark.parametrize("name", NAMES)
def test_under_a_representation_the_spectrum_is_the_energy_of_its_parts(name: str) -> None:
    group = groups.from_name(name)
    orbits = orbits_of(name)
    orbits = orbits - orbits.mean((0, 1))
    spectrum = symmetry_spectrum(group, cross_moments([orbits], group, group.order).autocorrelation)
    flat = orbits.flatten(0, 1)
    parts = isotypic_projections(group, regular(group).matrices)
    energies = torch.stack([(flat @ part.T).square().sum() for part in parts])
    torch.testing.assert_close(spectrum, energies / flat.square().sum(), atol=1e-9, rtol=0)


def test_noise_has_the_spectrum_of_the_regular_representation() -> None:
    group = groups.dihedral(4)
    moments = cross_moments([random(4000, 8, 5)], group, 5)
    shares = torch.tensor([irrep.dim**2 / 8 for irrep in irreps(group)]).double()
    found = symmetry_spectrum(group, moments.autocorrelation)
    torch.testing.assert_close(found, shares, atol=0.02, rtol=0)


def test_canonical_scores_tell_re_encoding_from_loss() -> None:
    group = groups.cyclic(4)

    def scores(orbits: Tensor) -> tuple[float, float]:
        train, held_out = orbits[:400], orbits[400:]
        dim = orbits.shape[-1]
        return canonical_scores(
            cross_moments([train], group, dim), cross_moments([held_out], group, dim)
        )

    moved, still = orbits_of("C4"), random(600, 1, 4).expand(-1, 4, -1)
    assert scores(moved)[0] == pytest.approx(1.0, abs=1e-6)
    assert abs(scores(moved)[1]) < 0.2
    assert scores(still) == pytest.approx((1.0, 1.0), abs=1e-6)
    assert scores(torch.zeros(600, 4, 4, dtype=torch.float64)) == (1.0, 1.0)
    half = orbits_of("C4", invariant=0.5)
    assert 0.2 < scores(half)[1] < 0.8


def candidates(orbits: Tensor) -> list[ActivationStore]:
    """The orbits of D4 seen by its subgroups."""
    seen = {"C2": [0, 2], "C4": [0, 1, 2, 3], "D4": list(range(8))}
    return [store_of(name, orbits[:, elements]) for name, elements in seen.items()]


def test_the_largest_group_that_acts_is_chosen() -> None:
    choice = choose_group(candidates(orbits_of("D4")))
    assert choice.chosen == "D4"
    assert [figures.group for figures in choice.ranking] == ["D4", "C4", "C2"]


def test_a_group_whose_flips_do_not_act_loses_to_its_turns() -> None:
    orbits = orbits_of("D4")
    orbits[:, 4:] = random(600, 4, 8, seed=5)
    choice = choose_group(candidates(orbits))
    assert choice.chosen == "C4"
    # Its R^2 is below 0: it is worse than the mean, and no worse than another that is.
    assert [figures.group for figures in choice.ranking] == ["C4", "C2"]
    assert [figures.group for figures in choice.unranked] == ["D4"]
    shown = [f"{each.group} {each.r2:.4g}" for each in (*choice.ranking, *choice.unranked)]
    assert repr(choice) == f"GroupChoice(C4 chosen, R^2 {', '.join(shown)})"
    assert choice.unranked[0].verdict == "none, worse than the mean"


def test_none_is_chosen_where_none_acts() -> None:
    choice = choose_group(candidates(random(800, 8, 6)))
    assert choice.chosen is None
    assert repr(choice).startswith("GroupChoice(none chosen, R^2 ")
    assert len(choice.ranking + choice.unranked) == 3
    assert all(figures.r2 < 0 for figures in choice.unranked)


def figures_of(group: str, order: int, r2: float, *, spread: float = 0.01) -> LayerEquivariance:
    """Figures of a layer whose control is at 0.05 and whose identity is at -1."""
    return LayerEquivariance(
        layer="a",
        group=group,
        order=order,
        rank=8,
        dim=8,
        r2=r2,
        r2_low=r2 - spread,
        r2_high=min(r2 + spread, 1.0),
        free_r2=r2,
        identity_r2=-1.0,
        control_r2=0.05,
        wrong_group_r2=None,
        relation_error=0.1,
        condition_number=1.0,
        spectrum=(1.0,),
        equivariance_score=0.9,
        invariance_score=0.1,
        identity_low=-1.1,
        identity_high=-0.9,
    )


@pytest.mark.parametrize(
    ("r2", "spread", "verdict"),
    [
        (1.0, 0.00005, "exactly equivariant"),
        (0.99995, 0.0001, "nearly to exactly equivariant"),
        (0.95, 0.01, "nearly equivariant"),
        (0.89, 0.005, "mostly equivariant"),
        (0.89, 0.02, "mostly to nearly equivariant"),
        (0.35, 0.2, "weakly to mostly equivariant"),
        (0.14, 0.01, "weakly equivariant"),
        (0.04, 0.01, "none"),
        (-0.3, 0.01, "none, worse than the mean"),
    ],
)
def test_the_verdict_names_the_band_of_r2_and_both_where_its_interval_crosses(
    r2: float, spread: float, verdict: str
) -> None:
    found = figures_of("C4", 4, r2, spread=spread)
    assert found.verdict == verdict
    assert found.acts == (not verdict.startswith("none"))


def test_an_invariant_layer_has_the_band_of_the_identity() -> None:
    found = replace(figures_of("C4", 4, 0.96), identity_r2=0.955, control_r2=0.96)
    assert replace(found, identity_low=0.94, identity_high=0.97).verdict == "nearly invariant"
    crossing = replace(found, identity_low=0.89, identity_high=0.97)
    assert crossing.verdict == "mostly to nearly invariant"
    older = replace(found, identity_low=None, identity_high=None)
    assert older.verdict == "nearly invariant"


def test_below_0_a_group_has_no_place() -> None:
    candidates = [
        figures_of("C8", 8, -0.2),
        figures_of("D4", 8, 0.03),
        figures_of("C2", 2, 0.97),
        figures_of("C3", 3, -3.0),
        figures_of("C4", 4, 0.96),
    ]
    choice = rank_groups(candidates)
    assert [each.group for each in choice.ranking] == ["C4", "C2", "D4"]
    assert [each.group for each in choice.unranked] == ["C8", "C3"]
    assert choice.chosen == "C4"


def test_candidates_come_once_and_from_one_layer() -> None:
    store = store_of("C4", orbits_of("C4"))
    with pytest.raises(OrbitLensError, match="at least one, each once, received none"):
        choose_group([])
    with pytest.raises(OrbitLensError, match="received C4, C4"):
        choose_group([store, store])
    other = store_from_array(orbits_of("C2"), group=groups.cyclic(2), layer="another")
    with pytest.raises(OrbitLensError, match="received array:another, array:array"):
        choose_group([store, other])


def test_candidates_come_from_networks_with_the_same_weights(tmp_path: Path) -> None:
    def store(
        seed: int, name: str, out: Path | None = None, change: float = 1.0
    ) -> ActivationStore:
        torch.manual_seed(seed)
        layer = nn.Linear(64, 6)
        layer.weight.data *= change
        model = nn.Sequential(nn.Flatten(), layer).eval()
        return harvest(model, layer="1", inputs=images, action=actions.images(name), out=out)

    images = random(60, 1, 8, 8).float()
    assert len(choose_group([store(0, "C4"), store(0, "C2")]).unranked) == 2
    noted = store(0, "C4", tmp_path / "a")
    assert len(choose_group([noted, store(0, "C2", tmp_path / "b")]).unranked) == 2
    # What is noted tells small changes apart; activations of unmoved inputs tell large ones.
    for other in (store(0, "C2", tmp_path / "c", change=1.001), store(1, "C2")):
        with pytest.raises(OrbitLensError, match="one network 'Sequential' under each group"):
            choose_group([noted, other])


def test_a_knob_that_breaks_the_symmetry_moves_the_figures_one_way() -> None:
    found = [
        measure_layer(store_of("C4", orbits_of("C4", noise=noise)))
        for noise in np.linspace(0.0, 0.6, 5)
    ]
    r2 = [figures.r2 for figures in found]
    errors = [figures.relation_error for figures in found]
    assert r2 == sorted(r2, reverse=True)
    assert errors == sorted(errors)


@pytest.mark.parametrize("broken", [0.05, 0.1, 0.2])
def test_exactness_costs_little_where_a_large_mean_moves_a_little(broken: float) -> None:
    group = groups.dihedral(4)
    images = random(400, 1, 8, 8).float()
    model = GroupCNN(group, broken=broken, seed=2)
    store = harvest(model, layer="conv1", inputs=images, action=actions.images(group))
    bound, free = fit_transport(store, "exact"), fit_transport(store, "least_squares")
    assert bound.r2 > free.r2 - 0.01
    assert bound.condition_number < 100


def maps_of(images: Tensor, layer: nn.Module) -> ActivationStore:
    action = actions.images(groups.cyclic(4))
    return harvest(
        nn.Sequential(layer), layer="0", inputs=images.float(), action=action, positions="all"
    )


class Pattern(nn.Module):
    """A layer that puts out a pattern of its own, and the share of its input that is asked for."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share, self.pattern = share, random(1, 3, 4, 4, seed=7).float()

    def forward(self, x: Tensor) -> Tensor:
        return self.pattern + self.share * x.expand(-1, 3, -1, -1)


def test_a_pattern_that_does_not_depend_on_the_input_counts_for_nothing() -> None:
    images = random(200, 1, 4, 4)
    plain, patterned = (maps_of(images, layer) for layer in (nn.Identity(), Pattern(0.01)))
    found = measure_layer(patterned)
    assert found.verdict == measure_layer(plain).verdict == "exactly invariant"
    assert found.r2 == pytest.approx(1.0, abs=1e-4)
    rho = fit_transport(patterned, "spatial")
    assert rho.r2 == pytest.approx(1.0, abs=1e-3)
    noise = Pattern(0.0)
    with pytest.warns(OrbitLensWarning, match="the same output for . inputs"):
        drowned = maps_of(images, nn.Sequential(noise, nn.Dropout(0.0)))
    blurred = replace(drowned, array=maps_with_noise(drowned))
    assert not measure_layer(blurred).acts


def maps_with_noise(store: ActivationStore) -> zarr.Array:
    """The stored maps with independent noise, as of a layer that ignores its input."""
    values = np.asarray(store.array[:])
    noisy = values + 0.05 * np.random.default_rng(0).normal(size=values.shape)
    return store_from_array(noisy.astype(np.float32), group=store.group).array


def test_a_layer_that_explains_most_is_mostly_invariant() -> None:
    still = random(400, 1, 6).expand(-1, 4, -1) + 0.5 * random(400, 4, 6, seed=1)
    assert measure_layer(store_of("C4", still)).verdict == "mostly invariant"


def test_canonical_scores_compare_moments_of_one_group_and_width() -> None:
    few, many = (cross_moments([random(20, order, 3)], groups.cyclic(order), 3) for order in (3, 4))
    with pytest.raises(OrbitLensError, match="held_out"):
        canonical_scores(few, many)
    with pytest.raises(OrbitLensError, match="train.products"):
        canonical_scores(replace(few, products=few.products * torch.nan), few)
