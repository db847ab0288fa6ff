"""Memory of a harvest against the number of images: read on demand, or kept in memory.

    python benchmarks/scale/inputs.py                 # exits 1 if memory grows by a tenth

The images are noise, 64 x 64 in colour, as PNG files in a folder and as one .npy file. The network
is so small that the images dominate. Every harvest is a process of its own and prints its highest
resident size. Pages of a mapped file count as resident, although the system may take them back.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import orbitlens as ol

SIDE = 64
KINDS = ("folder", "npy", "kept")


def harvest(kind: str, folder: Path, n: int) -> None:
    """Harvest n images and print time and memory."""
    torch.set_num_threads(1)
    begun = time.process_time()
    if kind == "npy":
        inputs = np.load(folder / "images.npy", mmap_mode="r")[:n]
    else:
        inputs = ol.data.image_folder(
            folder / "images", size=SIDE, limit=n, in_memory=kind == "kept"
        ).values
    with tempfile.TemporaryDirectory() as out:
        store = ol.harvest(
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE**2, 16)),
            layer="1",
            inputs=inputs,
            action=ol.actions.images(ol.groups.cyclic(4)),
            out=Path(out) / "acts",
        )
        record = {
            "kind": kind,
            "n": n,
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "ms_per_image": round(1e3 * (time.process_time() - begun) / n, 2),
            "digest": store.digest,
        }
    print(json.dumps(record))


def write_images(folder: Path, n: int) -> None:
    """Write n images of noise, twice."""
    (folder / "images").mkdir()
    array = np.lib.format.open_memmap(
        folder / "images.npy", "w+", dtype=np.float32, shape=(n, 3, SIDE, SIDE)
    )
    generator = np.random.default_rng(0)
    for i in range(n):
        pixels = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i:06}.png", compress_level=1)
        array[i] = pixels.transpose(2, 0, 1) / np.float32(255)


def another(kind: str, folder: str, n: int) -> str:
    """Run this file in another process and return its output."""
    words = [sys.executable, __file__, "--one", kind, folder, str(n)]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """Harvest more and more images, each time in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 4000, 16000])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        kind, folder, n = options.one
        (write_images if kind == "write" else partial(harvest, kind))(Path(folder), int(n))
        return
    peaks: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        # In processes of their own: one inherits the highest resident size of its parent.
        another("write", folder, max(options.counts))
        for kind in KINDS:
            for n in options.counts:
                said = another(kind, folder, n)
                print(said, end="", flush=True)
                peaks.setdefault(kind, []).append(json.loads(said)["peak_mib"])
    grown = {kind: round(each[-1] / each[0], 3) for kind, each in peaks.items()}
    print(json.dumps(grown))
    sys.exit(int(grown["folder"] > 1.1 or grown["npy"] > 1.1))


if __name__ == "__main__":
    main()
