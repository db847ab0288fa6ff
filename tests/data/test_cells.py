"""Drawn cells: what tells the classes apart, and that no orientation is preferred."""

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from orbitlens.actions import images
from orbitlens.data import Inputs, cells
from orbitlens.errors import OrbitLensError
from orbitlens.groups import dihedral

CLASSES = ("red cell", "lymphocyte", "neutrophil", "eosinophil")


@pytest.fixture(scope="module")
def large() -> Inputs:
    return cells(200, size=96, seed=1)


def of_class(drawn: Inputs, name: str) -> Float[Tensor, "n 3 size size"]:
    assert drawn.labels is not None
    return drawn.values[drawn.labels == CLASSES.index(name)]


def nucleus(drawn: Float[Tensor, "n 3 size size"]) -> Bool[np.ndarray, "n size size"]:
    """Only chromatin takes away much of the red light; its grains are smoothed."""
    grain = drawn.shape[-1] / 96
    return ndimage.gaussian_filter(drawn[:, 0].numpy(), (0, grain, grain)) < 0.55


def test_four_classes_equally_often_in_random_order() -> None:
    drawn = cells(42, size=16)
    assert drawn.name == "cells"
    assert drawn.class_names == CLASSES
    assert drawn.values.shape == (42, 3, 16, 16)
    assert drawn.values.dtype == torch.float32
    assert 0 <= drawn.values.min() < 0.3 < 0.9 < drawn.values.max() <= 1
    assert drawn.labels is not None
    assert np.bincount(drawn.labels).tolist() == [11, 11, 10, 10]
    assert len(np.unique(np.diff(drawn.labels))) > 2


def test_every_cell_lies_within_its_image(large: Inputs) -> None:
    border = torch.ones(96, 96, dtype=torch.bool)
    border[3:-3, 3:-3] = False
    assert (large.values[..., border].mean(2) > 0.8).all()
    assert (large.values[..., border].std(2) < 0.1).all()


def test_red_cells_have_no_nucleus_and_are_pale_in_the_middle(large: Inputs) -> None:
    red = of_class(large, "red cell")
    assert nucleus(red).mean() < 0.001
    green = red[:, 1].numpy()
    for image in green:
        inside = ndimage.binary_fill_holes(ndimage.gaussian_filter(image, 1) < 0.7)
        depth = ndimage.distance_transform_edt(inside)
        assert (
            image[depth > 0.7 * depth.max()].mean() > 0.1 + image[(depth > 2) & (depth < 6)].mean()
        )


def test_nuclei_have_one_lobe_two_lobes_or_an_arc_of_three_or_four(large: Inputs) -> None:
    expected = {"lymphocyte": {1}, "eosinophil": {2}, "neutrophil": {3, 4}}
    for name, wanted in expected.items():
        counts = []
        for mask in nucleus(of_class(large, name)):
            assert ndimage.label(mask)[1] == 1
            # Peeled until the threads between the lobes are gone, and most lobes are not.
            peeled = ndimage.distance_transform_edt(mask) > 5
            counts.append(ndimage.label(peeled)[1])
        assert np.mean([count in wanted for count in counts]) > 0.8
        assert set(counts) >= wanted


def test_the_nucleus_fills_a_lymphocyte_and_granules_are_orange_in_an_eosinophil(
    large: Inputs,
) -> None:
    share = {name: nucleus(of_class(large, name)).mean((1, 2)) for name in CLASSES}
    assert share["lymphocyte"].min() > share["neutrophil"].mean()
    red, _, blue = of_class(large, "eosinophil").unbind(1)
    orange = (red - blue > 0.35).float().mean((1, 2))
    assert orange.min() > 0.05
    red, _, blue = of_class(large, "neutrophil").unbind(1)
    assert (red - blue > 0.35).float().mean() < 0.001


def test_no_orientation_is_preferred() -> None:
    drawn = cells(1200, size=16, seed=0)
    for name in CLASSES:
        orbit = images(dihedral(4)).orbit(of_class(drawn, name).mean(0, keepdim=True))[0]
        assert (orbit - orbit.mean(0)).abs().max() < 0.06
    # The two lobes of an eosinophil lie along an axis: all directions cancel.
    row, column = np.mgrid[:16, :16] - 7.5
    masks = nucleus(of_class(drawn, "eosinophil"))
    axes = []
    for mask in masks[masks.sum((1, 2)) > 8]:
        places = (column + 1j * row)[mask]
        axis = ((places - places.mean()) ** 2).mean()
        axes.append(axis / abs(axis))
    assert len(axes) > 250
    assert abs(np.mean(axes)) < 3 / len(axes) ** 0.5


def test_no_two_cells_are_alike() -> None:
    drawn = cells(200, size=16)
    assert len({image.numpy().tobytes() for image in drawn.values}) == 200


def test_the_same_seed_gives_the_same_cells() -> None:
    first, again, other = (cells(6, size=16, seed=seed) for seed in (1, 1, 2))
    assert first.digest == again.digest != other.digest


def test_no_cells_and_no_pixels_are_rejected() -> None:
    with pytest.raises(OrbitLensError, match="`n`: expected at least 1, received 0"):
        cells(0)
    with pytest.raises(OrbitLensError, match="`size`: expected at least 16 pixels, received 15"):
        cells(4, size=15)


def test_more_images_than_memory_holds_are_refused_before_any_is_drawn() -> None:
    with pytest.raises(OrbitLensError, match="GiB of memory"):
        cells(n=10**12)
