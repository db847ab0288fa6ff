"""The Shapes protocol on planted codes whose answers are known."""

from dataclasses import replace

import jaxtyping
import pytest
import torch
from torch import Tensor

from orbitlens import groups, reps
from orbitlens.errors import OrbitLensError
from orbitlens.probe import (
    ProbeScores,
    ProbeSet,
    boosted_f1,
    probe_tasks,
    truncated_reconstruction,
)

C4 = reps.regular(groups.cyclic(4)).matrices.float()
# Latent j says that "shape" j is there; codes are invariant, and the turn is in the activations.
W_DEC = torch.randn(3, 4, generator=torch.Generator().manual_seed(9))
FAMILIES = ("S", "S", "SO", "SO")


def samples(n: int, seed: int) -> ProbeSet:
    """Tasks: shape 2; shape 0; shape 2 in orientation 1; shape 0 in orientation 3."""
    generator = torch.Generator().manual_seed(seed)
    there = torch.rand(n, 3, generator=generator) < 0.5
    there[:, 1] = True
    codes = there * (1 + 0.1 * torch.rand(n, 3, generator=generator))
    elements = torch.randint(0, 4, (n,), generator=generator)
    x_hat = codes @ W_DEC
    x = torch.einsum("nij,nj->ni", C4[elements], x_hat)
    two, zero = there[:, 2], there[:, 0]
    labels = torch.stack([two, zero, two & (elements == 1), zero & (elements == 3)], dim=1)
    return ProbeSet(codes, labels, elements=elements, x=x, x_hat=x_hat)


def probed(orientation: str, *, matrices: Tensor | None = C4, **settings) -> ProbeScores:
    arguments = {"families": FAMILIES, "W_dec": W_DEC, "t": (1, 2), **settings}
    return probe_tasks(
        samples(240, 0), samples(120, 1), matrices=matrices, orientation=orientation, **arguments
    )


@pytest.fixture(scope="module")
def oracle() -> ProbeScores:
    return probed("oracle")


def test_the_planted_latent_is_kept_first(oracle: ProbeScores) -> None:
    assert oracle.kept[:, 0].tolist() == [2, 0, 2, 0]


def test_a_transport_makes_orientation_readable_from_invariant_codes(oracle: ProbeScores) -> None:
    assert oracle.by_family["S"][1] == 1
    assert oracle.by_family["SO"][1] > 0.95
    still = probed("none", matrices=None)
    # 64 bins put the smallest of 120 codes in one bin with 0.
    assert still.by_family["S"][1] > 0.99
    assert still.by_family["SO"][1] < 0.5


def test_oracle_and_inferred_orientation_agree_on_clean_data(oracle: ProbeScores) -> None:
    inferred = probed("inferred")
    torch.testing.assert_close(inferred.f1, oracle.f1)
    assert inferred.orientation_accuracy == 1
    assert oracle.orientation_accuracy is None


def test_inferred_orientation_asks_no_oracle() -> None:
    def blind(part: ProbeSet) -> ProbeSet:
        return replace(part, elements=None)

    scores = probe_tasks(
        blind(samples(240, 0)),
        blind(samples(120, 1)),
        families=FAMILIES,
        W_dec=W_DEC,
        matrices=C4,
        orientation="inferred",
        t=[1],
    )
    assert scores.by_family["SO"][1] > 0.95
    assert scores.orientation_accuracy is None


def test_orientation_accuracy_counts_the_samples_of_the_test_set() -> None:
    train, test = samples(100, 0), samples(80, 1)
    test.elements[:20] += 1
    test.elements.remainder_(4)
    scores = probe_tasks(
        train,
        test,
        families=FAMILIES,
        W_dec=W_DEC,
        matrices=C4,
        orientation="inferred",
        t=[1],
    )
    assert scores.orientation_accuracy == 60 / 80


def test_without_a_dictionary_the_probes_see_the_kept_codes() -> None:
    scores = probed("none", matrices=None, W_dec=None)
    assert min(scores.by_family["S"].values()) > 0.99
    assert scores.by_family["SO"][2] < 0.5


def test_the_number_of_threads_changes_nothing(oracle: ProbeScores) -> None:
    assert torch.equal(probed("oracle", threads=1).f1, oracle.f1)


def crowded(n: int, seed: int) -> ProbeSet:
    """Six latents and seven noisy tasks, of which several keep the same latents."""
    generator = torch.Generator().manual_seed(seed)
    codes = (torch.randn(n, 6, generator=generator) - 0.3).relu()
    elements = torch.randint(0, 4, (n,), generator=generator)
    cut = torch.tensor([[0.1, 0.4, 0.8, 0.1, 0.4, 0.1, 0.4]])
    labels = codes[:, [0, 0, 0, 1, 1, 2, 3]] > cut
    noise = torch.rand(labels.shape, generator=generator) < 0.15
    return ProbeSet(codes, labels ^ noise, elements=elements)


CROWDED = {
    "families": ("S",) * 7,
    # Of the multiples of a latent, those of one sign; of both; of both and of none.
    "W_dec": torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
    * torch.tensor([[1, 1, 1, 1], [1, 1, 0, 1]]).repeat(3, 1),
    "t": (1, 2, 3),
}
CROWDED["W_dec"][2].abs_()


