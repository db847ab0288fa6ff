"""The activations of nudenet once more, from onnxruntime, Pillow and NumPy alone.

python benchmarks/first_hour/check_nudenet.py runs/nudenet
"""

import sys
from pathlib import Path

import nudenet
import numpy as np
from _compare import onnx_layer, report, square, stored
from nudenet.nudenet import _read_image
from PIL import Image

FILE = Path(nudenet.__file__).parent / "320n.onnx"
NODE = "/model.9/cv2/act/Mul"


def filled_by_package(file):
    """Return what nudenet makes of a picture on a black square, blue first."""
    image = Image.open(file).convert("RGB")
    length = max(image.size)
    left, top = (image.width - length) // 2, (image.height - length) // 2
    image = image.crop((left, top, left + length, top + length))
    blue_first = np.ascontiguousarray(np.asarray(image)[..., ::-1])
    return _read_image(blue_first)[0][0].transpose(1, 2, 0)


def main() -> None:
    """Compares a run on pictures/ with both ways to resize."""
    layer = onnx_layer(FILE, NODE)
    chosen, activations = stored(sys.argv[1])
    wanted = [activations[index] for index, _ in chosen]
    for words, resize in (
        ("resized by Pillow, bicubic", lambda file: square(file, 320, fill=True)[..., ::-1]),
        ("resized by nudenet, OpenCV's bilinear", filled_by_package),
    ):
        pictures = [resize(Path("pictures") / file) for _, file in chosen]
        turned = [[np.rot90(p, g).transpose(2, 0, 1) for g in range(4)] for p in pictures]
        found = [np.stack([layer(x).mean((1, 2)) for x in each]) for each in turned]
        report(words, found, wanted)


if __name__ == "__main__":
    main()
