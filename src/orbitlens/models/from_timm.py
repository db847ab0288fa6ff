"""Models of the timm library: "timm:NAME"."""

from difflib import get_close_matches
from typing import Any

from orbitlens.errors import OrbitLensError, missing_extra, one_line, unknown_name
from orbitlens.models.base import BaseModel, seeded_weights
from orbitlens.models.hub import hub_file
from orbitlens.models.layers import default_layer
from orbitlens.models.preparation import check_channels, image_preparation

_WEIGHTS = "model.safetensors"


def from_timm(
    name: str,
    *,
    layer: str | None,
    random_weights: bool,
    image_shape: tuple[int, int, int],
    seed: int,
) -> BaseModel:
    """Return a model of timm, without its classifier.

    Args:
        name: Such as "vit_base_patch16_224" or "resnet18.a1_in1k".
        layer: Layer to harvest; None takes the pooled features, the classifier's input.
        random_weights: Whether to draw the weights instead of loading them.
        image_shape: Channels, height and width of the images it will be shown.
        seed: Seed of random weights.

    Raises:
        OrbitLensError: If timm is missing, has no such model, or its weights cannot be had.
    """
    try:
        import timm
    except ImportError:
        raise missing_extra("timm", extra="timm") from None
    subject = f"timm:{name}"
    if not timm.is_model(name):
        raise unknown_name("timm model", name, get_close_matches(name, timm.list_models(), 5, 0.0))
    try:
        source = {} if random_weights else _weights(timm, name, subject)
        with seeded_weights(seed):
            module = timm.create_model(name, pretrained=not random_weights, num_classes=0, **source)
    except OrbitLensError:
        raise
    except Exception as error:
        raise OrbitLensError(
            subject,
            expected="a model that timm can build"
            + ("" if random_weights else " and weights it can download"),
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="check the name and the network, or use random weights (--random-weights)",
        ) from error
    settings = timm.data.resolve_model_data_config(module)
    channels, height, width = settings["input_size"]
    check_channels(subject, image_shape, channels)
    prepare = image_preparation(
        size=(height, width), channels=channels, mean=settings["mean"], std=settings["std"]
    )
    if layer is None:
        features = module.get_classifier()
        named = [known for known, submodule in module.named_modules() if submodule is features]
        layer = default_layer(module, named, subject)
    return BaseModel(subject, module, layer, prepare)


def _weights(timm: Any, name: str, subject: str) -> dict[str, Any]:
    """Point timm to the weights on disk, fetched with the patience of `hub_file`."""
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return {}
    path = hub_file(config.hf_hub_id, config.hf_hub_filename or _WEIGHTS, subject=subject)
    return {} if path is None else {"pretrained_cfg_overlay": {"file": str(path)}}
