"""Vision models of transformers, from a folder, from a filled cache and without a network."""

import json
import shutil
import time
from pathlib import Path

import huggingface_hub
import pytest
import torch

from orbitlens.actions import images
from orbitlens.activations import harvest
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic, dihedral
from orbitlens.models import BaseModel, resolve_model

transformers = pytest.importorskip("transformers")
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ViT, saved as transformers saves it."""
    folder = tmp_path_factory.mktemp("models") / "vit"
    torch.manual_seed(3)
    transformers.logging.disable_progress_bar()
    transformers.ViTModel(transformers.ViTConfig(**SIZES)).save_pretrained(folder)
    settings = {"size": 32, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    transformers.logging.enable_progress_bar()
    return folder


@pytest.fixture
def offline(monkeypatch, tmp_path: Path) -> Path:
    """No network, and an empty cache."""

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fill_cache(cache: Path, repo: str, source: Path) -> None:
    entry = cache / f"models--{repo.replace('/', '--')}"
    shutil.copytree(source, entry / "snapshots" / "abc")
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text("abc")


def resolve(name: object, **options: object) -> BaseModel:
    return resolve_model(f"hf:{name}", **{"image_shape": (1, 28, 28), **options})


def test_a_folder_gives_its_own_weights(vit: Path) -> None:
    base = resolve(vit)
    saved = transformers.ViTModel.from_pretrained(vit, local_files_only=True)
    for key, value in saved.state_dict().items():
        assert torch.equal(base.module.state_dict()[key], value)
    assert base.layer == "layernorm"
    assert not base.module.training
    assert base.prepare(torch.rand(2, 1, 28, 28)).shape == (2, 3, 32, 32)


def test_random_weights_need_the_config_only_and_follow_the_seed(vit: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((vit / "config.json").read_text())
    models = [resolve(tmp_path, random_weights=True, seed=seed).module for seed in (0, 0, 1)]
    weights = [model.layers[0].mlp.fc1.weight for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_bare_architecture_needs_nothing(offline: Path, monkeypatch) -> None:
    config = transformers.Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    monkeypatch.setattr(transformers.AutoConfig, "for_model", lambda name: config)
    base = resolve("dinov2", random_weights=True)
    assert base.name == "hf:dinov2"
    assert base.prepare(torch.rand(1, 3, 8, 8)).shape == (1, 3, 224, 224)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"size": {"height": 16, "width": 24}}, (16, 24)),
        ({"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": 16}, (16, 16)),
        ({"size": 20}, (20, 20)),
    ],
)
def test_images_are_prepared_as_the_folder_says(vit: Path, tmp_path: Path, settings, size) -> None:
    shutil.copytree(vit, tmp_path / "vit")
    settings = {**settings, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(settings))
    ready = resolve(tmp_path / "vit").prepare(torch.ones(1, 1, 28, 28))
    assert ready.shape == (1, 3, *size)
    torch.testing.assert_close(ready, torch.full_like(ready, 2.0))


def test_class_tokens_and_patches_of_a_vit_are_harvested(vit: Path) -> None:
    base = resolve(vit)
    inputs = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    options = {"layer": base.layer, "inputs": inputs, "prepare": base.prepare}
    with torch.inference_mode():
        hidden = base.module(base.prepare(inputs)).last_hidden_state
    auto = harvest(base.module, action=images(dihedral(4)), **options)
    assert (auto.positions, auto.dim) == (1, 32)
    torch.testing.assert_close(auto.orbits()[:, 0], hidden[:, 0], atol=1e-5, rtol=1e-4)
    whole = harvest(base.module, action=images(cyclic(4)), positions="all", **options)
    assert whole.positions == 17
    rows = whole.orbits().unflatten(0, (3, 17))
    torch.testing.assert_close(rows[:, :, 0], hidden, atol=1e-5, rtol=1e-4)
    # A turn takes the first patch (top left) to the bottom left, the thirteenth of 4 x 4.
    with torch.inference_mode():
        turned = base.module(base.prepare(inputs.rot90(1, (2, 3)))).last_hidden_state
    torch.testing.assert_close(rows[:, 1, 1], turned[:, 13], atol=1e-5, rtol=1e-4)


def test_patches_are_aligned_by_the_networks_own_embedding(vit: Path) -> None:
    """Patches of constant grey are the same patch turned, so embeddings move exactly."""
    base = resolve(vit, layer="embeddings.patch_embeddings")
    grey = torch.rand(2, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    store = harvest(
        base.module,
        layer=base.layer,
        inputs=grey,
        action=images(dihedral(4)),
        prepare=base.prepare,
        positions="all",
    )
    orbits = store.orbits()
    assert store.positions == 16
    torch.testing.assert_close(orbits, orbits[:, :1].expand_as(orbits), atol=1e-5, rtol=1e-4)


def test_registers_are_read_from_the_config(tmp_path: Path) -> None:
    config = transformers.Dinov2WithRegistersConfig(
        **{**SIZES, "num_hidden_layers": 1}, num_register_tokens=3
    )
    config.save_pretrained(tmp_path)
    base = resolve(tmp_path, random_weights=True)
    store = harvest(
        base.module,
        layer=base.layer,
        inputs=torch.rand(1, 1, 32, 32),
        action=images(cyclic(2)),
        prepare=base.prepare,
        positions="all",
    )
    assert store.moves is not None
    assert store.moves[1].tolist() == [0, 1, 2, 3, *range(19, 3, -1)]


def test_a_layer_with_two_tensors_is_refused_and_a_model_output_taken(vit: Path) -> None:
    base = resolve(vit)
    options = {"inputs": torch.rand(1, 3, 32, 32), "action": images(cyclic(4))}
    store = harvest(base.module, layer="layers.1", **options)
    assert store.dim == 32
    base.module.set_attn_implementation("eager")
    with pytest.raises(OrbitLensError, match=r"'layers\.1\.attention' whose .* \(Tensor, Tensor\)"):
        harvest(base.module, layer="layers.1.attention", **options)


def test_the_cache_serves_without_a_network(vit: Path, offline: Path) -> None:
    fill_cache(offline, "someone/vit", vit)
    snapshot = offline / "models--someone--vit" / "snapshots" / "abc"
    (snapshot / "preprocessor_config.json").unlink()
    with pytest.raises(OrbitLensError, match=r"'someone/vit' in the cache, or on huggingface.co"):
        resolve("someone/vit")  # nobody knows how its images are prepared
    (snapshot / "preprocessor_config.json").write_text('{"size": 16}')
    assert resolve("someone/vit").prepare(torch.rand(1, 1, 8, 8)).shape == (1, 3, 16, 16)


def test_no_network_is_one_line_and_quick(offline: Path) -> None:
    start = time.monotonic()
    message = "ConnectionError: no route; check the name and the network.*--random-weights"
    with pytest.raises(OrbitLensError, match=message) as caught:
        resolve("facebook/dinov2-small")
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)


def test_folders_that_hold_no_model_are_named(tmp_path: Path, vit: Path) -> None:
    with pytest.raises(OrbitLensError, match="a model that transformers can load, received"):
        resolve(tmp_path)
    shutil.copytree(vit, tmp_path / "vit")
    (tmp_path / "vit" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(OrbitLensError, match="SafetensorError"):
        resolve(tmp_path / "vit")
    (tmp_path / "vit" / "model.safetensors").unlink()
    with pytest.raises(OrbitLensError, match=r"OSError.*model.safetensors"):
        resolve(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text("{")
    with pytest.raises(OrbitLensError, match="preprocessor_config.json: expected"):
        resolve(tmp_path / "vit", random_weights=True)


def test_a_model_of_text_is_refused(tmp_path: Path) -> None:
    transformers.BertConfig(hidden_size=8, num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(OrbitLensError, match=r"a vision model.*type 'bert'"):
        resolve(tmp_path, random_weights=True)
    transformers.ViTConfig(**SIZES).save_pretrained(tmp_path)
    with pytest.raises(OrbitLensError, match="1 or 3 channels, received 2"):
        resolve(tmp_path, random_weights=True, image_shape=(2, 8, 8))


def test_weights_that_the_file_lacks_are_not_made_up(tmp_path: Path) -> None:
    config = transformers.ViTConfig(**SIZES)
    transformers.logging.disable_progress_bar()
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    transformers.logging.enable_progress_bar()
    (tmp_path / "preprocessor_config.json").write_text('{"size": 32}')
    assert resolve(tmp_path).layer == "layernorm"
    with pytest.raises(OrbitLensError, match=r"none for 2 of them, such as 'pooler\.dense\.bias'"):
        resolve(tmp_path, layer="pooler")
