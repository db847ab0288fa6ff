"""Theorems of a left action whose elements are drawn, and of the Haar measure."""

from itertools import permutations as all_orders

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.actions import (
    SampledAction,
    check_action,
    graphs,
    points,
    random_rotations,
    relabelling,
    rotate_points,
    rotations,
    set_permutation,
)
from orbitlens.errors import OrbitLensError
from orbitlens.groups import octahedral, signed_axes

ACTIONS = [
    relabelling(5),
    relabelling(5, pairs=False),
    relabelling(1),
    rotations("SO3"),
    rotations("O3", vectors=2),
    rotations("O3", vectors=2, centred=True),
    rotations("S5xSO3", centred=True),
    rotations("S5xO3", vectors=2),
]
every_action = pytest.mark.parametrize("action", ACTIONS, ids=lambda a: f"{a}{a.pairs}{a.centred}")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs_of(action: SampledAction, n: int = 3, seed: int = 0) -> Float[Tensor, "n points 8"]:
    return torch.randn(n, action.nodes or 5, 8, generator=seeded(seed)).double()


@every_action
def test_products_act_one_after_the_other(action: SampledAction) -> None:
    x = inputs_of(action)
    g, h = (action.draw(3, seeded(seed), x) for seed in (1, 2))
    torch.testing.assert_close(
        action(action(x, h), g), action(x, action.product(g, h)), atol=1e-12, rtol=0
    )


@every_action
def test_the_inverse_undoes_an_element(action: SampledAction) -> None:
    x = inputs_of(action)
    g = action.draw(3, seeded(), x)
    torch.testing.assert_close(action(action(x, g), action.inverse(g)), x, atol=1e-12, rtol=0)
    for identity in action.product(g, action.inverse(g)):
        torch.testing.assert_close(
            identity, torch.eye(identity.shape[-1]).double().expand(identity.shape)
        )


@every_action
def test_elements_follow_the_type_and_the_seed(action: SampledAction) -> None:
    for dtype in (torch.float32, torch.float64):
        like = torch.zeros(1, dtype=dtype)
        one, same, other = (action.draw(4, seeded(seed), like) for seed in (3, 3, 4))
        assert [each.dtype for each in one] == [dtype] * len(one)
        assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
        assert action.nodes == 1 or not torch.equal(one[-1], other[-1])


@every_action
def test_whole_numbers_name_no_type_of_elements(action: SampledAction) -> None:
    whole = action.draw(4, seeded(), torch.zeros(1, dtype=torch.int64))
    floats = action.draw(4, seeded(), torch.zeros(1))
    assert all(torch.equal(a, b) for a, b in zip(whole, floats, strict=True))
    assert {each.dtype for each in whole} == {torch.float32}


def test_an_element_of_its_own_moves_each_input() -> None:
    action = relabelling(4)
    x = inputs_of(action)
    g = action.draw(3, seeded(), x)
    alone = [action(x[i : i + 1], (g[0][i : i + 1],)) for i in range(3)]
    assert torch.equal(action(x, g), torch.cat(alone))


def test_gradients_reach_the_elements_and_the_inputs() -> None:
    action = rotations("S5xO3", centred=True)
    x = inputs_of(action).requires_grad_()
    g = tuple(each.requires_grad_() for each in action.draw(3, seeded(), x.detach()))
    action(x, g)[..., :3].square().sum().backward()
    assert all(each.grad is not None and bool(each.grad.any()) for each in (x, *g))


@pytest.mark.parametrize(("pairs", "finite"), [(True, graphs), (False, set_permutation)])
def test_relabelling_is_the_action_of_the_listed_permutations(pairs: bool, finite: object) -> None:
    listed = finite("S4")  # type: ignore[operator]
    x = torch.randn(2, 4, 6, generator=seeded())
    seen = set()
    for g, where in enumerate(listed.config["permutations"]):
        matrix = torch.zeros(4, 4)
        matrix[where, range(4)] = 1
        moved = relabelling(4, pairs)(x, (matrix.expand(2, 4, 4),))
        assert torch.equal(moved, listed(x, g))
        seen.add(tuple(where))
    assert seen == set(all_orders(range(4)))


