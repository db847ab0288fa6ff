"""Pictures survive the way into the page, and stay small."""

import base64
import io

import pytest
import torch
from PIL import Image

from orbitlens.report._gallery import MAX_SIDE, data_uri
from orbitlens.typing import Float, Int, Tensor


def decoded(uri: str) -> Int[Tensor, "height width *channels"]:
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    data = torch.tensor(list(picture.tobytes()), dtype=torch.int64)
    return data.reshape(picture.height, picture.width, len(picture.getbands())).squeeze(-1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_simple_picture_comes_back_exactly(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (channels, 9, 13), generator=generator)
    back = decoded(data_uri(levels / 255))
    expected = levels.permute(1, 2, 0)
    torch.testing.assert_close(back, expected.squeeze(-1))


def test_values_outside_the_range_are_clipped_and_nan_is_black() -> None:
    image = torch.tensor([[[-3.0, 2.0], [float("nan"), 0.2]]])
    assert decoded(data_uri(image)).tolist() == [[0, 255], [0, 51]]


def test_other_numbers_of_channels_are_averaged() -> None:
    image = torch.stack([torch.zeros(4, 4), torch.ones(4, 4)])
    assert decoded(data_uri(image)).unique().tolist() == [128]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_page_of_noise_stays_below_six_megabytes(channels: int) -> None:
    noise = torch.rand(channels, 64, 64, generator=torch.Generator().manual_seed(0))
    assert len(data_uri(noise)) * (4 * 6 * 8 * 6) < 5e6


def test_large_pictures_keep_their_proportions() -> None:
    image = torch.linspace(0, 1, 400).expand(1, 200, 400)
    back: Float[Tensor, "height width"] = decoded(data_uri(image)).float()
    assert back.shape == (MAX_SIDE // 2, MAX_SIDE)
    assert back[0, 0] < 5
    assert back[0, -1] > 250
