"""Instances of four kinds of fault with images; every one must be right, refused or warned of.

    python benchmarks/reliability/images.py

- Settings of other programs: image processors that differ from the plain one.
- Ranges: images whose white is not what it seems.
- Passed over: files and parts of images that are not read.
- Names: a name that could be a folder, a network or a set of images.
"""

import json
import os
import socket
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from outcomes import show
from PIL import Image

import orbitlens as ol
from orbitlens.data import Inputs, image_folder
from orbitlens.models import resolve_model
from orbitlens.pipeline import RunConfig

transformers.logging.set_verbosity_error()
NOISE = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
GREY = np.random.default_rng(1).integers(0, 256, (16, 16), dtype=np.uint8)
Instance = Callable[[], bool]


def new_folder() -> Path:
    """Return an empty folder."""
    return Path(tempfile.mkdtemp())


# Settings of other programs.


def network(settings: dict[str, Any], file: str = "preprocessor_config.json") -> Any:
    """Return a network with these settings of its images, and its folder."""
    folder = new_folder()
    transformers.ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    ).save_pretrained(folder)
    (folder / file).write_text(json.dumps(settings))
    base = resolve_model(f"hf:{folder}", random_weights=True, image_shape=(3, 32, 32))
    return base, folder


def as_transformers(kind: str, **settings: Any) -> Instance:
    """Whether noise is prepared as transformers prepares it."""

    def instance() -> bool:
        named = {"image_processor_type": f"{kind}ImageProcessor", **settings}
        base, folder = network(named)
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        there = processor(NOISE, input_data_format="channels_first")["pixel_values"][0]
        here = base.prepare(torch.from_numpy(NOISE)[None])[0].numpy()
        return here.shape == there.shape and np.allclose(here, there, atol=1e-4)

    return instance


def in_the_newer_file() -> bool:
    """Whether the field of processor_config.json is read."""
    named = {"image_processor_type": "ViTImageProcessor", "size": 32, "do_normalize": False}
    base, _ = network({"image_processor": named}, "processor_config.json")
    return torch.allclose(base.prepare(torch.from_numpy(NOISE)[None])[0] * 255, as_float(NOISE))


def as_float(pixels: np.ndarray) -> torch.Tensor:
    """Return pixels as a tensor of floating point numbers."""
    return torch.from_numpy(pixels).float()


SETTINGS = {
    "LeViT, which enlarges by 256/224 before it cuts": as_transformers(
        "Levit", size={"shortest_edge": 28}, crop_size=28
    ),
    "ConvNeXT with crop_pct 0.75": as_transformers(
        "ConvNext", size={"shortest_edge": 24}, crop_pct=0.75, resample=0
    ),
    "MobileViT smaller than its crop, surrounded with zeros": as_transformers(
        "MobileViT", size={"shortest_edge": 32}, crop_size=40
    ),
    "EfficientNet that divides twice (include_top)": as_transformers(
        "EfficientNet", size=32, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]
    ),
    "DPT that keeps sides multiples of 14": as_transformers(
        "DPT", size=32, ensure_multiple_of=14, keep_aspect_ratio=True, resample=0
    ),
    "SuperPoint, which makes images grey": as_transformers(
        "SuperPoint", size={"height": 32, "width": 32}, do_grayscale=True
    ),
    "GLPN with size_divisor": as_transformers("GLPN", size_divisor=24, do_resize=True, resample=0),
    "a field of a later version (do_gamma)": as_transformers("ViT", size=32, do_gamma=0.45),
    "image_std written as a number": as_transformers("ViT", size=32, image_mean=0.1, image_std=0.3),
    "settings in processor_config.json": in_the_newer_file,
}


# Ranges.


def prepared(images: torch.Tensor) -> Instance:
    """Whether these images are prepared as the same pictures in [0, 1]."""

    def instance() -> bool:
        base, _ = network({"size": 32, "image_mean": [0.5] * 3, "image_std": [0.5] * 3})
        wanted = (as_float(NOISE) / 255 - 0.5) / 0.5
        return torch.allclose(base.prepare(images)[0], wanted, atol=0.01)

    return instance


