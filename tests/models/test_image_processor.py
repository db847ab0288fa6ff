"""Images are prepared as transformers prepares them, field by field, or refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orbitlens.errors import OrbitLensError, OrbitLensWarning
from orbitlens.models import BaseModel, resolve_model

transformers = pytest.importorskip("transformers")
HALF = [0.5, 0.5, 0.5]
PIXELS = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0)).float()
NAMED = "image_processor_type"


def resolve(folder: Path, settings: Any, kind: str = "ViT", **options: Any) -> BaseModel:
    """A tiny ViT whose images are prepared as the settings say."""
    config = transformers.ViTConfig(
        **{"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, **options},
        num_attention_heads=2,
        intermediate_size=16,
    )
    config.save_pretrained(folder)
    if isinstance(settings, dict):
        settings = {NAMED: f"{kind}ImageProcessor", **settings}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return resolve_model(f"hf:{folder}", random_weights=True, image_shape=(3, 32, 32))


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("ViT", {"image_mean": HALF, "image_std": HALF}, (PIXELS / 255 - 0.5) / 0.5),
        ("ViT", {"do_normalize": False, "image_mean": HALF, "image_std": HALF}, PIXELS / 255),
        ("ViT", {"do_rescale": False, "do_normalize": False}, PIXELS),
        (
            "ViT",
            {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [127.5] * 3},
            (PIXELS - 127.5) / 127.5,
        ),
        ("ViT", {"rescale_factor": 1 / 510, "do_normalize": False}, PIXELS / 510),
        (
            "EfficientNet",
            {
                "rescale_factor": 1 / 127.5,
                "rescale_offset": True,
                "do_normalize": False,
                "include_top": False,
            },
            PIXELS / 127.5 - 1,
        ),
        (
            "EfficientNet",
            {"image_mean": HALF, "image_std": [0.5, 0.25, 0.2]},
            (PIXELS / 255 - 0.5) / torch.tensor([0.25, 0.0625, 0.04]).reshape(3, 1, 1),
        ),
        ("MobileViT", {"do_center_crop": False}, PIXELS.flip(1) / 255),
        ("MobileViT", {"do_center_crop": False, "do_flip_channel_order": False}, PIXELS / 255),
    ],
)
def test_every_field_of_the_numbers_is_applied(
    tmp_path: Path, kind: str, settings: dict[str, Any], expected: torch.Tensor
) -> None:
    base = resolve(tmp_path, {"size": {"height": 32, "width": 32}, **settings}, kind)
    torch.testing.assert_close(base.prepare(PIXELS / 255), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("ViT", {"size": 24}),
        ("ViT", {"do_resize": False}),
        ("ViT", {"size": {"height": 20, "width": 26}, "resample": 0}),
        ("ConvNext", {"size": {"shortest_edge": 28}}),
        ("ConvNext", {"size": {"shortest_edge": 28}, "crop_pct": 0.7}),
        ("Beit", {"size": 24}),
        ("MobileViT", {"size": {"shortest_edge": 36}, "crop_size": 32}),
        ("MobileViT", {"size": {"shortest_edge": 24}, "crop_size": 32}),
        ("EfficientNet", {"size": 24, "resample": 0}),
        ("CLIP", {"size": {"shortest_edge": 24}, "crop_size": 20}),
        ("Siglip", {"size": {"height": 24, "width": 24}}),
        ("Bit", {"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 56}}),
        ("PoolFormer", {"size": {"shortest_edge": 27}, "crop_size": 26}),
        ("Segformer", {"size": 40}),
    ],
)
@pytest.mark.parametrize("shape", [(32, 32), (24, 24), (30, 40)])
def test_images_are_as_those_of_transformers(
    tmp_path: Path, kind: str, settings: dict[str, Any], shape: tuple[int, int]
) -> None:
    base = resolve(tmp_path, settings, kind)
    # Blocks of one grey, between which every interpolation agrees but for rounding.
    levels = torch.randint(0, 256, (1, 3, 1, 1), generator=torch.Generator().manual_seed(1))
    picture = levels.expand(1, 3, *shape).to(torch.uint8)
    reference = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    expected = reference(picture[0].numpy(), input_data_format="channels_first")["pixel_values"][0]
    ready = base.prepare(picture)[0].numpy()
    assert ready.shape == expected.shape
    np.testing.assert_allclose(ready, expected, atol=1e-5)
    noise = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    expected = reference(noise, input_data_format="channels_first")["pixel_values"][0]
    ready = base.prepare(torch.from_numpy(noise)[None])[0].numpy()
    # transformers rounds to whole numbers after each direction of a resize.
    assert np.abs(ready - expected).mean() < 0.02


def test_a_crop_half_a_pixel_beside_the_centre_is_told(tmp_path: Path) -> None:
    settings = {"size": {"shortest_edge": 31}, "crop_size": 24}
    with pytest.warns(OrbitLensWarning, match=r"cuts \(24, 24\) out of \(31, 31\) pixels, half"):
        resolve(tmp_path, settings, "CLIP")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": 2.2}, "received 'gamma': 2.2"),
        ({"do_normalise": False, "do_equalise": True}, "received 'do_equalise': True"),
        ({"rescale_offset": True}, "does not know rescale_offset"),
        ({"do_flip_channel_order": True}, "does not know do_flip_channel_order"),
        ({"do_pad": True, "pad_size": {"height": 40, "width": 40}}, "'pad_size': expected"),
        ({"do_normalize": "false"}, "'do_normalize': expected true or false, received 'false'"),
        ({"do_rescale": 0}, "'do_rescale': expected true or false, received 0"),
        ({"image_mean": "0.5"}, "'image_mean': expected a number for each channel"),
        ({"image_mean": [0.5, 0.5]}, "1 or 3 means"),
        ({"image_std": [0.5, 0, 0.5]}, "'image_std': expected numbers other than 0"),
        ({"image_std": [0.5, None, 0.5]}, "'image_std': expected a number for each channel"),
        ({"rescale_factor": -1}, "'rescale_factor': expected a positive number"),
        ({"rescale_factor": float("nan")}, "'rescale_factor': expected a positive number"),
        ({"resample": 9}, "'resample': expected a number of Pillow's"),
        ({"size": "32"}, "'size': expected a height and a width"),
        ({"size": {"height": 10**9, "width": 10**9}}, "'size': expected a height and a width"),
        ({"size": {"max_height": 32, "max_width": 32}}, "'size': expected a height and a width"),
        ([1, 2], "expected a JSON object, received list"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    tmp_path: Path, settings: Any, message: str
) -> None:
    with pytest.raises(OrbitLensError, match=message) as caught:
        resolve(tmp_path, settings)
    assert "\n" not in str(caught.value)


def test_another_interpolation_is_refused_when_it_is_needed(tmp_path: Path) -> None:
    base = resolve(tmp_path, {"size": 32, "resample": 1, "do_normalize": False})
    torch.testing.assert_close(base.prepare(PIXELS / 255), PIXELS / 255)
    with pytest.raises(OrbitLensError, match=r"resizes others with lanczos.*--image-size 32"):
        base.prepare(PIXELS[..., :24, :24] / 255)


def test_sides_that_would_be_filled_up_must_be_equal(tmp_path: Path) -> None:
    sizes = {"size": {"longest_edge": 32}, "pad_size": {"height": 32, "width": 32}}
    base = resolve(tmp_path, sizes, "Sam")
    assert base.prepare(PIXELS / 255).shape == (2, 3, 32, 32)
    with pytest.raises(OrbitLensError, match="expected squares, as it would fill others up"):
        base.prepare(PIXELS[..., :24] / 255)


def test_the_newer_file_holds_the_settings_in_a_field(tmp_path: Path) -> None:
    resolve(tmp_path, {"size": 32})
    (tmp_path / "preprocessor_config.json").unlink()
    inside = {NAMED: "ViTImageProcessor", "size": 32, "do_normalize": False}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": inside}))
    base = resolve_model(f"hf:{tmp_path}", random_weights=True, image_shape=(3, 32, 32))
    torch.testing.assert_close(base.prepare(PIXELS / 255), PIXELS / 255)
    (tmp_path / "processor_config.json").write_text('{"image_processor": 3}')
    with pytest.raises(OrbitLensError, match="'image_processor': expected an object, received 3"):
        resolve_model(f"hf:{tmp_path}", random_weights=True, image_shape=(3, 32, 32))


def test_a_processor_that_does_not_load_is_told_and_its_fields_are_applied(tmp_path: Path) -> None:
    settings = {"size": 32, "image_mean": HALF, "image_std": HALF}
    with pytest.warns(OrbitLensWarning, match="NoSuchImageProcessor does not load"):
        base = resolve(tmp_path, settings, "NoSuch")
    torch.testing.assert_close(base.prepare(PIXELS / 255), (PIXELS / 255 - 0.5) / 0.5)
    with (
        pytest.warns(OrbitLensWarning, match="does not load"),
        pytest.raises(OrbitLensError, match="'image_mean': expected .* received None"),
    ):
        resolve(tmp_path, {"size": 32}, "NoSuch")


def test_trained_weights_without_settings_are_told(tmp_path: Path) -> None:
    base = resolve(tmp_path, {"size": 32})
    transformers.logging.disable_progress_bar()
    base.module.save_pretrained(tmp_path)
    transformers.logging.enable_progress_bar()
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.warns(OrbitLensWarning, match="no preprocessor_config.json.*ImageNet"):
        resolve_model(f"hf:{tmp_path}", image_shape=(3, 32, 32))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (PIXELS, r"received 0 to 255; divide them by their white, such as 255"),
        (PIXELS.long(), r"received 0 to 255"),
        (PIXELS * 16, r"divide them by the white of their type, such as 4095 or 65535"),
        (PIXELS / 127.5 - 1, r"received -1 to 1; .*\(images \+ 1\) / 2"),
    ],
)
def test_a_range_other_than_0_to_1_is_refused(
    tmp_path: Path, images: torch.Tensor, message: str
) -> None:
    with pytest.raises(OrbitLensError, match=f"values in \\[0, 1\\].*{message}"):
        resolve(tmp_path, {"size": 32}).prepare(images)


def test_bytes_are_the_same_images_and_dark_ones_are_told(tmp_path: Path) -> None:
    prepare = resolve(tmp_path, {"size": 32}).prepare
    assert torch.equal(prepare(PIXELS.to(torch.uint8)), prepare(PIXELS / 255))
    dark = (PIXELS / 65535 * 2).repeat(8, 1, 1, 1)
    with pytest.warns(OrbitLensWarning, match="brightest value of a batch is below 1/64"):
        prepare(dark)
