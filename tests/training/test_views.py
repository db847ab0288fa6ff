"""Views: what an objective asks for, and that it gets just that."""

from functools import partial

import pytest
import torch

from orbitlens import objectives
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.reps import direct_sum, irreps, isotypic_basis, regular
from orbitlens.sae import (
    SAE,
    CrosscoderDictionary,
    OrbitDictionary,
    TopK,
    compose,
    crosscoder_sae,
    topk_sae,
)
from orbitlens.training._stack import stack_saes
from orbitlens.training._views import VIEWS, Batch, Views, reconstructs_moved, views_of

ORDER, DIM = 3, 4
ROWS = torch.randn(5 * ORDER, DIM, generator=torch.Generator().manual_seed(0))
ORBITS = ROWS.unflatten(0, (5, ORDER))
# Two members, batches of two orbits: orbits 4 and 1, orbits 0 and 4, moved by 2, 0 and 1, 2.
ORBIT = torch.tensor([[4, 1], [0, 4]])
ELEMENT = torch.tensor([[2, 0], [1, 2]])
MEMBERS = [crosscoder_sae(DIM, 6, 2, ORDER, seed=seed) for seed in range(2)]
BASIS = isotypic_basis(direct_sum(regular(cyclic(ORDER)), irreps(cyclic(ORDER))[0]))
TIED = [
    compose(TopK(2), OrbitDictionary(2, BASIS, seed=seed), hidden=None, seed=seed)
    for seed in range(2)
]


def views(*names: str, members: list[SAE] = MEMBERS) -> Views:
    batch = Batch(ROWS, ORBIT * ORDER, ORBIT * ORDER + ELEMENT, ORDER)
    return Views(stack_saes(members), batch, names or VIEWS)


def test_activations_are_the_rows_of_each_members_batch() -> None:
    assert torch.equal(views().x, ORBITS[ORBIT, 0])
    assert torch.equal(views().x_moved, ORBITS[ORBIT, ELEMENT])
    assert torch.equal(views().orbit, ORBITS[ORBIT])


def test_codes_and_reconstructions_are_what_the_members_make_of_their_batch() -> None:
    stacked = views()
    for index, member in enumerate(MEMBERS):
        canonical, moved = member(stacked.x[index]), member(stacked.x_moved[index])
        for view, own in (
            (stacked.codes, canonical.codes),
            (stacked.x_hat, canonical.x_hat),
            (stacked.codes_moved, moved.codes),
            (stacked.x_hat_moved, moved.x_hat),
        ):
            torch.testing.assert_close(view[index], own, rtol=1e-4, atol=1e-5)
        assert isinstance(member.dictionary, CrosscoderDictionary)
        orbit = member.dictionary.orbit(canonical.codes)
        torch.testing.assert_close(stacked.x_hat_orbit[index], orbit, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "computed"),
    [
        ((), []),
        (("x", "x_moved", "orbit"), []),
        (("x_hat_moved",), ["output_moved"]),
        (("codes", "x_hat", "x_hat_orbit"), ["output"]),
        (("codes_moved", "codes"), ["output", "output_moved"]),
        (("pooled",), ["output"]),
        (("pooled", "pooled_moved"), ["output", "output_moved"]),
    ],
)
def test_the_sae_runs_only_on_what_is_asked_for(
    names: tuple[str, ...], computed: list[str]
) -> None:
    stacked = views(*names, members=TIED if "pooled" in names else MEMBERS)
    for name in names:
        getattr(stacked, name)
    expected = [getattr(stacked, name) for name in computed]
    assert len(stacked.outputs) == len(expected)
    assert all(a is b for a, b in zip(stacked.outputs, expected, strict=True))


def test_every_view_exists() -> None:
    views_by_member = {True: views(members=TIED), False: views()}
    for name in VIEWS:
        view = getattr(views_by_member[name.startswith("pooled")], name)
        assert view.shape[:2] == (2, 2)


def test_pooled_codes_are_the_sum_over_the_elements() -> None:
    stacked = views(members=TIED)
    for index, member in enumerate(TIED):
        for view, x in ((stacked.pooled, stacked.x), (stacked.pooled_moved, stacked.x_moved)):
            by_hand = sum(member(x[index]).codes.split(2, dim=-1))
            torch.testing.assert_close(view[index], by_hand)


def test_pooled_codes_of_an_sae_without_a_group_are_refused_in_one_line() -> None:
    with pytest.raises(OrbitLensError, match="received an SAE with a Cross.*`orbit_sae`") as error:
        _ = views().pooled
    assert "\n" not in str(error.value)


def test_the_orbit_of_an_sae_without_blocks_is_refused_in_one_line() -> None:
    stack = stack_saes([topk_sae(DIM, 6, 2)])
    batch = Batch(ROWS, torch.zeros(1, 2, dtype=torch.int64), torch.ones(1, 2).long(), 3)
    single = Views(stack, batch, VIEWS)
    with pytest.raises(OrbitLensError, match="received FreeDictionary.*crosscoder_sae") as error:
        _ = single.x_hat_orbit
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("names", "moved"),
    [
        (("x_moved", "x_hat_moved"), True),
        (("x", "x_hat_moved"), False),
        (("x", "x_hat", "x_hat_moved"), False),
        (("orbit", "x_hat_orbit"), False),
    ],
)
def test_the_target_is_the_canonical_sample_if_the_objective_names_it(
    names: tuple[str, ...], moved: bool
) -> None:
    assert reconstructs_moved(names) == moved


def test_the_output_compared_with_the_target_is_that_of_the_canonical_sample_if_named() -> None:
    assert (named := views("x", "x_hat", "x_hat_moved")).primary is named.output
    assert (named := views("orbit", "x_hat_orbit")).primary is named.output
    assert (named := views("x", "x_hat_moved")).primary is named.output_moved


def test_weights_are_no_views() -> None:
    expected = ("x", "x_hat", "codes", "codes_moved")
    assert views_of(objectives.latent_invariance) == expected
    assert views_of(partial(objectives.latent_invariance, weight=2.0)) == expected
    assert views_of(lambda x_hat, *, weight=1.0: weight * x_hat.sum(-1)) == ("x_hat",)


@pytest.mark.parametrize(
    "objective",
    [
        lambda: 0,
        lambda x, codes: 0,
        lambda x, x_hat, weight: 0,
        lambda *views: 0,
        lambda x_hat, **views: 0,
    ],
)
def test_anything_but_views_with_a_reconstruction_is_rejected(objective) -> None:
    with pytest.raises(OrbitLensError, match="`objective`: expected a function of some of x, "):
        views_of(objective)