def read(expected: np.ndarray, save: Callable[[Path], Any], **options: Any) -> Instance:
    """Whether the values of a folder with one file are the expected ones."""

    def instance() -> bool:
        folder = new_folder()
        save(folder)
        values = image_folder(folder, size=expected.shape[-1], **options).values[0]
        return np.allclose(values[0].numpy(), expected, atol=0.01)

    return instance


def saved(pixels: np.ndarray, name: str, **options: Any) -> Callable[[Path], Any]:
    """Return what saves an image in a folder."""
    return lambda folder: Image.fromarray(pixels).save(folder / name, **options)


def tiff(raw: bytes, **tags: int) -> Callable[[Path], Any]:
    """A little-endian TIFF of 16 x 16 pixels."""
    numbers = {"bits": 258, "photometric": 262, "format": 339}
    known = {256: 16, 257: 16, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: 16, 279: len(raw)}
    entries = sorted({**known, **{numbers[name]: value for name, value in tags.items()}}.items())
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    ends = struct.pack("<H", len(entries)) + body + bytes(4)
    content = b"II*\0" + struct.pack("<I", 8 + len(raw)) + raw + ends
    return lambda folder: (folder / "a.tif").write_bytes(content)


BATCH = as_float(NOISE)[None] / 255
RANGES = {
    "images in [-1, 1] for a network that normalises": prepared(BATCH * 2 - 1),
    "standardised images for a network that normalises": prepared((BATCH - 0.5) / 0.3),
    "int64 images of 0 to 255": prepared(BATCH.mul(255).round().long()),
    "bytes": prepared(torch.from_numpy(NOISE)[None]),
    "16-bit numbers as float32": prepared(BATCH * 65535),
    "10 bits in a 16-bit PNG": read(GREY / 255, saved(GREY.astype(np.uint16) * 4, "a.png")),
    "14 bits in a 16-bit TIFF": read(GREY / 255, saved(GREY.astype(np.uint16) * 64, "a.tif")),
    "a mask of 0 and 1 as a PNG": read(GREY // 128, saved(GREY // 128, "a.png")),
    "signed 16-bit TIFF": read(
        GREY / 255, tiff((GREY.astype("<i2") * 128 - 16384).tobytes(), format=2)
    ),
    "white=4095 with a brighter file": read(
        GREY / 255, saved(GREY.astype(np.uint16) * 257, "a.png"), white=4095
    ),
}


# Passed over.


def told(fill: Callable[[Path], Any], word: str, **options: Any) -> Instance:
    """Whether a sentence on what was passed over has the word."""

    def instance() -> bool:
        folder = new_folder()
        saved(GREY, "a.png")(folder)
        fill(folder)
        inputs: Inputs = image_folder(folder, size=16, **options)
        return any(word in sentence for sentence in inputs.passed_over)

    return instance


def device(folder: Path) -> None:
    """Put a socket beside the image."""
    socket.socket(socket.AF_UNIX).bind(str(folder / "b.png"))


def in_classes(folder: Path) -> None:
    """Make two classes with images, and one without."""
    (folder / "a.png").unlink()
    for name in ("one", "two"):
        (folder / name).mkdir()
        saved(GREY, "a.png")(folder / name)
    (folder / "three").mkdir()
    (folder / "three" / "scan.heic").write_bytes(b"ftypheic")


def pages(folder: Path) -> None:
    """Put a TIFF of two pages beside the image."""
    first, second = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    first.save(folder / "b.tif", save_all=True, append_images=[second])


def moving(folder: Path) -> None:
    """Put a moving WebP beside the image."""
    first, second = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    first.save(folder / "b.webp", save_all=True, append_images=[second], lossless=True)


def gif_called_png(folder: Path) -> None:
    """Put a GIF with another ending beside the image."""
    Image.fromarray(GREY).save(folder / "b.png", format="GIF")


def pipe_behind_a_link(folder: Path) -> None:
    """Put a link to a pipe beside the image."""
    os.mkfifo(folder / ".pipe")
    (folder / "b.png").symlink_to(folder / ".pipe")


def cut_in_two(folder: Path) -> None:
    """Put half an image beside the image."""
    Image.fromarray(GREY).save(folder / "b.png")
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:150])


