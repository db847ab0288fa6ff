"""The activations of the text classifier once more, from onnxruntime, Pillow and NumPy alone.

python benchmarks/first_hour/check_textline.py runs/textline
"""

import sys
from pathlib import Path

import numpy as np
import rapidocr_onnxruntime.ch_ppocr_cls.text_cls as text_cls
from _compare import onnx_layer, report, stored
from PIL import Image

FILE = Path(text_cls.__file__).parents[1] / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
NODE = "GlobalAveragePool@9"


def by_pillow(file):
    """Return a strip [3, 48, 192] in [-1, 1], blue first."""
    strip = Image.open(file).convert("RGB").resize((192, 48))
    return np.asarray(strip, np.float32)[..., ::-1].transpose(2, 0, 1) / 127.5 - 1


def by_package(file):
    """Return what the function of rapidocr makes of a strip."""
    classifier = object.__new__(text_cls.TextClassifier)
    classifier.cls_image_shape = (3, 48, 192)
    strip = np.asarray(Image.open(file).convert("RGB"))[..., ::-1]
    return classifier.resize_norm_img(np.ascontiguousarray(strip))


def main() -> None:
    """Compares a run on lines.npz with both ways to resize."""
    layer = onnx_layer(FILE, NODE)
    chosen, activations = stored(sys.argv[1])
    wanted = [activations[index] for index, _ in chosen]
    for words, resize in (
        ("resized by Pillow", by_pillow),
        ("resized by rapidocr, OpenCV's bilinear", by_package),
    ):
        strips = [resize(file) for _, file in chosen]
        turned = [(x, x[:, ::-1, ::-1]) for x in strips]
        found = [np.stack([layer(x).mean((1, 2)) for x in each]) for each in turned]
        report(words, found, wanted)


if __name__ == "__main__":
    main()