@pytest.mark.parametrize("centred", [False, True])
def test_rotations_are_those_of_point_clouds(centred: bool) -> None:
    x = torch.randn(4, 6, 5, generator=seeded()).double()
    turns = random_rotations(4)
    action = rotations("SO3", centred=centred)
    torch.testing.assert_close(action(x, (turns,)), rotate_points(x, turns, centred=centred))
    cube = points(octahedral(inversion=True), centred=centred)
    for g, matrix in enumerate(torch.from_numpy(signed_axes(inversion=True)).double()):
        moved = rotations("O3", centred=centred)(x, (matrix.expand(4, 3, 3),))
        torch.testing.assert_close(moved, cube(x, g))


def test_vectors_after_the_first_have_no_place_and_other_columns_stay() -> None:
    action = rotations("O3", vectors=2, centred=True)
    x = inputs_of(action)
    g = action.draw(3, seeded(), x)
    moved = action(x, g)
    torch.testing.assert_close(moved[..., 3:6], x[..., 3:6] @ g[0].mT)
    assert torch.equal(moved[..., 6:], x[..., 6:])
    torch.testing.assert_close(moved[..., :3].mean(1), x[..., :3].mean(1))


def test_rotations_turn_and_reflections_do_both() -> None:
    like = torch.zeros(1).double()
    (turns,) = rotations("SO3").draw(200, seeded(), like)
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(200).double())
    (both,) = rotations("O3").draw(2000, seeded(), like)
    share = (torch.linalg.det(both) > 0).double().mean()
    assert abs(float(share) - 0.5) < 4 * 0.5 / 2000**0.5


@pytest.mark.parametrize("group", ["SO3", "O3"])
def test_the_haar_measure_has_the_moments_of_the_group(group: str) -> None:
    """By Schur, E[R] = 0 and E[R_ij R_kl] = delta_ik delta_jl / 3."""
    n = 40000
    (drawn,) = rotations(group).draw(n, seeded(), torch.zeros(1).double())
    assert float(drawn.mean(0).abs().max()) < 5 * (1 / 3 / n) ** 0.5
    moments = torch.einsum("nij,nkl->ijkl", drawn, drawn) / n
    expected = torch.einsum("ik,jl->ijkl", torch.eye(3), torch.eye(3)).double() / 3
    assert float((moments - expected).abs().max()) < 5 * (1 / 5 / n) ** 0.5


def test_the_haar_measure_is_invariant_under_a_fixed_element() -> None:
    n = 20000
    action = rotations("SO3")
    (drawn,) = action.draw(n, seeded(), torch.zeros(1).double())
    (fixed,) = action.draw(1, seeded(1), drawn)
    cubes = [(each[:, 0, 0] ** 3 * each[:, 1, 1]).mean() for each in (drawn, fixed @ drawn)]
    assert abs(float(cubes[0] - cubes[1])) < 5 * (0.1 / n) ** 0.5


def test_all_permutations_are_drawn_alike() -> None:
    n = 6000
    (drawn,) = relabelling(3).draw(n, seeded(), torch.zeros(1))
    counts = drawn.argmax(1).mul(torch.tensor([9, 3, 1])).sum(1).unique(return_counts=True)[1]
    assert len(counts) == 6
    assert float(((counts - n / 6) ** 2 / (n / 6)).sum()) < 20.5  # 5 degrees, p = 0.001


