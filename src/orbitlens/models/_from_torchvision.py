"""Models of the torchvision library: "torchvision:NAME"."""

from difflib import get_close_matches

from orbitlens.errors import OrbitLensError, missing_extra, one_line, unknown_name
from orbitlens.models._preparation import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    check_channels,
    image_preparation,
)
from orbitlens.models.base import BaseModel, seeded_weights
from orbitlens.models.layers import default_layer

_DEFAULT_LAYERS = ("encoder.ln", "avgpool", "features")
_DEFAULT_SIZE = 224
_CHANNELS = 3


def from_torchvision(
    name: str,
    *,
    layer: str | None,
    random_weights: bool,
    image_shape: tuple[int, int, int],
    seed: int,
) -> BaseModel:
    """Return a model of torchvision with its best weights, or with random ones.

    Args:
        name: Such as "vit_b_16" or "resnet50".
        layer: Layer to harvest; None takes the final norm of a transformer, or what is pooled last.
        random_weights: Whether to draw the weights instead of loading them.
        image_shape: Channels, height and width of the images it will be shown.
        seed: Seed of random weights.

    Raises:
        OrbitLensError: If torchvision is missing, has no such model, or its weights cannot be had.
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
    transform = weights.transforms()
    (side,) = getattr(transform, "crop_size", [_DEFAULT_SIZE])
    prepare = image_preparation(
        size=(side, side),
        channels=_CHANNELS,
        mean=getattr(transform, "mean", IMAGENET_MEAN),
        std=getattr(transform, "std", IMAGENET_STD),
    )
    layer = layer or default_layer(module, _DEFAULT_LAYERS, subject)
    return BaseModel(subject, module, layer, prepare)
