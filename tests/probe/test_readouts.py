"""Readouts of an orbit SAE, and the rule that chooses one."""

from dataclasses import replace

import pytest
import torch

import orbitlens as ol
from orbitlens.errors import OrbitLensError
from orbitlens.probe import (
    ProbeSet,
    invariant_readout,
    probe_readouts,
    probe_tasks,
    score_readouts,
)
from orbitlens.sae import SAE

TASKS = ["S", "SO"]


@pytest.fixture(scope="module")
def sae() -> SAE:
    toy = ol.data.toy(n_features=4, orbit_size=4, dim=8, n_samples=300, seed=0)
    rho = ol.fit_transport(ol.store_from_array(toy.orbits, group=toy.group), "exact")
    return ol.sae.orbit_sae(8, 3, 2, rho)


def samples(sae: SAE, seed: int, n: int = 200) -> ProbeSet:
    """Codes in which one pair fires: S asks for its atom 1, SO for the pair (2, 1)."""
    generator = torch.Generator().manual_seed(seed)
    atom = torch.randint(3, (n,), generator=generator)
    element = torch.randint(4, (n,), generator=generator)
    codes = torch.zeros(n, sae.d_sae)
    codes[torch.arange(n), element * 3 + atom] = 1.0
    labels = torch.stack([atom == 1, (atom == 1) & (element == 2)], dim=1)
    return ProbeSet(codes, labels)


def test_the_invariant_readout_sums_over_the_group_and_leaves_other_codes_alone(sae: SAE) -> None:
    codes = torch.rand(5, 12)
    by_hand = codes[:, :3] + codes[:, 3:6] + codes[:, 6:9] + codes[:, 9:]
    torch.testing.assert_close(invariant_readout(sae, codes), by_hand)
    assert invariant_readout(ol.sae.topk_sae(8, 12, 2), codes) is codes


def test_the_rule_takes_the_readout_that_answers_the_task(sae: SAE) -> None:
    scores = probe_readouts(samples(sae, 0), samples(sae, 1), sae, families=TASKS, t=[1], threads=1)
    assert scores.oriented_chosen.flatten().tolist() == [False, True]
    assert scores.chosen.flatten().tolist() == [1.0, 1.0]
    assert scores.invariant[1].item() < 0.9 > scores.oriented[0].item()
    assert scores.families == ("S", "SO")


def test_each_readout_scores_what_its_probes_score_alone(sae: SAE) -> None:
    train, test = samples(sae, 0), samples(sae, 1)
    scores = probe_readouts(train, test, sae, families=TASKS, t=[1, 2], seed=3, threads=1)
    alone = probe_tasks(train, test, families=TASKS, W_dec=sae.W_dec, t=[1, 2], seed=3, threads=1)
    assert torch.equal(scores.oriented, alone.f1)


def test_the_rule_sees_no_test_sample(sae: SAE) -> None:
    train, test = samples(sae, 0), samples(sae, 1)
    wrong = ProbeSet(test.codes, ~test.labels)
    choices = [
        probe_readouts(train, each, sae, families=TASKS, t=[1], threads=1).oriented_chosen
        for each in (test, wrong)
    ]
    assert torch.equal(*choices)


def test_a_readout_with_fewer_latents_than_asked_for_uses_all(sae: SAE) -> None:
    scores = probe_readouts(
        samples(sae, 0), samples(sae, 1), sae, families=TASKS, t=[16], threads=1
    )
    assert scores.invariant.shape == scores.oriented.shape == (2, 1)


def oriented_samples(seed: int, n: int = 120) -> ProbeSet:
    """Codes, labels and activations of an SAE that C2 follows by a change of sign."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.rand(n, 8, generator=generator)
    elements = torch.randint(2, (n,), generator=generator)
    x_hat = codes @ torch.randn(8, 8, generator=torch.Generator().manual_seed(9))
    x = torch.where(elements[:, None] == 1, -x_hat, x_hat)
    labels = torch.stack([codes[:, 0] > 0.5, elements == 1], dim=1)
    return ProbeSet(codes, labels, elements, x, x_hat)


@pytest.mark.parametrize(
    ("matrices", "orientations"),
    [
        (None, ["none"]),
        (torch.stack([torch.eye(8), -torch.eye(8)]), ["oracle", "inferred"]),
    ],
    ids=["without a transport", "with a transport"],
)
def test_the_readouts_of_an_ordinary_sae_are_its_orientations(
    matrices: torch.Tensor | None, orientations: list[str]
) -> None:
    plain, sets = ol.sae.topk_sae(8, 8, 2), (oriented_samples(0), oriented_samples(1))
    t = {orientation: [index + 1] for index, orientation in enumerate(orientations)}
    found = list(score_readouts(*sets, plain, matrices, families=TASKS, t=t, threads=1))
    assert [(name, orientation) for name, orientation, _ in found] == [
        ("", orientation) for orientation in orientations
    ]
    for _, orientation, scores in found:
        alone = probe_tasks(
            *sets,
            families=TASKS,
            W_dec=plain.W_dec,
            matrices=matrices,
            orientation=orientation,
            t=t[orientation],
        )
        assert torch.equal(scores.f1, alone.f1)


def test_an_orbit_sae_has_two_readouts_and_ignores_a_transport(sae: SAE) -> None:
    sets, matrices = (samples(sae, 0), samples(sae, 1)), torch.eye(8).expand(4, 8, 8)
    settings = {"families": TASKS, "t": [1, 5], "threads": 1}
    with_rho = list(score_readouts(*sets, sae, matrices, **settings))
    assert [(name, orientation) for name, orientation, _ in with_rho] == [
        ("invariant", "none"),
        ("oriented", "none"),
    ]
    # Three atoms, twelve pairs.
    assert [scores.t for _, _, scores in with_rho] == [(1, 3), (1, 5)]
    for (_, _, scores), (_, _, same) in zip(
        with_rho, score_readouts(*sets, sae, **settings), strict=True
    ):
        assert torch.equal(scores.f1, same.f1)


def test_the_rule_needs_two_readouts(sae: SAE) -> None:
    plain, sets = ol.sae.topk_sae(8, 12, 2), (samples(sae, 0), samples(sae, 1))
    with pytest.raises(OrbitLensError, match="an orbit SAE, .* received one with a FreeDictionary"):
        probe_readouts(*sets, plain, families=TASKS, t=[1])


@pytest.mark.parametrize("kind", [torch.float64, torch.float16])
def test_codes_of_any_type_give_the_same_scores(sae: SAE, kind: torch.dtype) -> None:
    sets = (samples(sae, 0), samples(sae, 1))
    settings = {"families": TASKS, "t": [1, 5], "threads": 1}
    other = [replace(each, codes=each.codes.to(kind)) for each in sets]
    found, expected = (probe_readouts(*each, sae, **settings) for each in (other, sets))
    assert torch.equal(found.chosen, expected.chosen)


def test_codes_beyond_float32_are_refused(sae: SAE) -> None:
    good = samples(sae, 0)
    wrong = replace(good, codes=good.codes.double() * 1e200)
    with pytest.raises(OrbitLensError, match="fit float32"):
        probe_readouts(good, wrong, sae, families=TASKS, t=[1])
    with pytest.raises(OrbitLensError, match="fit float32"):
        list(score_readouts(wrong, good, sae, families=TASKS, t=[1]))
