"""`reorder`: orbits in another order come into that of their group, or are refused."""

import warnings
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import orbitlens as ol
from orbitlens import groups
from orbitlens.activations import store_from_array
from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.groups import Group
from orbitlens.reps import regular
from orbitlens.transport import fit_transport, reorder
from orbitlens.typing import Float, Tensor

D4 = groups.dihedral(4)
FLIPS_FIRST = [
    "e",
    "r",
    "r^2",
    "r^3",
    "s",
    "r^3 s",
    "r^2 s",
    "r s",
]  # e, r, ..., s, s r, s r^2, ...


def orbits_of(group: Group, n: int = 100) -> Float[Tensor, "n group dim"]:
    return torch.einsum("gij,nj->ngi", regular(group).matrices.float(), torch.randn(n, group.order))


@given(st.permutations(range(6)))
def test_every_element_comes_to_its_place(order: list[int]) -> None:
    array = np.arange(12).reshape(2, 6, 1)
    lying = array[:, order]
    assert np.array_equal(reorder(lying, "C6", order), array)
    names = [groups.cyclic(6).element_names[g] for g in order]
    assert np.array_equal(reorder(lying, "C6", names), array)
    tensor = reorder(torch.from_numpy(lying), "C6", order)
    assert torch.equal(tensor, torch.from_numpy(array))
    assert np.array_equal(reorder(lying.tolist(), "C6", order), array)


def test_turns_to_the_right_are_brought_round() -> None:
    picture = np.random.default_rng(0).random((3, 8, 8))
    right = np.stack([np.rot90(picture, -k, axes=(1, 2)) for k in range(4)], axis=1)
    left = np.stack([np.rot90(picture, k, axes=(1, 2)) for k in range(4)], axis=1)
    assert np.array_equal(reorder(right, "C4", ["e", "r^3", "r^2", "r"]), left)


def test_the_law_places_all_elements_but_the_generators() -> None:
    orbits = orbits_of(D4)
    lying = orbits[:, [D4.element_names.index(name) for name in FLIPS_FIRST]]
    assert torch.equal(reorder(lying, D4), orbits)
    assert torch.equal(reorder(orbits, D4), orbits)
    positions = torch.stack([lying, lying.flip(0)], dim=2)  # [n, |G|, 2, dim]
    assert torch.equal(reorder(positions, D4)[:, :, 0], orbits)


@pytest.mark.parametrize("name", ["S3", "S4", "O", "C2xC4"])
@pytest.mark.parametrize("seed", [0, 1])
def test_any_order_that_keeps_the_generators_is_found(name: str, seed: int) -> None:
    group, random = groups.from_name(name), np.random.default_rng(seed)
    free = [g for g in range(1, group.order) if g not in group.generators]
    order = np.arange(group.order)
    order[free] = random.permutation(free)
    orbits = orbits_of(group, n=4 * group.order)
    assert torch.equal(reorder(orbits[:, order], group), orbits)


def test_turns_the_other_way_round_look_the_same() -> None:
    lying = orbits_of(groups.cyclic(5))[:, [0, 4, 3, 2, 1]]
    assert torch.equal(reorder(lying, "C5"), lying)


def test_the_warning_names_the_call_that_mends_it() -> None:
    lying = orbits_of(D4, n=300)[:, [D4.element_names.index(name) for name in FLIPS_FIRST]]
    store = store_from_array(lying, group=D4)
    call = r"ol\.reorder\(store, order=(\[.*?\])\) does it, if \[:, 1\] is r and \[:, 4\] is s"
    with pytest.warns(OrbitLensWarning, match=call):
        fit_transport(store)
    with pytest.raises(OrbitLensError, match=call):
        fit_transport(store, "exact")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mended = ol.reorder(store, order=[0, 1, 2, 3, 4, 7, 6, 5])
        assert fit_transport(mended, "exact").r2 > 0.999
        assert torch.equal(ol.reorder(store).orbits(), mended.orbits())


def test_where_generators_lie_elsewhere_the_warning_names_one_order_of_several() -> None:
    group = groups.cyclic(6)
    lying = orbits_of(group, n=300)[:, [0, 2, 1, 3, 4, 5]]
    store = store_from_array(lying, group=group)
    with pytest.warns(OrbitLensWarning, match=r"order=\[0, 2, 1, 3, 4, 5\]\) is one of the orders"):
        fit_transport(store)
    with pytest.raises(OrbitLensError, match=r"r at \[:, 1\].*\[0, 2, 1, 3, 4, 5\] fits.*`order`"):
        reorder(store)


