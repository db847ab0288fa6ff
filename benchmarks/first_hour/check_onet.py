"""The activations of ONet once more, from facenet-pytorch, Pillow and NumPy alone.

python benchmarks/first_hour/check_onet.py runs/onet
"""

import sys
from pathlib import Path

import numpy as np
import torch
from _compare import report, square, stored
from facenet_pytorch import ONet
from facenet_pytorch.models.utils.detect_face import imresample
from PIL import Image


def conv3(net, pixels):
    """Return conv3, averaged over its places, of a picture [48, 48, 3] in 0 to 255."""
    x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
    x = (x - 127.5) * 0.0078125  # as in facenet_pytorch.models.utils.detect_face
    with torch.no_grad():
        x = net.pool1(net.prelu1(net.conv1(x)))
        x = net.pool2(net.prelu2(net.conv2(x)))
        return net.conv3(x)[0].mean((1, 2)).numpy()


def resized_by_package(file):
    """Return the centre of a picture, resized by the function of the package."""
    image = Image.open(file).convert("RGB")
    length = min(image.size)
    left, top = (image.width - length) // 2, (image.height - length) // 2
    image = np.asarray(image.crop((left, top, left + length, top + length)), np.float32)
    x = imresample(torch.from_numpy(image.transpose(2, 0, 1))[None], (48, 48))
    return x[0].numpy().transpose(1, 2, 0)


def main() -> None:
    """Compares a run on pictures/ with both ways to resize."""
    chosen, activations = stored(sys.argv[1])
    net, wanted = ONet(), [activations[index] for index, _ in chosen]
    for words, resize in (
        ("resized by Pillow, bicubic", lambda file: square(file, 48, fill=False) * 255),
        ("resized by facenet-pytorch, area", resized_by_package),
    ):
        pictures = [resize(Path("pictures") / file) for _, file in chosen]
        found = [np.stack([conv3(net, np.rot90(p, g)) for g in range(4)]) for p in pictures]
        report(words, found, wanted)


if __name__ == "__main__":
    main()
