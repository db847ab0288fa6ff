"""Scores of finite groups: they see where things are, not how bright, and move with the input."""

import pytest
import torch
from torch import Tensor, nn

from orbitlens import actions
from orbitlens.errors import OrbitLensError
from orbitlens.symmetry.symmetrize import EnergyHead, ImageHead

SIDE = 12


def dots(*places: tuple[int, int]) -> Tensor:
    """Return one image with dots, each the same under all turns and flips about itself."""
    image = torch.zeros(1, 1, SIDE, SIDE)
    for y, x in places:
        image[0, 0, y, x] = 1
    return image


def heads(name: str, seed: int) -> list[nn.Module]:
    action = actions.images(name)
    return [ImageHead(action.group, 1, seed=seed), EnergyHead(action, SIDE**2, seed=seed)]


def gap(scores: Tensor) -> float:
    """Return how far the largest score is above the second, relative to the largest of all."""
    first, second = scores.detach().topk(2, dim=1).values[0]
    return float((first - second) / scores.detach().abs().max())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["C2", "C4", "D4"])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_a_dot_off_the_centre_names_a_frame(name: str, seed: int, offset: float) -> None:
    for head in heads(name, seed):
        assert gap(head(dots((2, 4)) + offset)) > 1e-4


@pytest.mark.parametrize("name", ["C2", "C4", "D4"])
def test_a_symmetric_picture_has_no_frame_of_its_own(name: str) -> None:
    for head in heads(name, 0):
        assert gap(head(dots((2, 4), (9, 7)))) < 1e-5


@pytest.mark.parametrize("name", ["C4", "D4"])
def test_scores_move_with_the_image(name: str) -> None:
    action = actions.images(name)
    x = torch.randn(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for head in heads(name, 0):
        scores = head(x)
        for h in range(action.group.order):
            places = action.group.table[action.group.inverses[h]].tolist()
            assert torch.allclose(head(action(x, h)), scores[:, places], atol=1e-5)


def test_bright_images_differ_as_dark_ones_do() -> None:
    x = torch.randn(50, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for head in heads("D4", 0):
        dark, bright = head(x).detach(), head(x + 1000).detach()
        assert torch.allclose(bright, dark, atol=5e-3 * float(dark.std()) + 1e-3)


@pytest.mark.parametrize(
    ("shape", "said"),
    [((1, 2, 4, 4), "expected 1 channels, received 2"), ((1, 1, 4, 5), "square")],
)
def test_images_of_another_shape_are_refused(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(OrbitLensError, match=said):
        ImageHead(actions.images("C4").group, 1)(torch.rand(shape))


def test_inputs_of_another_size_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="expected 16 numbers in each, received 25"):
        EnergyHead(actions.images("C4"), 16)(torch.rand(1, 1, 5, 5))
