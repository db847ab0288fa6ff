"""Models of timm and torchvision, run by `make test-vision` where these are installed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from orbitlens.actions import images
from orbitlens.activations import harvest
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.models import BaseModel, resolve_model
from orbitlens.models._from_torchvision import preparation

REPOSITORY = "hf_hub:owner/encoder"

pytestmark = pytest.mark.vision


def resolve(name: str, **options: object) -> BaseModel:
    pytest.importorskip(name.partition(":")[0])
    return resolve_model(name, **{"image_shape": (1, 28, 28), "random_weights": True, **options})


@pytest.mark.parametrize(
    ("name", "layer", "dim"),
    [
        ("timm:resnet10t", "fc", 512),
        ("timm:vit_tiny_patch16_224", "head", 192),
        ("timm:convnext_atto", "head.fc", 320),
        ("torchvision:resnet18", "avgpool", 512),
        ("torchvision:vit_b_16", "encoder.ln", 768),
        ("torchvision:mobilenet_v2", "features", 1280),
    ],
)
def test_the_default_layer_is_harvested(name: str, layer: str, dim: int) -> None:
    base = resolve(name)
    assert base.layer == layer
    store = harvest(
        base.module,
        layer=base.layer,
        inputs=torch.rand(1, 1, 28, 28),
        action=images(cyclic(2)),
        prepare=base.prepare,
    )
    assert (store.positions, store.dim) == (1, dim)


def picture(side: int) -> Any:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    return Image.fromarray(noise.repeat(8, 0).repeat(8, 1)[:side, :side])


def as_tensor(image: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


@pytest.mark.parametrize(
    "name", ["resnet10t", "vit_tiny_patch16_224", "inception_v3", "vit_base_patch16_clip_224"]
)
@pytest.mark.parametrize("side", [None, 160])
def test_images_are_as_those_of_timm_but_whole(name: str, side: int | None) -> None:
    base = resolve(f"timm:{name}", image_shape=(3, 224, 224))
    timm = pytest.importorskip("timm")
    settings = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    own = settings["input_size"][-1]
    # crop_pct is the share that its evaluation keeps; here the whole image is shown.
    reference = timm.data.create_transform(**{**settings, "crop_pct": 1.0})
    image = picture(side or own)
    expected, ready = reference(image), base.prepare(as_tensor(image))[0]
    assert ready.shape == expected.shape
    # An image of another size is rounded to whole numbers after each direction of a resize.
    close = {"atol": 1e-5} if side is None else {"atol": 0.3}
    torch.testing.assert_close(ready, expected, rtol=1e-5, **close)
    assert (ready - expected).abs().mean() < 0.02


@pytest.mark.parametrize("name", ["resnet18", "swin_v2_t", "efficientnet_b0", "vit_l_16"])
@pytest.mark.parametrize("side", [None, 160])
def test_images_are_as_those_of_torchvision_but_whole(name: str, side: int | None) -> None:
    models = pytest.importorskip("torchvision").models
    weights = models.get_model_weights(name).DEFAULT
    (own,) = weights.transforms().crop_size
    reference = weights.transforms(resize_size=own)
    image = picture(side or own)
    prepare = preparation(models, name, name)
    expected, ready = reference(image), prepare(as_tensor(image))[0]
    close = {"atol": 1e-5} if side is None else {"atol": 0.3}
    torch.testing.assert_close(ready, expected, rtol=1e-5, **close)
    assert (ready - expected).abs().mean() < 0.02


def test_networks_that_detect_objects_normalise_images_themselves() -> None:
    models = pytest.importorskip("torchvision").models
    prepare = preparation(models, "ssd300_vgg16", "it")
    images = torch.rand(2, 3, 224, 224)
    assert torch.equal(prepare(images), images)


@pytest.mark.parametrize("name", ["r3d_18", "raft_small"])
def test_networks_of_several_images_are_refused(name: str) -> None:
    with pytest.raises(OrbitLensError, match="a network of single images, received one whose"):
        resolve(f"torchvision:{name}")


def test_registers_of_timm_are_skipped() -> None:
    base = resolve("timm:vit_small_patch14_reg4_dinov2", layer="patch_drop")
    base.module.set_input_size((28, 28))
    store = harvest(
        base.module,
        layer="norm",
        inputs=torch.rand(1, 3, 28, 28),
        action=images(cyclic(2)),
        positions="all",
    )
    assert store.moves is not None
    assert store.moves[1].tolist() == [0, 1, 2, 3, 4, 8, 7, 6, 5]


@pytest.mark.parametrize("name", ["timm:resnet10t", "torchvision:resnet18"])
def test_random_weights_follow_the_seed(name: str) -> None:
    weights = [resolve(name, seed=seed).module.state_dict() for seed in (0, 0, 1)]
    key = next(key for key, value in weights[0].items() if value.ndim == 4)
    assert torch.equal(weights[0][key], weights[1][key])
    assert not torch.equal(weights[0][key], weights[2][key])


@pytest.mark.parametrize(
    ("name", "nearest"), [("timm:resnet19", "resnet1"), ("torchvision:resnet19", "resnet18")]
)
def test_an_unknown_name_suggests_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(OrbitLensError, match=f"did you mean '{nearest}"):
        resolve(name)


@pytest.mark.parametrize("name", ["timm:resnet10t", "torchvision:resnet18"])
def test_weights_that_cannot_be_downloaded_are_one_line(
    name: str, monkeypatch, tmp_path: Path
) -> None:
    pytest.importorskip(name.partition(":")[0])
    hub = pytest.importorskip("huggingface_hub")

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(hub.HfApi, "model_info", fail)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(OrbitLensError, match=r"ConnectionError: no route.*--random-weights"):
        resolve(name, random_weights=False)


def test_channels_must_fit() -> None:
    with pytest.raises(OrbitLensError, match="1 or 3 channels, received 4"):
        resolve("torchvision:resnet18", image_shape=(4, 8, 8))


@pytest.fixture
def cached(monkeypatch, tmp_path: Path) -> Path:
    """An encoder in the cache of a Hub that is out of reach, its weights as Zoobot gives them."""
    timm = pytest.importorskip("timm")
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--owner--encoder"
    folder = repository / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    settings = {"input_size": [3, 32, 32], "mean": [0.25] * 3, "std": [0.5] * 3, "num_classes": 0}
    config = {"architecture": "convnext_pico", "num_classes": 0, "pretrained_cfg": settings}
    (folder / "config.json").write_text(json.dumps(config))
    weights = timm.create_model("convnext_pico", num_classes=0).state_dict()
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


def test_an_encoder_from_the_hub_comes_with_its_weights_and_its_settings(cached: Path) -> None:
    base = resolve(f"timm:{REPOSITORY}", layer="stages.2", random_weights=False)
    expected = torch.load(cached / "pytorch_model.bin", weights_only=True)
    assert torch.equal(base.module.state_dict()["stem.0.weight"], expected["stem.0.weight"])
    prepared = base.prepare(torch.full((1, 1, 8, 8), 0.75))
    torch.testing.assert_close(prepared, torch.ones(1, 3, 32, 32))
    store = harvest(
        base.module,
        layer="stages.2",
        inputs=torch.rand(1, 3, 32, 32),
        action=images(cyclic(4)),
        positions="all",
    )
    assert (store.positions, store.dim) == (4, 256)


def test_random_weights_of_an_encoder_from_the_hub_need_its_settings_only(cached: Path) -> None:
    (cached / "pytorch_model.bin").unlink()
    assert resolve(f"timm:{REPOSITORY}").layer == "head.fc"
    with pytest.raises(OrbitLensError, match=r"'owner/encoder' in the cache.*--random-weights"):
        resolve(f"timm:{REPOSITORY}", random_weights=False)


@pytest.mark.parametrize("repository", ["hf_hub:", "hf_hub:no name", "hf-hub:owner/other"])
def test_a_repository_that_is_not_there_is_one_line(repository: str, cached: Path) -> None:
    with pytest.raises(OrbitLensError, match=f"^timm:{repository}: expected") as caught:
        resolve(f"timm:{repository}", random_weights=False)
    assert "\n" not in str(caught.value)


def test_a_repository_without_a_timm_model_is_named(cached: Path) -> None:
    missing = cached.parent.parent / ".no_exist" / cached.name
    missing.mkdir(parents=True)
    for filename in ("model.safetensors", "pytorch_model.bin", "config.json"):
        (missing / filename).touch()
        (cached / filename).unlink(missing_ok=True)
        if filename != "model.safetensors":
            with pytest.raises(OrbitLensError, match="'owner/encoder', which lacks these"):
                resolve(f"timm:{REPOSITORY}", random_weights=False)
