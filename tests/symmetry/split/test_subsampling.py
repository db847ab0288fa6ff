"""Subsampling and upsampling: the theorems of the method, for every plane group."""

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from orbitlens.actions import move_on_plane
from orbitlens.errors import OrbitLensError
from orbitlens.groups import PlaneGroup
from orbitlens.models import GroupConv2d
from orbitlens.symmetry.split import (
    SubgroupStep,
    SubsamplingConv2d,
    UpsamplingConv2d,
    coset_representatives,
    default_factors,
    index_map,
    subgroup_chain,
    subsample,
    upsample,
)

STEPS = [
    SubgroupStep(PlaneGroup("p1", 8), 2),
    SubgroupStep(PlaneGroup("p1", 6), 3),
    SubgroupStep(PlaneGroup("p4", 8), 2),
    SubgroupStep(PlaneGroup("p4", 8), 4, 2),
    SubgroupStep(PlaneGroup("p4", 4), 1, 4),
    SubgroupStep(PlaneGroup("p4m", 8), 2, 1, 1),
    SubgroupStep(PlaneGroup("p4m", 8), 2, 2, 1),
    SubgroupStep(PlaneGroup("p4m", 8), 2, 1, 2),
    SubgroupStep(PlaneGroup("p4m", 4), 4, 4, 2),
    SubgroupStep(PlaneGroup("pmm", 6), 3, 2, 1),
]
every_step = pytest.mark.parametrize(
    "step", STEPS, ids=lambda s: f"{s.fine.name}-{s.fine.side}-{s.shift}{s.turn}{s.flip}"
)
NAMES = ("p1", "p2", "p4", "pm", "pmm", "p4m")
every_name = pytest.mark.parametrize("name", NAMES)


def functions(n: int, group: PlaneGroup) -> Float[Tensor, "n channels side side"]:
    channels = 2 * group.point_group.order
    generator = torch.Generator().manual_seed(0)
    shape = (n, channels, group.side, group.side)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def everyone(group: PlaneGroup) -> Tensor:
    return group.element(torch.arange(group.order))


@every_step
def test_an_element_is_its_representative_times_an_element_of_the_subgroup(
    step: SubgroupStep,
) -> None:
    g = everyone(step.fine)
    representatives, remainders = step.divide(g)
    inside = step.included(remainders)
    assert torch.equal(step.fine.multiply(representatives, inside), g)
    assert len(representatives.unique(dim=0)) == step.index
    assert step.index * step.coarse.order == step.fine.order


@every_step
def test_all_elements_of_a_coset_have_the_same_representative(step: SubgroupStep) -> None:
    g, k = everyone(step.fine), step.included(everyone(step.coarse))
    of_coset = step.divide(step.fine.multiply(g[:, None], k[None]))[0]
    assert torch.equal(of_coset, step.divide(g)[0][:, None].expand_as(of_coset))
    assert not step.divide(k)[0].any()


@every_step
def test_the_coarse_group_is_a_subgroup(step: SubgroupStep) -> None:
    k = everyone(step.coarse)
    products = step.included(step.coarse.multiply(k[:, None], k[None]))
    inside = step.included(k)
    assert torch.equal(products, step.fine.multiply(inside[:, None], inside[None]))


@every_step
def test_subsampling_a_moved_map_moves_the_result_by_an_element_of_the_subgroup(
    step: SubgroupStep,
) -> None:
    # S at p' = rep(g p) of gF is S at p of F, moved by p'^-1 g p.
    g = everyone(step.fine)
    x = functions(len(g), step.fine)
    p = step.divide(step.fine.random(len(g), torch.Generator().manual_seed(1)))[0]
    p_moved, k = step.divide(step.fine.multiply(g, p))
    found = subsample(move_on_plane(x, g, step.fine, regular=True), p_moved, step)
    expected = move_on_plane(subsample(x, p, step), k, step.coarse, regular=True)
    assert torch.equal(found, expected)


@every_step
def test_upsampling_a_moved_map_moves_the_result(step: SubgroupStep) -> None:
    g = everyone(step.fine)
    x = functions(len(g), step.coarse)
    p = step.divide(step.fine.random(len(g), torch.Generator().manual_seed(1)))[0]
    p_moved, k = step.divide(step.fine.multiply(g, p))
    found = upsample(move_on_plane(x, k, step.coarse, regular=True), p_moved, step)
    assert torch.equal(found, move_on_plane(upsample(x, p, step), g, step.fine, regular=True))


@every_step
def test_subsampling_undoes_upsampling_and_picks_the_values_of_the_coset(
    step: SubgroupStep,
) -> None:
    p = step.divide(everyone(step.fine))[0]
    x = functions(len(p), step.coarse)
    up = upsample(x, p, step)
    assert torch.equal(subsample(up, p, step), x)
    assert (up != 0).sum() == x.numel()


