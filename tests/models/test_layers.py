"""Layers by name, with the nearest suggestion where there is none."""

import pytest
import torch
from torch import nn

from orbitlens.errors import OrbitLensError
from orbitlens.models import BaseModel, as_they_are, get_layer, layer_names
from orbitlens.models._layers import default_layer
from orbitlens.models._pretrained import check_channels
from orbitlens.models.preparation import ImagePreparation


def deep() -> nn.Module:
    blocks = [nn.Sequential(nn.Linear(1, 1), nn.ReLU()) for _ in range(10)]
    return nn.Sequential(nn.Sequential(*blocks), nn.Identity())


def test_every_listed_layer_can_be_had() -> None:
    model = deep()
    names = layer_names(model)
    assert len(names) == 32
    assert names[:3] == ("0", "0.0", "0.0.0")
    assert all(isinstance(get_layer(model, name), nn.Module) for name in names)


def test_a_layer_that_is_shared_has_each_of_its_names() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(relu, nn.Linear(1, 1), relu)
    assert layer_names(model) == ("0", "1", "2")
    assert get_layer(model, "2") is relu


def test_an_unknown_layer_lists_the_nearest_and_suggests_one() -> None:
    with pytest.raises(OrbitLensError, match=r"nearest 15 of 32.*did you mean '0\.7\.1'") as caught:
        get_layer(deep(), "0.7.11")
    assert str(caught.value).count(",") == 15
    with pytest.raises(OrbitLensError, match="received ''"):
        get_layer(deep(), "")
    with pytest.raises(OrbitLensError, match=r"wrap it in nn\.Sequential"):
        get_layer(nn.Linear(1, 1), "x")


def test_the_default_layer_is_the_first_preferred_one() -> None:
    assert default_layer(deep(), ["no", "1", "0"], "model") == "1"
    with pytest.raises(OrbitLensError, match=r"0\.4\.0 and 17 more, received none.*--layer"):
        default_layer(deep(), ["no"], "model")
    with pytest.raises(OrbitLensError, match="`layer` of model: .*received one without any; wrap"):
        default_layer(nn.Flatten(), ["encoder"], "model")


def test_a_base_model_is_put_into_evaluation_mode_and_has_its_layer() -> None:
    base = BaseModel("name", deep().train(), "0.3")
    assert not any(module.training for module in base.module.modules())
    batch = torch.rand(1, 1, 2, 2)
    assert torch.equal(base.prepare(batch), batch)
    with pytest.raises(OrbitLensError, match=r"did you mean '0\.3'"):
        BaseModel("name", deep(), "0.33")


def test_preparation_resizes_repeats_grey_and_normalises() -> None:
    prepare = ImagePreparation(size=(4, 6), channels=3, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0))
    ready = prepare(torch.ones(2, 1, 9, 9))
    assert ready.shape == (2, 3, 4, 6)
    torch.testing.assert_close(ready[0, :, 0, 0], torch.tensor([1.0, 1.0, 0.0]))


def test_one_mean_and_deviation_serve_every_channel() -> None:
    prepare = ImagePreparation(size=(8, 8), channels=3, mean=(0.5,), std=(0.25,))
    ready = prepare(torch.ones(2, 1, 28, 28))
    torch.testing.assert_close(ready, torch.full((2, 3, 8, 8), 2.0))


@pytest.mark.parametrize("size", [3, 8, 20])
def test_preparation_commutes_with_turns_and_flips(size: int) -> None:
    torch.manual_seed(0)
    prepare = ImagePreparation(size=(8, 8), channels=1, mean=(0.5,), std=(0.2,))
    image = torch.rand(1, 1, size, size)
    for moved, back in ((image.rot90(1, (2, 3)), 3), (image.flip(2).rot90(2, (2, 3)), None)):
        ready = prepare(moved)
        undone = ready.rot90(back, (2, 3)) if back else ready.rot90(2, (2, 3)).flip(2)
        torch.testing.assert_close(undone, prepare(image), atol=1e-5, rtol=0)


def test_channels_and_normalisation_must_fit() -> None:
    check_channels("net", (1, 8, 8), 3)
    check_channels("net", (3, 8, 8), 3)
    with pytest.raises(OrbitLensError, match="1 or 3 channels, received 4"):
        check_channels("net", (4, 8, 8), 3)
    with pytest.raises(OrbitLensError, match="1 channel, received 3"):
        check_channels("net", (3, 8, 8), 1)
    with pytest.raises(OrbitLensError, match="received 3 and 1"):
        ImagePreparation(size=(4, 4), channels=1, mean=(0.5, 0.5, 0.5), std=(0.5,))


def test_images_are_left_unchanged_unless_a_network_prepares_them() -> None:
    images = torch.ones(2, 1, 8, 8)
    assert as_they_are(images) is images
    assert BaseModel("tiny", nn.Sequential(nn.Flatten()), layer="0").prepare is as_they_are
