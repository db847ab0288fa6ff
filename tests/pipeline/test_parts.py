"""Parts of a run on small data."""

import pytest

from orbitlens import data, fit_transport, sae, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.pipeline import (
    RunConfig,
    build_sae,
    check_pairs,
    load_source,
    measure_sae,
    measured_samples,
    prepare,
    sae_objective,
)


def test_a_job_knows_its_model_group_and_whether_it_trains() -> None:
    job = prepare(RunConfig.for_source("digits", n_samples=100))
    assert (job.model.name, job.action.group.name, job.trains_model) == ("digits-cnn", "C4", True)


def test_images_have_the_size_of_their_source() -> None:
    source = load_source(RunConfig.for_source("digits", n_samples=100))
    assert source.inputs.values.shape == (100, 1, 32, 32)


def test_an_sae_has_the_latents_of_the_settings() -> None:
    assert build_sae(RunConfig(d_sae=32, k=4), d_in=16).d_sae == 32


@pytest.mark.parametrize("settings", [{"d_sae": 2**22}, {"d_sae": 2**22, "hidden": 0}])
def test_a_training_beyond_memory_is_refused_before_anything_is_built(
    settings: dict[str, int],
) -> None:
    # Each of the matrices alone would fit into 100 GiB; a training of both does not.
    with pytest.raises(OrbitLensError, match=r"a training of [\d,]+ weights: expected a machine"):
        build_sae(RunConfig(k=4, **settings), d_in=6000)


def test_a_weight_of_zero_leaves_an_objective_out() -> None:
    assert sae_objective(RunConfig(orbit_weight=0.0), "orbit").__name__ == "reconstruction"


def test_an_orbit_sae_needs_as_many_pairs_as_it_keeps() -> None:
    with pytest.raises(OrbitLensError, match=r"`k` of the orbit SAE: expected at most 4"):
        check_pairs(RunConfig(d_sae=8, n_atoms=1), cyclic(4))


def test_all_held_out_samples_are_measured_if_they_fit() -> None:
    toy = data.toy(n_features=8, orbit_size=4, n_samples=50, seed=0)
    store = store_from_array(toy.orbits, group=toy.group)
    assert len(measured_samples(store, d_sae=32, seed=0)) == 10


def test_a_vanilla_sae_has_no_figures_of_atoms_and_transport() -> None:
    toy = data.toy(n_features=8, orbit_size=4, n_samples=50, seed=0)
    rho = fit_transport(store_from_array(toy.orbits, group=toy.group))
    figures = measure_sae(sae.topk_sae(16, 32, 3), toy.orbits, rho, transported=False)
    assert figures["atoms"] is figures["transported_mse"] is None
    assert figures["l0"] <= 3
