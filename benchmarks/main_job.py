"""Time, memory and figures of the main job, `orbitlens run shapes`, held against its targets.

python benchmarks/main_job.py --quick
python benchmarks/main_job.py --out runs/benchmark
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# (seconds, GiB) on 2 cores
LIMITS = {"quick": (180, 2.0), "default": (900, 8.0)}


def run(out: Path, *, quick: bool) -> tuple[float, float]:
    """Run the main job as a user would; return its seconds and its largest memory in GiB."""
    command = [sys.executable, "-c", "from orbitlens.cli import main; main()"]
    command += ["run", "shapes", "--out", str(out), *(["--quick"] if quick else [])]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return time.perf_counter() - start, peak


def probe_table(metrics: dict[str, Any]) -> tuple[list[str], bool]:
    """Return F1 per task family as rows, and whether every equivariant SAE is above vanilla."""
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for name, sae in metrics["saes"].items():
        for row in sae["probe"]["rows"]:
            column = name if row["orientation"] == "none" else f"{name} ({row['orientation']})"
            scores.setdefault((row["task"], row["latents"]), {})[column] = row["f1"]
    columns = list(next(iter(scores.values())))
    lines = ["| task | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {task} | " + " | ".join(f"{by_sae[column]:.3f}" for column in columns) + " |"
        for (task, _), by_sae in scores.items()
    ]
    above = all(
        by_sae[column] > by_sae["vanilla"]
        for by_sae in scores.values()
        for column in columns
        if column.endswith("(oracle)")
    )
    return lines, above


def main() -> int:
    """Run the job, print its figures beside the targets; 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="keep the run here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = options.out or Path(folder) / "run"
        seconds, peak = run(out, quick=options.quick)
        metrics = json.loads((out / "metrics.json").read_text())
    limit, most = LIMITS["quick" if options.quick else "default"]
    rho = metrics["transport"]
    lines, above = probe_table(metrics)
    print(f"seconds: {seconds:.0f} (limit {limit})")
    print(f"peak memory: {peak:.2f} GiB (limit {most})")
    print(f"transport R^2: {rho['r2']:.4f}, identity {rho['identity_r2']:.4f}")
    print(f"relation error: {rho['relation_error']:.3f}")
    for name, sae in metrics["saes"].items():
        error = sae["transported_normalised_mse"] or sae["normalised_mse"]
        print(f"{name}: normalised MSE {error:.4f}, dead latents {sae['dead_latents']}")
    print("\n".join(lines))
    met = seconds <= limit and peak <= most and rho["r2"] >= 0.98
    if not options.quick:
        print(f"every equivariant SAE above vanilla on every family: {'yes' if above else 'NO'}")
        met = met and above
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
