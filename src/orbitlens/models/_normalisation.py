"""Normalisations by name, as the command line takes them."""

from orbitlens.errors import OrbitLensError
from orbitlens.models._pretrained import IMAGENET_MEAN, IMAGENET_STD

_NAMED = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "half": ((0.5,), (0.5,)),
}
_CHANNELS = (1, 3)
_LARGEST = 1e6


def normalisation(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation that a text stands for.

    A network gets (image - mean) / std, with images in [0, 1].

    Args:
        text: "imagenet"; "half", mean and deviation 0.5, which gives [-1, 1]; or MEAN/STD, each one
            number or three with commas. "0/1" changes nothing.

    Returns:
        Mean and deviation, with one value or one per channel.

    Raises:
        OrbitLensError: If the text is neither, or a deviation is not above 0.

    Example:
        >>> normalisation("0.5,0.4,0.3/0.25")
        ((0.5, 0.4, 0.3), (0.25,))
    """
    if text in _NAMED:
        return _NAMED[text]
    mean, _, std = text.partition("/")
    try:
        centre, scale = (tuple(map(float, part.split(","))) for part in (mean, std))
    except ValueError:
        centre = scale = ()
    finite = all(abs(value) < _LARGEST for value in (*centre, *scale))
    if not {len(centre), len(scale)} <= set(_CHANNELS) or not finite or min(scale) < 1 / _LARGEST:
        raise OrbitLensError(
            "`normalise`",
            expected="imagenet, half or MEAN/STD, such as 0.5/0.25 or 0.5,0.4,0.3/0.2,0.2,0.2",
            received=repr(text),
            remedy="give one number or three for each, and deviations above 0",
        )
    return centre, scale