@every_name
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), side=st.sampled_from([4, 8, 12, 16]))
def test_representatives_down_a_chain_multiply_to_the_pose(name: str, seed: int, side: int) -> None:
    group = PlaneGroup(name, side)
    pose = group.random(20, torch.Generator().manual_seed(seed))
    steps = subgroup_chain(group, default_factors(group))
    product = torch.zeros_like(pose)
    for step, p in reversed(list(zip(steps, coset_representatives(pose, steps), strict=True))):
        product = step.fine.multiply(p, step.included(product))
    assert torch.equal(product, pose)
    assert (steps[-1].coarse.order, steps[0].fine) == (1, group)


@pytest.mark.parametrize(
    ("name", "side", "factors"),
    [
        ("p1", 64, ((2, 1, 1), (2, 1, 1), (2, 1, 1), (2, 1, 1), (4, 1, 1))),
        ("p4", 64, ((2, 1, 1), (2, 1, 1), (2, 1, 1), (2, 2, 1), (4, 2, 1))),
        ("p4m", 64, ((2, 1, 1), (2, 1, 1), (2, 1, 1), (2, 2, 1), (4, 2, 2))),
        ("p4", 3, ((3, 4, 1),)),
        ("p1", 1, ((1, 1, 1),)),
        ("p1", 7, ((7, 1, 1),)),
        ("p1", 28, ((2, 1, 1), (2, 1, 1), (7, 1, 1))),
        ("p4", 33, ((3, 2, 1), (11, 2, 1))),
        ("p4m", 45, ((3, 1, 1), (3, 2, 1), (5, 2, 2))),
    ],
)
def test_default_factors_are_those_of_the_source_or_prime_factors(
    name: str, side: int, factors: tuple[tuple[int, int, int], ...]
) -> None:
    assert default_factors(PlaneGroup(name, side)) == factors


def test_a_side_with_a_large_prime_factor_has_no_default_factors() -> None:
    with pytest.raises(OrbitLensError, match="a side of 34, which has the prime factor 17, .*crop"):
        default_factors(PlaneGroup("p4", 34))
    assert len(subgroup_chain(PlaneGroup("p1", 34), (2, 17))) == 2
    with pytest.raises(OrbitLensError, match=r"give for example \(\(2, 1, 1\), \(17, 1, 1\)\)"):
        subgroup_chain(PlaneGroup("p1", 34), (2, 2))


@pytest.mark.parametrize(
    "factors",
    [
        [np.int64(2), np.int64(4)],
        np.array([2, 4]),
        [2.0, 4.0],
        torch.tensor([2, 4]),
        ((2, 1), np.array([4, 1, 1])),
    ],
    ids=["numbers", "array", "floats", "tensor", "mixed"],
)
def test_factors_may_be_numbers_of_any_library(
    monkeypatch: pytest.MonkeyPatch, factors: object
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    chain = subgroup_chain(PlaneGroup("p1", 8), factors)
    assert [step.shift for step in chain] == [2, 4]


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (8, "a list of whole numbers, .*received int"),
        ("24", "a list of whole numbers, .*received str"),
        ([None], "a list of whole numbers, .*received NoneType"),
        ([8.5], "a whole number, at least 1, received 8.5"),
        ([True, 8], "a whole number, at least 1, received True"),
    ],
)
def test_factors_that_are_no_lists_of_strides_are_refused(
    monkeypatch: pytest.MonkeyPatch, factors: object, message: str
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=f"`factors`: expected {message}"):
        subgroup_chain(PlaneGroup("p1", 8), factors)


def test_strides_that_divide_nothing_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="divisor of 9, received 2; choose 1 or 3 or 9"):
        SubgroupStep(PlaneGroup("p1", 9), 2)
    with pytest.raises(OrbitLensError, match="`shift` of a step from p1 of side 8: .*divisor of 8"):
        SubgroupStep(PlaneGroup("p1", 8), 3)
    with pytest.raises(OrbitLensError, match="`turn` of a step from p1 of side 8"):
        SubgroupStep(PlaneGroup("p1", 8), 2, 2)
    with pytest.raises(OrbitLensError, match="`flip` of a step from p4 of side 8"):
        SubgroupStep(PlaneGroup("p4", 8), 2, 2, 2)


@every_name
def test_the_pose_of_a_moved_map_is_the_pose_moved(name: str) -> None:
    group = PlaneGroup(name, 4)
    g = everyone(group)
    x = functions(len(g), group)
    before, after = index_map(x, group), index_map(move_on_plane(x, g, group, regular=True), group)
    assert not before.tied.any()
    assert torch.equal(after.element, group.multiply(g, before.element))


def test_the_pose_is_the_middle_of_what_stands_out() -> None:
    group, x = PlaneGroup("p1", 16), torch.zeros(1, 1, 16, 16)
    x[0, 0, 14:16, 3:6] = 1
    x[0, 0, 0, 3:6] = 1
    assert index_map(x, group).element.tolist() == [[15, 4, 0]]


