"""A view of a store about a mean map: what is read, and what is left alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orbitlens.activations import ActivationStore, open_store, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.typing import Tensor

MOVES = np.array([[0, 1, 2], [2, 1, 0]])


def store(*, out: Path | None = None) -> tuple[ActivationStore, Tensor, Tensor]:
    """Three places of which a flip exchanges two; the numbers stored, and a mean map."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(7, 2, 3, 5, generator=generator)
    mean = torch.randn(3, 5, generator=generator)
    return store_from_array(values, group=cyclic(2), out=out), values, mean


def test_the_mean_of_a_place_is_subtracted_there_before_places_are_aligned() -> None:
    plain, values, mean = store()
    view = replace(plain, moves=MOVES).about(mean)
    orbits = view.orbits().unflatten(0, (7, 3))
    for g in range(2):
        for p in range(3):
            there = int(MOVES[g, p])
            torch.testing.assert_close(orbits[:, p, g], values[:, g, there] - mean[there])


def test_all_ways_of_reading_agree() -> None:
    plain, _, mean = store()
    view = replace(plain, moves=MOVES).about(mean)
    assert torch.equal(torch.cat(list(view.chunks(size=4))), view.orbits())
    chosen = np.array([5, 0])
    rows = view.orbits().unflatten(0, (7, 3))[[5, 0]].flatten(0, 1)
    assert torch.equal(view.orbits(chosen), rows)
    assert torch.equal(torch.cat(list(view.chunks(chosen, size=3))), rows)


def test_a_view_takes_the_place_of_an_earlier_one_and_none_is_as_stored() -> None:
    plain, _, mean = store()
    twice = plain.about(mean).about(2 * mean)
    assert torch.equal(twice.orbits(), plain.about(2 * mean).orbits())
    assert torch.equal(twice.about(None).orbits(), plain.orbits())


def test_nothing_on_disk_changes(tmp_path: Path) -> None:
    plain, values, mean = store(out=tmp_path / "acts.zarr")
    view = plain.about(mean)
    assert not torch.equal(view.orbits(), plain.orbits())
    assert view.to_dict() == plain.to_dict()
    again = open_store(tmp_path / "acts.zarr")
    assert again.mean is None
    assert torch.equal(again.orbits(), values.permute(0, 2, 1, 3).flatten(0, 1))


def test_vectors_have_a_mean_of_one_row() -> None:
    plain = store_from_array(torch.ones(4, 2, 3), group=cyclic(2))
    view = plain.about(torch.full((1, 3), 0.5, dtype=torch.float64, requires_grad=True))
    assert view.orbits().dtype == torch.float32
    assert view.orbits().unique().tolist() == [0.5]


@pytest.mark.parametrize("shape", [(5,), (3, 4), (1, 5), (2, 3, 5)])
def test_a_mean_of_another_shape_is_refused_in_one_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(OrbitLensError, match=r"`mean`: expected finite.*\[3, 5\]") as error:
        store()[0].about(torch.zeros(shape))
    assert f"received shape {list(shape)}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mean_that_is_no_number_is_refused() -> None:
    plain, _, mean = store()
    with pytest.raises(OrbitLensError, match="received NaN or infinity"):
        plain.about(mean.log())
