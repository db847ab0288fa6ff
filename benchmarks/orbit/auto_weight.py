"""The orbit SAE with the weight that a run chooses, beside all other SAEs of the run.

    OMP_NUM_THREADS=1 python benchmarks/orbit/auto_weight.py --out runs/auto-weight

Digits, photographs and made-up blood cells under C4, three seeds each, with the defaults of
`orbitlens run`. For each SAE: macro-F1 of a probe on 2 to 32 latents, and normalised MSE, on
held-out images. The last lines say where the orbit SAE is behind the best of the others, and by how
much. Runs that are there are kept.
"""

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orbitlens.files import read_json, write_table
from orbitlens.pipeline import Console, RunConfig, run

SOURCES = ("digits", "photographs", "cells")
ORBIT = "orbit"


def rows_of(source: str, seed: int, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each SAE and figure of a run."""
    rows = []
    for name, sae in metrics["saes"].items():
        error = sae["transported_normalised_mse"]
        figures = {"normalised MSE": sae["normalised_mse"] if error is None else error}
        figures |= {f"F1 at {row['latents']}": row["macro_f1"] for row in sae["probe"]["rows"]}
        rows += [
            {"source": source, "seed": seed, "sae": name, "figure": figure, "value": value}
            for figure, value in figures.items()
        ]
    return rows


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return means over seeds, with the best of the others and the lead of the orbit SAE."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        values.setdefault((row["source"], row["figure"], row["sae"]), []).append(row["value"])
    found = []
    for source, figure in dict.fromkeys((row["source"], row["figure"]) for row in rows):
        own = {
            sae: statistics.mean(each)
            for (s, f, sae), each in values.items()
            if (s, f) == (source, figure)
        }
        orbit = own.pop(ORBIT)
        choose = min if figure == "normalised MSE" else max
        best = choose(own, key=own.__getitem__)
        lead = own[best] - orbit if figure == "normalised MSE" else orbit - own[best]
        spread = statistics.stdev(values[source, figure, ORBIT])
        found.append(
            {
                "source": source,
                "figure": figure,
                "orbit": orbit,
                "spread": spread,
                **own,
                "best other": best,
                "lead": lead,
            }
        )
    return found


def main() -> None:
    """Run what is missing, write the tables and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for source in SOURCES:
        for seed in range(options.seeds):
            out = options.out / f"{source}-{seed}"
            config = RunConfig.for_source(f"builtin:{source}", seed=seed)
            metrics = run(config, out, resume=out.exists(), console=Console(quiet=True))
            weight = read_json(out / "orbit_weight.json")["chosen"]
            print(f"{source}, seed {seed}: weight {weight:g}, {metrics['seconds']}", flush=True)
            rows += rows_of(source, seed, metrics)
    found = summary(rows)
    write_table(rows, options.out / "auto_weight.csv")
    write_table(found, options.out / "summary.csv")
    for row in found:
        side = "ahead" if row["lead"] > 0 else "BEHIND"
        print(
            f"{row['source']:<12} {row['figure']:<15} orbit {row['orbit']:.3f} "
            f"(spread {row['spread']:.3f}), best other {row['best other']} "
            f"{row[row['best other']]:.3f}: {side} by {abs(row['lead']):.3f}"
        )


if __name__ == "__main__":
    main()
