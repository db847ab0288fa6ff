"""Networks by name: a prefix such as "hf:", "python:" or "recipe:" says where they come from."""

from dataclasses import replace

from orbitlens.errors import OrbitLensError
from orbitlens.models._from_huggingface import from_huggingface
from orbitlens.models._from_onnx import from_onnx
from orbitlens.models._from_python import from_python
from orbitlens.models._from_saved import from_saved
from orbitlens.models._from_timm import from_timm
from orbitlens.models._from_torchvision import from_torchvision
from orbitlens.models._kept import kept_folder
from orbitlens.models._names import check_model_name
from orbitlens.models._normalisation import normalisation
from orbitlens.models.base import BaseModel, as_they_are
from orbitlens.models.preparation import ImagePreparation

_LIBRARIES = {
    "hf": from_huggingface,
    "timm": from_timm,
    "torchvision": from_torchvision,
    "onnx": from_onnx,
}


def resolve_model(
    name: str,
    *,
    layer: str | None = None,
    random_weights: bool = False,
    image_shape: tuple[int, int, int] | None = None,
    normalise: str | None = None,
    seed: int = 0,
) -> BaseModel:
    """Return the network called `name`, in float32 and evaluation mode.

    A network that a recipe or `orbitlens.save` has kept is in the number type that it was kept in.

    Args:
        name: "hf:NAME" (a repository on the Hugging Face Hub, a local folder, or with random
            weights an architecture such as "vit"), "timm:NAME", "torchvision:NAME", "onnx:FILE",
            "python:module:function" or "python:path/to/file.py:function", "recipe:NAME" or
            "recipe:NAME/ARM" (a network that a recipe has kept), or the folder of a kept network.
        layer: Dotted name of the layer to harvest; None takes a default near the network's end.
        random_weights: Whether to draw the weights instead of loading them.
        image_shape: Channels, height and width of the images that it will receive; None (the
            default) if they are not known yet.
        normalise: Normalisation of images, see `models.normalisation`; None (the default) takes
            the network's own, or none.
        seed: Seed of random weights.

    Raises:
        OrbitLensError: If the prefix is unknown, a library is missing, the network cannot be found
            or loaded, or it does not take such images or has no such layer.

    Example:
        >>> resolve_model("python:orbitlens.models:MLPAutoencoder", image_shape=(1, 64, 64)).layer
        'encoder'
    """
    check_model_name(name)
    chosen = None if normalise is None else normalisation(normalise)
    prefix, _, rest = name.partition(":")
    kept = kept_folder(name)
    if kept is not None:
        base = from_saved(kept, name=name, layer=layer, random_weights=random_weights)
    elif prefix == "python":
        base = from_python(rest, layer=layer, random_weights=random_weights)
    else:
        base = _LIBRARIES[prefix](
            rest, layer=layer, random_weights=random_weights, image_shape=image_shape, seed=seed
        )
    return base if chosen is None else _normalised(base, *chosen)


def _normalised(base: BaseModel, mean: tuple[float, ...], std: tuple[float, ...]) -> BaseModel:
    """Return a network whose images are normalised in another way."""
    if isinstance(base.prepare, ImagePreparation):
        prepare = replace(base.prepare, mean=mean, std=std, factor=1.0, offset=0.0)
    elif base.prepare is as_they_are:
        prepare = ImagePreparation(channels=base.channels, mean=mean, std=std, name=base.name)
    else:
        raise OrbitLensError(
            "`normalise`",
            expected=f"none for {base.name}, whose function returns its own preparation",
            received=f"{mean} and {std}",
            remedy="leave out --normalise, or normalise in that preparation",
        )
    return replace(base, prepare=prepare)
