"""Networks by name: "hf:...", "timm:...", "torchvision:...", "python:..."."""

from orbitlens.errors import OrbitLensError
from orbitlens.models._from_huggingface import from_huggingface
from orbitlens.models._from_python import from_python
from orbitlens.models._from_timm import from_timm
from orbitlens.models._from_torchvision import from_torchvision
from orbitlens.models.base import BaseModel

_LIBRARIES = {"hf": from_huggingface, "timm": from_timm, "torchvision": from_torchvision}


def resolve_model(
    name: str,
    *,
    layer: str | None = None,
    random_weights: bool = False,
    image_shape: tuple[int, int, int],
    seed: int = 0,
) -> BaseModel:
    """Return the network called `name`, in float32 and evaluation mode.

    Args:
        name: "hf:NAME" (a repository on the Hugging Face Hub, a local folder, or with random
            weights an architecture such as "vit"), "timm:NAME", "torchvision:NAME",
            "python:module:function" or "python:path/to/file.py:function".
        layer: Dotted name of the layer to harvest; None takes a default near the network's end.
        random_weights: Whether to draw the weights instead of loading them.
        image_shape: Channels, height and width of the images that it will receive.
        seed: Seed of random weights.

    Raises:
        OrbitLensError: If the prefix is unknown, a library is missing, the network cannot be found
            or loaded, or it does not take such images or has no such layer.

    Example:
        >>> resolve_model("python:orbitlens.models:MLPAutoencoder", image_shape=(1, 64, 64)).layer
        'encoder'
    """
    prefix, _, rest = name.partition(":")
    if prefix == "python" and rest:
        return from_python(rest, layer=layer, random_weights=random_weights)
    if prefix not in _LIBRARIES or not rest:
        raise OrbitLensError(
            "`model`",
            expected="hf:NAME, timm:NAME, torchvision:NAME or python:module:function",
            received=repr(name),
            remedy="write for example hf:facebook/dinov2-small",
        )
    return _LIBRARIES[prefix](
        rest, layer=layer, random_weights=random_weights, image_shape=image_shape, seed=seed
    )
