"""Loader of "timm:NAME" and "timm:hf_hub:OWNER/NAME": models of timm, its own or on the Hub."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from orbitlens.errors import OrbitLensError, missing_extra, one_line, unknown_name
from orbitlens.models._building import seeded_weights
from orbitlens.models._layers import default_layer
from orbitlens.models._pretrained import check_channels, hub_file
from orbitlens.models.base import BaseModel
from orbitlens.models.preparation import ImagePreparation

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_HUB = ("hf_hub", "hf-hub")


def from_timm(
    name: str,
    *,
    layer: str | None,
    random_weights: bool,
    image_shape: tuple[int, int, int] | None,
    seed: int,
) -> BaseModel:
    """Return a model of timm, without its classifier.

    `name` is a name of timm, such as "resnet18.a1_in1k", or a repository of a timm model on the
    Hub, such as "hf_hub:mwalmsley/zoobot-encoder-convnext_pico". The default layer gives the pooled
    features, the classifier's input.
    """
    try:
        import timm
    except ImportError:
        raise missing_extra("timm", extra="timm") from None
    subject = f"timm:{name}"
    prefix, _, repo = name.partition(":")
    if prefix not in _HUB and not timm.is_model(name):
        raise unknown_name("timm model", name, get_close_matches(name, timm.list_models(), 5, 0.0))
    try:
        source = {}
        if prefix in _HUB:
            name = f"local-dir:{_hub_folder(repo, random_weights, subject)}"
        elif not random_weights:
            source = _weights(timm, name, subject)
        with seeded_weights(seed):
            module = timm.create_model(name, pretrained=not random_weights, num_classes=0, **source)
    except OrbitLensError:
        raise
    except Exception as error:
        weights = "" if random_weights else " and weights it can download"
        raise OrbitLensError(
            subject,
            expected=f"a model that timm can build{weights}",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="check the name and the network, or use random weights (--random-weights)",
        ) from error
    settings = timm.data.resolve_model_data_config(module)
    channels, height, width = settings["input_size"]
    check_channels(subject, image_shape, channels)
    filter = settings.get("interpolation", "bicubic")
    prepare = ImagePreparation(
        size=(height, width),
        channels=channels,
        mean=settings["mean"],
        std=settings["std"],
        name=subject,
        filter="bilinear" if filter == "random" else filter,
    )
    if layer is None:
        features = module.get_classifier()
        named = [known for known, submodule in module.named_modules() if submodule is features]
        layer = default_layer(module, named, subject)
    return BaseModel(
        subject,
        module,
        layer,
        prepare,
        image_size=prepare.image_size,
        channels=channels,
    )


def _weights(timm: Any, name: str, subject: str) -> dict[str, Any]:
    """Point timm to the weights on disk, fetched by `hub_file`, which gives up sooner than timm."""
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return {}
    path = hub_file(config.hf_hub_id, config.hf_hub_filename or _WEIGHTS[0], subject=subject)
    return {} if path is None else {"pretrained_cfg_overlay": {"file": str(path)}}


def _hub_folder(repo: str, random_weights: bool, subject: str) -> Path:
    """Return the folder of a repository in the cache, fetched by `hub_file`."""
    settings = hub_file(repo, "config.json", subject=subject)
    if settings is None:
        raise _no_timm_model(repo, subject)
    if random_weights or any((settings.parent / filename).exists() for filename in _WEIGHTS):
        return settings.parent
    fetched = (hub_file(repo, filename, subject=subject) for filename in _WEIGHTS)
    weights = next((path for path in fetched if path is not None), None)
    if weights is None:
        raise _no_timm_model(repo, subject)
    # New weights may belong to a newer version with other settings.
    hub_file(repo, "config.json", subject=subject)
    return weights.parent


def _no_timm_model(repo: str, subject: str) -> OrbitLensError:
    return OrbitLensError(
        subject,
        expected=f"a repository with config.json and {' or '.join(_WEIGHTS)}",
        received=f"{repo!r}, which lacks these",
        remedy="check that it holds a timm model",
    )