def test_layers_that_do_not_fit_the_torus_are_refused() -> None:
    step = SubgroupStep(PlaneGroup("p4", 4), 2, 2)
    for kind in (SubsamplingConv2d, UpsamplingConv2d):
        with pytest.raises(OrbitLensError, match="padding \"circular\", .*received 'zeros'"):
            kind(GroupConv2d("C4", 1, 1), step)
        with pytest.raises(OrbitLensError, match="expected the group C4, received C2"):
            kind(GroupConv2d("C2", 1, 1, padding="circular"), step)
        with pytest.raises(OrbitLensError, match="at most 9 pixels, received 11"):
            kind(GroupConv2d("C4", 1, 1, 11, padding="circular"), step)


def test_maps_that_are_no_functions_on_the_group_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    step, p = SubgroupStep(PlaneGroup("p4", 4), 2, 2), torch.zeros(1, 3, dtype=torch.int64)
    for shape in ((1, 3, 4, 4), (1, 4, 4, 5)):
        with pytest.raises(OrbitLensError, match=r"shape \[n, features \* 4, 4, 4\]"):
            subsample(torch.zeros(shape), p, step)
    with pytest.raises(OrbitLensError, match=r"shape \[n, features \* 2, 2, 2\]"):
        upsample(torch.zeros(1, 3, 2, 2), p, step)


@pytest.mark.parametrize(
    ("representatives", "message"),
    [
        ([[9, 9, 0]], "`representatives`: expected whole numbers in 0..3, received .* 0..9"),
        ([[0, 0, 0], [0, 0, 0]], r"`representatives`: expected shape \[n = 1, element\]"),
        ([[0.0, 0.0, 0.0]], "`representatives`: expected whole numbers .*received float32"),
    ],
)
def test_representatives_outside_of_the_group_are_refused(
    monkeypatch: pytest.MonkeyPatch, representatives: list[list[float]], message: str
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    step, p = SubgroupStep(PlaneGroup("p4", 4), 2, 2), torch.tensor(representatives)
    with pytest.raises(OrbitLensError, match=message):
        subsample(torch.zeros(1, 4, 4, 4), p, step)
    with pytest.raises(OrbitLensError, match=message):
        upsample(torch.zeros(1, 2, 2, 2), p, step)


@pytest.mark.parametrize("pose", [[8, 0, 0], [0, 0, 4], [9, 9, 9], [-1, 0, 0]])
def test_poses_outside_of_the_group_have_no_representatives(pose: list[int]) -> None:
    steps = subgroup_chain(PlaneGroup("p4", 8), [(8, 4)])
    with pytest.raises(OrbitLensError, match="`pose`: expected"):
        coset_representatives(torch.tensor([pose]), steps)


def test_an_empty_batch_has_no_poses_and_no_maps() -> None:
    step = SubgroupStep(PlaneGroup("p4", 4), 2, 2)
    found = index_map(torch.zeros(0, 8, 4, 4), step.fine)
    assert (found.element.shape, found.tied.shape) == ((0, 3), (0,))
    assert subsample(torch.zeros(0, 8, 4, 4), found.element, step).shape == (0, 4, 2, 2)
    assert upsample(torch.zeros(0, 4, 2, 2), found.element, step).shape == (0, 8, 4, 4)


@pytest.mark.parametrize(
    ("maps", "settings", "message"),
    [
        (torch.zeros(2, 6, 8, 8), {}, r"features \* 4, 8, 8\], received \[2, 6, 8, 8\]"),
        (torch.zeros(2, 4, 7, 7), {}, r"features \* 4, 8, 8\], received \[2, 4, 7, 7\]"),
        (torch.zeros(4, 8, 8), {}, r"features \* 4, 8, 8\], received \[4, 8, 8\]"),
        (torch.zeros(2, 4, 8, 8, device="meta"), {}, "device meta, without numbers"),
        (torch.full((2, 4, 8, 8), torch.nan), {}, "finite scores, received NaN"),
        (torch.zeros(2, 4, 8, 8), {"blur": 0}, "`blur`: expected above 0, received 0"),
        (torch.zeros(2, 4, 8, 8), {"blur": -1.0}, "`blur`: expected above 0, received -1.0"),
    ],
)
def test_maps_without_a_pose_are_refused(
    monkeypatch: pytest.MonkeyPatch, maps: Tensor, settings: dict, message: str
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message):
        index_map(maps, PlaneGroup("p4", 8), **settings)


def test_maps_of_whole_numbers_have_a_pose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    maps = torch.arange(2 * 4 * 64).reshape(2, 4, 8, 8)
    expected = index_map(maps.float(), PlaneGroup("p4", 8))
    assert torch.equal(index_map(maps, PlaneGroup("p4", 8)).element, expected.element)
