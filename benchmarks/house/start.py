"""Time the start of the library and the answers of the command line that need no work.

    python benchmarks/house/start.py               # 7 rounds; about three minutes
    python benchmarks/house/start.py --rounds 3

Each measurement is a fresh process. A round runs every program once, so that a busy moment of the
machine falls on all of them; the table shows medians, and ratios to `import torch`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from orbitlens.cli.commands import VERBS

TOUCH = "import orbitlens as ol; [getattr(ol, name) for name in ol.__all__]"
MAIN = "from orbitlens.cli import main; main()"
COMPLETION = {
    "_ORBITLENS_COMPLETE": "bash_complete",
    "COMP_WORDS": "orbitlens run --gr",
    "COMP_CWORD": "2",
}


def programs() -> dict[str, tuple[Sequence[str], Mapping[str, str]]]:
    """Return the programs to time: words of Python, and variables of the environment."""
    python: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {
        "python": (["pass"], {}),
        "import torch": (["import torch"], {}),
        "import orbitlens": (["import orbitlens"], {}),
        "import orbitlens, every name": ([TOUCH], {}),
        "orbitlens": ([MAIN], {}),
        "orbitlens --help": ([MAIN, "--help"], {}),
        "orbitlens --version": ([MAIN, "--version"], {}),
        "a wrong verb": ([MAIN, "runn"], {}),
        "a wrong option": ([MAIN, "run", "shapes", "--grup"], {}),
        "completion": ([MAIN], COMPLETION),
    }
    return python | {f"orbitlens {verb} --help": ([MAIN, verb, "--help"], {}) for verb in VERBS}


def seconds(words: Sequence[str], environment: Mapping[str, str]) -> float:
    """Return the time that a fresh process takes."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", *words],
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
    )
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    chosen = programs()
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, program in chosen.items():
            times[name].append(seconds(*program))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print("| program | seconds | times `import torch` |\n|---|---|---|")
    for name, median in medians.items():
        print(f"| `{name}` | {median:.2f} | {median / medians['import torch']:.2f} |")
    # Interleaved pairs cancel the drift of a shared machine.
    pairs = zip(times["import orbitlens, every name"], times["import torch"], strict=True)
    print(f"\nevery name, median of pairs: {statistics.median(a / b for a, b in pairs):.2f}")


if __name__ == "__main__":
    main()
