"""Writes lines.npz: the strips in lines/ as the classifier takes them, 48 x 192, blue first."""

from pathlib import Path

import numpy as np
from PIL import Image


def main() -> None:
    """Reads lines/, and writes arrays `inputs`, `labels`, `class_names` and `files`."""
    files = sorted(Path("lines").glob("*/*.png"))
    classes = sorted({file.parent.name for file in files})
    strips = [
        np.asarray(Image.open(file).convert("RGB").resize((192, 48)), np.float32) for file in files
    ]
    np.savez(
        "lines.npz",
        inputs=np.ascontiguousarray(np.stack(strips)[..., ::-1].transpose(0, 3, 1, 2)) / 255,
        labels=np.array([classes.index(file.parent.name) for file in files]),
        class_names=np.array(classes),
        files=np.array([str(file) for file in files]),
    )


if __name__ == "__main__":
    main()