PASSED_OVER = {
    "a .heic beside a .png": told(lambda folder: (folder / "b.heic").write_bytes(b"x"), "b.heic"),
    "a class of .heic alone": told(in_classes, "three"),
    "a GIF called .png": told(gif_called_png, "b.png", unreadable="skip"),
    "a TIFF of two pages": told(pages, "several pages"),
    "a moving WebP": told(moving, "several pages"),
    "a panorama of 16 x 160": told(saved(np.tile(GREY, 10), "b.bmp"), "90% of the area lost"),
    "a socket called .png": told(device, "b.png"),
    "a link to a pipe": told(pipe_behind_a_link, "b.png"),
    "half a PNG, skipped": told(cut_in_two, "could not be read", unreadable="skip"),
    "a limit of 1 of 2 files": told(saved(GREY, "b.png"), "1 of 2 files", limit=1),
}


# Names.


def source_is(name: str, expected: Callable[[Path], str], *make: str) -> Instance:
    """Whether a source is the expected one in a folder with these subfolders."""

    def instance() -> bool:
        before, folder = Path.cwd(), new_folder()
        os.chdir(folder)
        try:
            for each in make:
                (folder / each).mkdir(parents=True)
            return RunConfig.for_source(name).source == expected(folder)
        finally:
            os.chdir(before)

    return instance


def model_beside_a_folder() -> bool:
    """A folder called like an architecture is not taken for the architecture."""
    before, folder = Path.cwd(), new_folder()
    os.chdir(folder)
    try:
        (folder / "vit").mkdir()
        return resolve_model("hf:vit", random_weights=True, image_shape=(3, 8, 8)) is None
    finally:
        os.chdir(before)


def recipe_beside_a_folder() -> bool:
    """A recipe draws its own shapes, whatever folder it is run in."""
    before, folder = Path.cwd(), new_folder()
    os.chdir(folder)
    try:
        (folder / "shapes").mkdir()
        return RunConfig.for_source("builtin:shapes").source == "shapes"
    finally:
        os.chdir(before)


def group_in_small_letters() -> bool:
    """Whether the group is found."""
    return ol.groups.from_name("c4").name == "C4"


NAMES = {
    "cells, with ./cells": source_is("cells", lambda _: "cells", "cells"),
    "./cells, with ./cells": source_is("./cells", lambda at: str(at / "cells"), "cells"),
    "cells/, with ./cells": source_is("cells/", lambda at: str(at / "cells"), "cells"),
    "builtin:cells, with ./cells": source_is("builtin:cells", lambda _: "cells", "cells"),
    "builtin:./cells": source_is("builtin:./cells", lambda _: "cells", "cells"),
    "builtin:celsl": source_is("builtin:celsl", lambda _: "cells"),
    "data/digits, a folder": source_is(
        "data/digits", lambda at: str(at / "data/digits"), "data/digits"
    ),
    "hf:vit, with a folder ./vit": model_beside_a_folder,
    "the recipe's shapes, with ./shapes": recipe_beside_a_folder,
    "the group c4 in small letters": group_in_small_letters,
}


def main() -> None:
    """Show the four tables; exit with 1 if any instance is wrong or crashed."""
    faults = 0
    kinds: dict[str, dict[str, Instance]] = {
        "Settings of other programs": SETTINGS,
        "Ranges": RANGES,
        "Passed over": PASSED_OVER,
        "Names": NAMES,
    }
    for kind, instances in kinds.items():
        try:
            show(kind, instances)
        except SystemExit as ended:
            faults += int(ended.code or 0)
        print()
    sys.exit(int(faults > 0))


if __name__ == "__main__":
    main()