@pytest.mark.parametrize("action", [relabelling(5), rotations("S5xO3")], ids=repr)
def test_padding_keeps_its_place(action: SampledAction) -> None:
    sizes = torch.tensor([1, 3, 5]).repeat(20)
    mask = torch.arange(5) < sizes[:, None]
    permutation = action.draw(60, seeded(), torch.zeros(1), mask)[0]
    assert torch.equal(permutation.sum(1), torch.ones(60, 5))
    inside = mask[:, :, None] & mask[:, None]
    assert torch.equal(permutation[~inside], torch.eye(5).expand(60, 5, 5)[~inside])
    assert not torch.equal(permutation[1::3], torch.eye(5).expand(20, 5, 5))


def test_the_centroid_is_that_of_the_points_that_are_there() -> None:
    action = rotations("O3", vectors=2, centred=True)
    x = inputs_of(action)
    mask = torch.arange(5) < torch.tensor([[2], [4], [5]])
    about, centroid = action.centre(x, mask)
    for row, valid in enumerate(mask):
        torch.testing.assert_close(centroid[row, 0], x[row, valid, :3].mean(0))
    assert torch.equal(about[~mask], x[~mask])
    assert torch.equal(about[..., 3:], x[..., 3:])
    torch.testing.assert_close(action.put_back(about, centroid, mask), x)
    assert torch.equal(rotations("O3").centre(x)[0], x)


@pytest.mark.parametrize(
    ("name", "group"),
    [("so(3)", "SO3"), ("O(3)", "O3"), ("s12xo3", "S12xO3"), ("S5×SO(3)", "S5xSO3")],
)
def test_names_are_read_in_any_spelling(name: str, group: str) -> None:
    assert rotations(name).group == group


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: rotations("SO2"), "did you mean 'SO3'"),
        (lambda: rotations("S7xSO4"), "did you mean 'S7xSO3'"),
        (lambda: rotations("S0xO3"), "did you mean 'S5xO3'"),
        (lambda: rotations("U1"), "one of SO3, O3, S5xSO3, S5xO3"),
        (lambda: rotations("S12"), r"actions.relabelling\(12\), or name S12xO3"),
        (lambda: rotations("O3", vectors=0), "`vectors`: expected at least 1"),
        (lambda: relabelling(0), "`nodes`: expected at least 1"),
    ],
)
def test_what_no_action_can_be_made_of(build: object, message: str) -> None:
    with pytest.raises(OrbitLensError, match=message):
        build()  # type: ignore[operator]


def test_inputs_that_cannot_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    action, x = relabelling(4), torch.zeros(2, 4, 6)
    element = action.draw(2, seeded(), x)
    for wrong, said in (
        (torch.zeros(2, 4, 3), r"\[n, 4, 4 \+ features\].*received \[2, 4, 3\]"),
        (torch.zeros(2, 5, 6), r"received \[2, 5, 6\]"),
        (torch.zeros(4, 6), r"received \[4, 6\]"),
        (torch.zeros(2, 4, 6).int(), "convert them with inputs.float"),
    ):
        with pytest.raises(OrbitLensError, match=said):
            action(wrong, element)
    with pytest.raises(OrbitLensError, match=r"2 vectors of three columns first"):
        rotations("O3", vectors=2).check(torch.zeros(2, 4, 5))
    for few in ((element[0][:1],), (), (element[0][..., :3],)):
        with pytest.raises(OrbitLensError, match=r"`elements`: expected .*\[2, 4, 4\]"):
            action(x, few)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ([[1, 0, 1, 0]], r"received input 0 with \[1, 0, 1, 0\]; bring the padding to the end"),
        ([[0, 0, 0, 0]], "an input has at least one node"),
        ([[1, 1, 1]], r"shape \[1, 4\], received shape \[1, 3\]"),
    ],
)
def test_masks_that_are_no_padding(mask: list[list[int]], said: str) -> None:
    with pytest.raises(OrbitLensError, match=said):
        relabelling(4).draw(1, seeded(), torch.zeros(1), torch.tensor(mask).bool())


def test_where_elements_are_listed_none_can_be_drawn() -> None:
    with pytest.raises(OrbitLensError, match=r"whose elements are drawn; choose one that lists"):
        check_action(rotations("O3"))
