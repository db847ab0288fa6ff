"""How transformers prepares images for a model: every field of preprocessor_config.json.

The fields are completed by the model's own image processor where it loads. It then prepares a
picture of noise, and the result must be the same here. A field that is not understood is refused.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orbitlens.errors import OrbitLensError, one_line, warn
from orbitlens.files import read_json
from orbitlens.models._pretrained import IMAGENET_MEAN, IMAGENET_STD, Size, hub_file
from orbitlens.models.preparation import ImagePreparation

_FILE, _NESTED, _NESTED_FIELD = (
    "preprocessor_config.json",
    "processor_config.json",
    "image_processor",
)
_DEFAULT_SIZE = 224
_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # as Pillow numbers them
_SWITCHES = {
    *("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_flip_channel_order"),
    *("do_pad", "rescale_offset", "include_top", "do_convert_rgb", "do_reduce_labels"),
}
_VALUES = {
    *("size", "crop_size", "pad_size", "crop_pct", "resample", "rescale_factor"),
    *("image_mean", "image_std"),
}
# They concern labels and masks, the form of the call, or the file itself.
_HARMLESS = {
    *("image_processor_type", "feature_extractor_type", "processor_class", "auto_map", "checksum"),
    *("_valid_processor_keys", "data_format", "input_data_format", "return_tensors", "device"),
    *("disable_grouping", "default_to_square", "reduce_labels", "format", "ignore_index"),
    *("do_convert_annotations", "mask_size", "mask_pad_size", "transformers_version"),
    *("_transformers_version", "image_seq_length", "backend", "num_channels"),
}


def image_processor(name: str, config: Any, *, subject: str, trained: bool) -> ImagePreparation:
    """Return the preparation of images for a model: a repository on the Hub, or a folder.

    Without settings, images get the model's size and ImageNet's normalisation; for a model with
    trained weights, there is a warning.
    """
    file, fields = _settings(name, subject)
    if file is None:
        if trained:
            warn(
                subject,
                found=f"it has no {_FILE}, so images get the normalisation of ImageNet",
                remedy="add the file that it was trained with",
            )
        return default_preparation(config, subject)
    name, subject = subject, f"{file.name} of {subject}"
    _check_types(fields, subject)
    processor = _load(file.parent, fields, subject)
    _check_understood(fields, processor, subject)
    given = {each for each in (_SWITCHES | _VALUES) & fields.keys() if fields[each]}
    if processor is not None:
        complete = processor.to_dict()
        fields = {**fields, **{each: complete.get(each) for each in _SWITCHES | _VALUES}}
    how = _interpret(fields, config, subject)
    prepare = ImagePreparation(**how, channels=config.num_channels, name=name)
    if processor is not None:
        _compare(processor, prepare, how, given, config, subject)
    return prepare


def default_preparation(config: Any, subject: str) -> ImagePreparation:
    """Return the preparation of a model without settings."""
    grey = config.num_channels == 1
    return ImagePreparation(
        size=own_size(config),
        channels=config.num_channels,
        mean=(0.5,) if grey else IMAGENET_MEAN,
        std=(0.5,) if grey else IMAGENET_STD,
        name=subject,
    )


def _settings(name: str, subject: str) -> tuple[Path | None, dict[str, Any]]:
    """Find and read the settings: the newer form of the file holds them in a field of its own."""
    folder = Path(name)
    if folder.exists():
        found: Path | None = folder / _FILE
    else:
        found = hub_file(name, _FILE, subject=subject) or hub_file(name, _NESTED, subject=subject)
    if found is None:
        return None, {}
    nested = found.with_name(_NESTED)
    if nested.is_file():
        inside = read_json(nested).get(_NESTED_FIELD)
        if isinstance(inside, dict):
            return nested, inside
        if inside is not None:
            raise _wrong(f"{nested.name} of {subject}", _NESTED_FIELD, "an object", inside)
    file = found.with_name(_FILE)
    return (file, read_json(file)) if file.exists() else (None, {})


def _load(folder: Path, fields: Mapping[str, Any], subject: str) -> Any:
    """Return the image processor of transformers; None, with a warning, if it does not load."""
    import transformers

    newer = int(transformers.__version__.split(".")[0]) >= 5
    choice = {"backend": "pil"} if newer else {"use_fast": False}
    try:
        return transformers.AutoImageProcessor.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, **choice
        )
    except Exception as error:
        kind = fields.get("image_processor_type", "its image processor")
        warn(
            subject,
            found=f"{kind} does not load ({type(error).__name__}: {one_line(error)}), so its "
            "fields were read without it",
            remedy="install what it needs (pillow, torchvision) to have the numbers compared",
        )
        return None


def _check_types(fields: Mapping[str, Any], subject: str) -> None:
    """Refuse values of another type, which transformers would take for something else."""
    for field in _SWITCHES & fields.keys():
        if not isinstance(fields[field], bool | None):
            raise _wrong(subject, field, "true or false", fields[field])
    for field in ("rescale_factor", "crop_pct"):
        value = fields.get(field)
        if value is not None and not (_is_number(value) and value > 0):
            raise _wrong(subject, field, "a positive number", value)
    resample = fields.get("resample")
    if resample is not None and (type(resample) is not int or resample not in range(len(_FILTERS))):
        raise _wrong(subject, "resample", "a number of Pillow's, 0 to 5", resample)
    for field in ("image_mean", "image_std"):
        value = fields.get(field)
        numbers = value if isinstance(value, list) else [value]
        if value is not None and not (numbers and all(map(_is_number, numbers))):
            raise _wrong(subject, field, "a number for each channel", value)
        if field == "image_std" and 0 in numbers:
            raise _wrong(subject, field, "numbers other than 0", value)
    for field in ("size", "crop_size", "pad_size"):
        _sides(fields.get(field), field, subject)


def _check_understood(fields: Mapping[str, Any], processor: Any, subject: str) -> None:
    """Refuse a field that may change pixels in a way that is not known here."""
    for field in sorted(fields.keys() - _SWITCHES - _VALUES - _HARMLESS):
        # What the class of the processor knows is compared on a picture below.
        if fields[field] in (None, False) or hasattr(type(processor), field):
            continue
        raise OrbitLensError(
            subject,
            expected="fields that are known here, as others could change the pixels",
            received=f"{field!r}: {fields[field]!r}",
            remedy="remove the field if it does not concern pixels, or give the network with its "
            "own preparation, as python:file.py:function",
        )


def _interpret(fields: Mapping[str, Any], config: Any, subject: str) -> dict[str, Any]:
    """Return the arguments of `ImagePreparation` that have the effect of the fields."""
    size, crop = _geometry(fields, config, subject)
    rescales = fields.get("do_rescale", True)
    factor = 255 * (fields.get("rescale_factor") or 1 / 255) if rescales else 255.0
    factor = 1.0 if math.isclose(factor, 1, rel_tol=1e-6) else factor
    mean, std = [0.0], [1.0]
    if fields.get("do_normalize", True):
        mean, std = (_numbers(fields, name, subject) for name in ("image_mean", "image_std"))
    if fields.get("include_top"):
        std = [first * second for first, second in zip(*_alike(std, fields, subject), strict=True)]
    resample = fields.get("resample")
    sides = fields.get("size")
    return {
        "size": size,
        "oblong": not isinstance(sides, Mapping) or sides.get("longest_edge") is None,
        "crop": crop,
        "filter": _FILTERS[2 if resample is None else int(resample)],
        "factor": factor,
        "offset": -1.0 if rescales and fields.get("rescale_offset") else 0.0,
        "mean": mean,
        "std": std,
        "flip": bool(fields.get("do_flip_channel_order")),
    }


def _geometry(
    fields: Mapping[str, Any], config: Any, subject: str
) -> tuple[Size | int | None, Size | None]:
    """Return the size to resize to, and the size of the centre that is cut out, or None."""
    own = own_size(config)
    size = _sides(fields.get("size"), "size", subject) or own
    crop = _sides(fields.get("crop_size"), "crop_size", subject)
    crop = (crop, crop) if isinstance(crop, int) else crop
    share = fields.get("crop_pct")
    cuts = fields.get("do_center_crop", crop is not None)
    if share is not None and isinstance(size, int):
        if not cuts:  # as ConvNeXt does, which does not cut large images
            crop, cuts = (size, size), True
            share = share if size < 384 else None
        size = (size, size) if share is None else int(size / share)
    crop = (crop or own) if cuts else None
    whole = (size, size) if isinstance(size, int) else size
    padded = _sides(fields.get("pad_size"), "pad_size", subject)
    padded = (padded, padded) if isinstance(padded, int) else padded
    if fields.get("do_pad") and padded not in (None, crop or whole):
        raise _wrong(subject, "pad_size", f"{crop or whole}, so that nothing is padded", padded)
    if not fields.get("do_resize", True):
        return None, crop
    margins = [] if crop is None else [a - b for a, b in zip(whole, crop, strict=True)]
    if any(margin % 2 for margin in margins):
        warn(
            subject,
            found=f"it cuts {crop} out of {whole} pixels, half a pixel beside the centre, so that "
            "the network does not see a turned image turned",
            remedy="change `size` by a pixel, or expect an error of that size",
        )
    return size, crop


def _compare(
    processor: Any,
    prepare: ImagePreparation,
    how: Mapping[str, Any],
    given: Iterable[str],
    config: Any,
    subject: str,
) -> None:
    """Prepare a picture of noise here and with transformers, and compare the numbers."""
    size = how["size"] or how["crop"] or own_size(config)
    size = (size, size) if isinstance(size, int) else size
    noise = np.random.default_rng(0).integers(0, 256, (config.num_channels, *size), dtype=np.uint8)
    here = prepare(torch.from_numpy(noise)[None])[0].numpy()
    try:
        there = np.asarray(processor(noise, input_data_format="channels_first")["pixel_values"][0])
        alike = here.shape == there.shape
        same = alike and np.allclose(here, there, rtol=1e-4, atol=1e-4)
        received, due = (here.flat[0], there.flat[0]) if alike else (here.shape, there.shape)
        found = f"{received} in the place of {due}"
    except Exception as error:
        same, found = False, f"{type(error).__name__}: {one_line(error)}"
    if not same:
        kind = type(processor).__name__
        unknown = [each for each in sorted(given) if not hasattr(type(processor), each)]
        found += f", and it does not know {', '.join(unknown)}" if unknown else ""
        raise OrbitLensError(
            subject,
            expected=f"pixels as {kind} of transformers prepares them",
            received=found,
            remedy="give the network with its own preparation, as python:file.py:function",
        )


def own_size(config: Any) -> Size:
    size = getattr(config, "image_size", None)
    if isinstance(size, int):
        return size, size
    if isinstance(size, list | tuple) and len(size) == 2:
        return int(size[0]), int(size[1])
    return _DEFAULT_SIZE, _DEFAULT_SIZE


def _sides(setting: Any, field: str, subject: str) -> Size | int | None:
    """Read a size as transformers writes it: a pair, a number, an object; the shortest edge is one.

    A number is a square.
    """
    sides = setting
    if isinstance(sides, Mapping):
        named = {name: side for name, side in sides.items() if side is not None}
        if {"height", "width"} <= named.keys() and len(named) == 2:
            sides = [named["height"], named["width"]]
        elif named.keys() & {"shortest_edge"} and named.keys() <= {"shortest_edge", "longest_edge"}:
            edge = named["shortest_edge"]
            if _is_side(edge):
                return int(edge)
        elif named.keys() == {"longest_edge"}:
            sides = named["longest_edge"]
    if sides is None:
        return None
    sides = [sides, sides] if _is_side(sides) else sides
    if not isinstance(sides, list | tuple) or len(sides) != 2 or not all(map(_is_side, sides)):
        raise _wrong(subject, field, "a height and a width, or a shortest edge", setting)
    return int(sides[0]), int(sides[1])


def _numbers(fields: Mapping[str, Any], name: str, subject: str) -> list[float]:
    value = fields.get(name)
    if value is None:
        raise _wrong(subject, name, "a number for each channel, as `do_normalize` is true", value)
    return [float(each) for each in (value if isinstance(value, Sequence) else [value])]


def _alike(
    std: list[float], fields: Mapping[str, Any], subject: str
) -> tuple[list[float], list[float]]:
    """Return the deviations of both divisions of EfficientNet, as many of one as of the other."""
    second = _numbers(fields, "image_std", subject)
    return std * (len(second) // len(std)), second


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 4096


def _wrong(subject: str, field: str, expected: str, value: Any) -> OrbitLensError:
    return OrbitLensError(
        f"{subject}: {field!r}",
        expected=expected,
        received=f"{value!r:.80}",
        remedy="correct the file, or get it again from where the model is published",
    )
