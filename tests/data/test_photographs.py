"""Patches of the two bundled photographs: whose pixels they are, and that they show something."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

from orbitlens.data import photographs
from orbitlens.errors import OrbitLensError

CLASSES = ("china fine", "china coarse", "flower fine", "flower coarse")
PHOTOGRAPHS = [load_sample_image(name).transpose(2, 0, 1) for name in ("china.jpg", "flower.jpg")]


def test_four_classes_equally_often_in_random_order() -> None:
    patches = photographs(42, size=16)
    assert patches.name == "photographs"
    assert patches.class_names == CLASSES
    assert patches.values.shape == (42, 3, 16, 16)
    assert patches.values.dtype == torch.float32
    assert 0 <= patches.values.min() < 0.1 < 0.9 < patches.values.max() <= 1
    assert patches.labels is not None
    assert np.bincount(patches.labels).tolist() == [11, 11, 10, 10]
    assert len(np.unique(np.diff(patches.labels))) > 2


def test_a_fine_patch_is_a_square_of_its_photograph() -> None:
    patches = photographs(8, size=12)
    assert patches.labels is not None
    for values, label in zip(patches.values, patches.labels, strict=True):
        photograph = PHOTOGRAPHS[label // 2]
        squares = np.lib.stride_tricks.sliding_window_view(photograph, (12, 12), axis=(1, 2))
        pixels = (255 * values).round().numpy().astype(np.uint8)
        corners = np.argwhere((squares[..., 0, 0] == pixels[:, :1, :1]).all(0))
        found = any(np.array_equal(squares[:, top, left], pixels) for top, left in corners)
        assert found == CLASSES[label].endswith("fine")


def test_a_coarse_patch_is_the_mean_of_a_square_of_four_times_its_side() -> None:
    size = 8
    patches = photographs(4, size=size)
    assert patches.labels is not None
    for values, label in zip(patches.values, patches.labels, strict=True):
        if not CLASSES[label].endswith("coarse"):
            continue
        photograph = torch.from_numpy(PHOTOGRAPHS[label // 2] / 255)
        # The mean of every square, and how far it is from the patch's own mean.
        means = torch.nn.functional.avg_pool2d(photograph, 4 * size, stride=1)
        distance = (means - values.mean((1, 2))[:, None, None]).abs().amax(0)
        nearby = (distance < 0.02).nonzero()
        blocks = torch.nn.functional.avg_pool2d(photograph, 4, stride=1)
        errors = [
            (blocks[:, top::4, left::4][:, :size, :size] - values).abs().mean()
            for top, left in nearby.tolist()
        ]
        assert min(errors) < 0.03


@pytest.mark.parametrize("size", [8, 32, 106])
def test_no_patch_is_plain(size: int) -> None:
    grey = photographs(60, size=size, seed=3).values.mean(1)
    # Shrinking takes away some of the contrast of a coarse patch.
    assert grey.flatten(1).std(1).min() > 0.05


def test_patches_lie_all_over_the_photographs() -> None:
    patches = photographs(200, size=32)
    assert len({patch.numpy().tobytes() for patch in patches.values}) == 200


def test_the_same_seed_gives_the_same_patches() -> None:
    first, again, other = (photographs(6, size=8, seed=seed) for seed in (1, 1, 2))
    assert first.digest == again.digest != other.digest


@pytest.mark.parametrize("size", [7, 107])
def test_a_size_out_of_range_is_rejected(size: int) -> None:
    with pytest.raises(OrbitLensError, match=f"expected 8 to 106 pixels, received {size}; .*32"):
        photographs(4, size=size)


def test_no_patches_are_rejected() -> None:
    with pytest.raises(OrbitLensError, match="`n`: expected at least 1, received 0"):
        photographs(0)


def test_more_images_than_memory_holds_are_refused_before_any_is_drawn() -> None:
    with pytest.raises(OrbitLensError, match="GiB of memory"):
        photographs(n=10**12)