@pytest.mark.parametrize("orientation", ["none", "oracle"])
def test_every_score_is_that_of_a_probe_fitted_alone(orientation: str) -> None:
    train, test = crowded(250, 0), crowded(200, 1)
    matrices = C4 if orientation == "oracle" else None
    scores = probe_tasks(train, test, matrices=matrices, orientation=orientation, **CROWDED)
    kept_sets = {tuple(sorted(row[:2])) for row in scores.kept.tolist()}
    assert len(kept_sets) < 7

    def features(part: ProbeSet, kept: Tensor) -> Tensor:
        elements = None if matrices is None else part.elements
        return truncated_reconstruction(
            part.codes, CROWDED["W_dec"], kept, matrices=matrices, elements=elements
        )

    for task in range(7):
        for column, count in enumerate(scores.t):
            kept = scores.kept[task, :count].sort().values
            alone = boosted_f1(
                features(train, kept),
                train.labels[:, task],
                features(test, kept),
                test.labels[:, task],
            )
            assert scores.f1[task, column] == alone
    assert 0.3 < scores.f1.min() < scores.f1.max() < 1


def test_a_score_depends_on_no_other_task_and_not_on_the_threads() -> None:
    train, test = crowded(250, 0), crowded(200, 1)
    scores = probe_tasks(train, test, threads=1, **CROWDED)
    some = [5, 1, 3]
    fewer = probe_tasks(
        replace(train, labels=train.labels[:, some]),
        replace(test, labels=test.labels[:, some]),
        threads=3,
        **{**CROWDED, "families": ("S",) * 3},
    )
    assert torch.equal(fewer.f1, scores.f1[some])


def test_a_number_of_latents_that_is_asked_for_twice_has_two_equal_columns() -> None:
    train, test = crowded(250, 0), crowded(200, 1)
    seen: list[int] = []
    settings = {**CROWDED, "t": (3, 1, 3), "progress": lambda done, total: seen.append(done)}
    scores = probe_tasks(train, test, **settings)
    assert torch.equal(scores.f1[:, 0], scores.f1[:, 2])
    once = probe_tasks(train, test, **{**CROWDED, "t": (1, 3)})
    assert torch.equal(scores.f1[:, 1:], once.f1)
    assert seen == list(range(1, 8))


def test_a_latent_with_an_empty_row_is_worth_nothing() -> None:
    train, test = crowded(100, 0), crowded(100, 1)
    empty = {**CROWDED, "W_dec": torch.zeros(6, 4), "t": (1,)}
    scores = probe_tasks(train, test, **empty)
    constant = train.labels.double().mean(dim=0) > 0.5
    positives = test.labels.double().mean(dim=0)
    torch.testing.assert_close(scores.f1[:, 0], constant * 2 * positives / (1 + positives))


@pytest.mark.parametrize("t", [(1,), (1, 2)])
def test_progress_counts_all_tasks(t: tuple[int, ...]) -> None:
    seen: list[tuple[int, int]] = []
    probed("oracle", t=t, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_families_are_averaged_in_the_order_of_their_first_task() -> None:
    scores = ProbeScores(
        f1=torch.tensor([[0.2, 0.4], [1.0, 1.0], [0.4, 0.8]], dtype=torch.float64),
        t=(1, 4),
        families=("SP", "S", "SP"),
        kept=torch.zeros(3, 4, dtype=torch.long),
        orientation_accuracy=None,
    )
    assert list(scores.by_family) == ["SP", "S"]
    assert scores.by_family["SP"] == pytest.approx({1: 0.3, 4: 0.6})


def test_a_task_that_never_occurs_in_training_scores_zero() -> None:
    train, test = samples(60, 0), samples(60, 1)
    train.labels[:, 1] = False
    scores = probe_tasks(train, test, families=FAMILIES, W_dec=W_DEC, t=[1])
    assert scores.f1[0, 0] == 1
    assert scores.f1[1, 0] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matrices": None}, "`orientation`: .* received 'oracle' with W_dec"),
        ({"orientation": "none"}, "received 'none' with matrices and W_dec"),
        ({"W_dec": None}, "received 'oracle' with matrices"),
        ({"orientation": "guessed"}, "one of oracle, inferred, none, received 'guessed'"),
        ({"families": ("S",)}, "each of the 1 `families`, received 3 latents and 4 tasks"),
        ({"t": ()}, "`t`: expected at least one number"),
        ({"t": (1, 4)}, "`t`: expected from 1 to 3 latents, received 4"),
        ({"threads": 0}, "`threads`: expected at least 1, received 0"),
    ],
)
def test_bad_arguments_are_rejected(change: dict, message: str, monkeypatch) -> None:
    # As in a user's process, where annotations are not checked.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        probed(**{"orientation": "oracle", **change})


@pytest.mark.parametrize(
    ("orientation", "missing", "message"),
    [("oracle", "elements", "`elements` of the probe"), ("inferred", "x", "`x` and `x_hat`")],
)
def test_sets_without_what_the_orientation_needs_are_rejected(
    orientation: str, missing: str, message: str
) -> None:
    train, test = samples(20, 0), samples(20, 1)
    with pytest.raises(OrbitLensError, match=message):
        probe_tasks(
            train,
            replace(test, **{missing: None}),
            families=FAMILIES,
            W_dec=W_DEC,
            matrices=C4,
            orientation=orientation,
            t=[1],
        )
