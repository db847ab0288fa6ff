"""Loader of "torchvision:NAME": models of torchvision."""

from difflib import get_close_matches
from typing import Any

from orbitlens.errors import OrbitLensError, missing_extra, one_line, unknown_name
from orbitlens.models._building import seeded_weights
from orbitlens.models._layers import default_layer
from orbitlens.models._pretrained import check_channels
from orbitlens.models.base import BaseModel
from orbitlens.models.preparation import ImagePreparation

_DEFAULT_LAYERS = ("encoder.ln", "avgpool", "features")
_DEFAULT_SIZE = 224
_CHANNELS = 3


def from_torchvision(
    name: str,
    *,
    layer: str | None,
    random_weights: bool,
    image_shape: tuple[int, int, int] | None,
    seed: int,
) -> BaseModel:
    """Return a model of torchvision, such as "vit_b_16", with its best weights or random ones.

    The default layer is the final norm of a transformer, or the last pooling.
    """
    try:
        from torchvision import models
    except ImportError:
        raise missing_extra("torchvision", extra="torchvision") from None
    subject = f"torchvision:{name}"
    if name not in models.list_models():
        nearest = get_close_matches(name, models.list_models(), 5, 0.0)
        raise unknown_name("torchvision model", name, nearest)
    check_channels(subject, image_shape, _CHANNELS)
    prepare = preparation(models, name, subject)
    weights = models.get_model_weights(name).DEFAULT
    try:
        with seeded_weights(seed):
            module = models.get_model(
                name, weights=None if random_weights else weights, progress=False
            )
    except Exception as error:
        raise OrbitLensError(
            subject,
            expected=f"weights to download from {weights.url}",
            received=f"{type(error).__name__}: {one_line(error)}",
            remedy="check the network, or use random weights (--random-weights)",
        ) from error
    layer = layer or default_layer(module, _DEFAULT_LAYERS, subject)
    return BaseModel(
        subject,
        module,
        layer,
        prepare,
        image_size=prepare.image_size,
        channels=_CHANNELS,
    )


def preparation(models: Any, name: str, subject: str) -> ImagePreparation:
    """Return the preparation of the best weights; the whole image is shown, nothing is cut off."""
    transform = models.get_model_weights(name).DEFAULT.transforms()
    kind = type(transform).__name__
    normalised = ("ImageClassification", "SemanticSegmentation")
    # Networks that detect objects normalise images themselves.
    if kind not in (*normalised, "ObjectDetection"):
        raise OrbitLensError(
            subject,
            expected="a network of single images",
            received=f"one whose weights come with {kind}",
            remedy="choose another network",
        )
    side, *_ = getattr(transform, "crop_size", [_DEFAULT_SIZE])
    settings: dict[str, Any] = {}
    if kind in normalised:
        filter = transform.interpolation.value
        settings = {"mean": transform.mean, "std": transform.std, "filter": filter}
    return ImagePreparation(size=(side, side), channels=_CHANNELS, name=subject, **settings)
