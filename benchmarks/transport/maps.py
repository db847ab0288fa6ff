"""The spatial transport on 32 x 32 x 32 feature maps of 10,000 images: time and memory.

    python benchmarks/transport/maps.py --out runs/maps          # exits 1 if a target is missed

The layer is a random convolution of drawn cells. The first run writes the store (about 5 GB) and
keeps it; the second run measures the fit alone. Targets on 2 cores: 2 minutes and 4 GiB.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import torch
from torch import nn

import orbitlens as ol

IMAGES, SIDE, CHANNELS = 10_000, 32, 32
MINUTES, GIB = 2.0, 4.0


def main() -> None:
    """Harvest if there is no store yet, then fit and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/maps"))
    options = parser.parse_args()
    path = options.out / "acts.zarr"
    if not path.exists():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 1)
        )
        ol.harvest(
            model,
            layer="2",
            inputs=ol.data.cells(IMAGES, size=SIDE).values,
            action=ol.actions.images(ol.groups.cyclic(4)),
            positions="all",
            out=path,
        )
        print(f"wrote {path}; run again to measure the fit alone")
        return
    store = ol.open_store(path)
    start = time.perf_counter()
    motion = ol.transport.spatial(store, store.split()[0])
    fitted = time.perf_counter() - start
    rho = ol.fit_transport(store, "spatial")
    total = time.perf_counter() - start - fitted
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{store}")
    print(f"fit {fitted:.0f} s; fit and measured on held-out images {total:.0f} s; {peak:.2f} GiB")
    print(f"R^2 {rho.r2:.4f} (identity {rho.identity_r2:.4f}), directions {motion.variable}")
    sys.exit(0 if total < 60 * MINUTES and peak < GIB else 1)


if __name__ == "__main__":
    main()
