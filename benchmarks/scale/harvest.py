"""The cost of a harvest beyond the forward passes of its network.

    python benchmarks/scale/harvest.py          # exits 1 if a target is missed

Both do the same moves and the same passes in the same batches, alternately in one process. The
harvest also fingerprints inputs and weights, checks and rounds activations, and writes them. Each
figure is the minimum over rounds, because the machine is shared.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import ViTConfig, ViTModel

import orbitlens as ol

TARGET = 1.10
BATCH = 128


def network(size: int) -> torch.nn.Module:
    """Return a vision transformer with random weights, six blocks of width 192."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=3,
        intermediate_size=768,
        image_size=size,
        patch_size=size // 8,
    )
    return ViTModel(config, add_pooling_layer=False).eval()


def spent(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds on the clock and on the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    """Measure, print one JSON line per case, and judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--folder", default=None, help="where stores are written")
    options = parser.parse_args()
    model, action = network(options.size), ol.actions.images(ol.groups.dihedral(4))
    inputs = torch.rand(options.samples, 3, options.size, options.size)

    def alone() -> None:
        with torch.no_grad():
            for part in inputs.split(BATCH // action.group.order):
                model(action.orbit(part).flatten(0, 1))

    missed = False
    cases = [("cls", "float32"), ("all", "float32"), ("all", "bfloat16")]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for positions, dtype in cases:
            times = {"alone": [], "harvest": []}
            for number in range(options.rounds):
                out = Path(folder) / f"{positions}-{dtype}-{number}"
                times["alone"].append(spent(alone))
                times["harvest"].append(
                    spent(
                        lambda out=out, positions=positions, dtype=dtype: ol.harvest(
                            model,
                            layer="layernorm",
                            inputs=inputs,
                            action=action,
                            positions=positions,
                            dtype=dtype,
                            batch_size=BATCH,
                            out=out,
                        )
                    )
                )
            clock, processor = (
                {name: min(pair[i] for pair in pairs) for name, pairs in times.items()}
                for i in (0, 1)
            )
            moved = options.samples * action.group.order
            record = {
                "positions": positions,
                "dtype": dtype,
                "ms_per_forward": 1e3 * clock["alone"] / moved,
                "seconds_alone": clock["alone"],
                "seconds_harvest": clock["harvest"],
                "ratio": clock["harvest"] / clock["alone"],
                "ratio_processor": processor["harvest"] / processor["alone"],
                "target": TARGET,
            }
            missed |= record["ratio"] > TARGET
            print(
                json.dumps(
                    {k: round(v, 3) if isinstance(v, float) else v for k, v in record.items()}
                )
            )
    sys.exit(int(missed))


if __name__ == "__main__":
    main()