def test_where_no_order_fits_the_warning_asks_for_it() -> None:
    store = store_from_array(orbits_of(groups.cyclic(6), n=300), group="S3")
    with pytest.warns(OrbitLensWarning, match=r"ol\.reorder\(store, order=\[\.\.\.\]\)"):
        fit_transport(store)
    with pytest.raises(OrbitLensError, match="multiply as those of S3.*another group"):
        reorder(store)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_store_keeps_all_but_the_order(tmp_path: Path, dtype: str) -> None:
    orbits, order = orbits_of(groups.cyclic(4), n=20).numpy(), [0, 3, 2, 1]
    labels, files = np.arange(20) % 2, [f"{i}.png" for i in range(20)]
    store = store_from_array(
        orbits[:, order],
        group="C4",
        labels=labels,
        class_names=("a", "b"),
        files=files,
        model="mine",
        layer="last",
        digest="of the inputs",
        dtype=dtype,
    )
    made = reorder(store, order=order, out=tmp_path / "made.zarr")
    whole = store_from_array(orbits, group="C4", dtype=dtype)
    assert torch.equal(made.orbits(), whole.orbits())
    kept = {**store.to_dict(), "path": str(tmp_path / "made.zarr")}
    assert made.to_dict() == kept
    assert made.labels is not None
    assert made.labels.tolist() == labels.tolist()
    assert list(made.files) == files


def test_the_fingerprint_of_numbers_is_made_anew() -> None:
    store = store_from_array(orbits_of(groups.cyclic(4)), group="C4")
    assert reorder(store, order=[0, 3, 2, 1]).digest != store.digest
    assert reorder(store, order=[0, 1, 2, 3]).digest == store.digest


def test_a_store_of_positions_is_brought_into_order_about_its_mean() -> None:
    orbits = torch.stack([orbits_of(D4), orbits_of(D4) + 1], dim=2)
    order = [D4.element_names.index(name) for name in FLIPS_FIRST]
    mean = torch.randn(2, 8)
    store = store_from_array(orbits[:, order], group=D4).about(mean)
    expected = store_from_array(orbits, group=D4).about(mean).orbits()
    assert torch.equal(reorder(store, order=FLIPS_FIRST).orbits(), expected)
    assert torch.equal(reorder(store, "D4").orbits(), expected)


def test_a_harvested_map_has_its_order() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1))
    store = ol.harvest(
        network,
        layer="0",
        inputs=torch.rand(5, 1, 6, 6),
        action=ol.actions.images("C4"),
        positions="all",
    )
    with pytest.raises(OrbitLensError, match="harvested under images.*in order already"):
        reorder(store, order=[0, 3, 2, 1])


ARRAY = np.ones((5, 4, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ARRAY,), "`group`: expected a group or its name"),
        ((ARRAY, "Z4"), "`group`: expected C or D"),
        ((ARRAY, "C6", [0]), r"`orbits`: expected shape \[n, 6, ...\].*received shape \[5, 4, 3\]"),
        ((ARRAY[:, 0], "C4"), r"`orbits`: expected shape \[n, 4, ...\]"),
        ((ARRAY, "C4", "e r r^2 r^3"), "`order`: expected a list of elements, received str"),
        (
            (ARRAY, "C4", [0, 1, 2]),
            r"`order`: expected each of the 4.*received 3 of them without r",
        ),
        ((ARRAY, "C4", [0, 1, 2, 2]), r"`order`: expected each of the 4.*without r\^3"),
        ((ARRAY, "C4", [0, 1, 2, 3, 3]), r"`order`: expected each of the 4.*received 5"),
        ((ARRAY, "C4", [0, 1, 2, 4]), "`order`: expected from 0 to 3, received 4"),
        ((ARRAY, "C4", [0, 1, 2, 1.5]), "`order`: expected a whole number"),
        ((ARRAY, "C4", ["e", "r", "r2", "r^3"]), r"`order`: expected one of e, r, r\^2.*'r2'"),
        ((ARRAY, "C4"), "expected at least 6 samples for dim = 3, received 5; give `order`"),
        ((ARRAY[:, :, 0], "C4"), r"expected shape \[n, |G|, dim\].*give `order`"),
        ((np.ones((5, 4, 4096)), "C4"), "`orbits`: expected fewer directions"),
        ((np.full((90, 4, 3), np.nan), "C4"), "`orbits`"),
        ((np.ones((90, 4, 3)), "C4"), "R.2 below 0.9|alike"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    arguments: tuple[Any, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(OrbitLensError, match=message) as caught:
        reorder(*arguments)
    assert "\n" not in str(caught.value)


def test_elements_that_move_activations_alike_have_no_order() -> None:
    still = torch.randn(50, 1, 3).expand(50, 4, 3)
    with pytest.raises(OrbitLensError, match="not clear; give `order`"):
        reorder(still, "C4")
    with pytest.raises(OrbitLensError, match=r"R\^2 below 0.9"):
        reorder(torch.randn(50, 4, 3), "C4")


def test_an_array_is_not_written_and_a_store_keeps_its_group(tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match="`out`: expected None for an array"):
        reorder(ARRAY, "C4", [0, 1, 2, 3], out=tmp_path)  # type: ignore[call-overload]
    store = store_from_array(ARRAY, group="C4")
    with pytest.raises(OrbitLensError, match="store of another group"):
        reorder(store, "C2xC2", [0, 1, 2, 3])
