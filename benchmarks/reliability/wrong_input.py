"""Time wrong commands that need no data: each ends in its line, in a fresh process.

    python benchmarks/reliability/wrong_input.py

The commands are those with a $ in tests/wrong_input.txt. It prints the slowest, and exits with 1 if
one takes a second or more. Each is given twice, and the faster time counts: a busy moment of the
machine is not the command's.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from wrong_input import make_files, rows_of

MAIN = "from orbitlens.cli import main; main()"
LIMIT = 1.0


def seconds(command: str, folder: Path) -> float:
    """Return the time of a command that is refused."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        ended = subprocess.run(
            [sys.executable, "-c", MAIN, *shlex.split(command)],
            cwd=folder,
            capture_output=True,
            check=False,
        )
        times.append(time.perf_counter() - start)
        if ended.returncode != 2:
            sys.exit(f"{command}: not refused, exit code {ended.returncode}")
    return min(times)


def main() -> None:
    """Print the table of the slowest commands."""
    # Compiled files are kept, as for a user.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder)
        times = {command: seconds(command, folder) for command, _ in rows_of("$")}
    slowest = sorted(times, key=times.__getitem__, reverse=True)
    print("| command | seconds |\n|---|---|")
    for command in slowest[:5]:
        print(f"| `orbitlens {command}` | {times[command]:.2f} |")
    late = sum(each >= LIMIT for each in times.values())
    print(f"\n{len(times)} commands, {late} of {LIMIT:g} s or more")
    sys.exit(1 if late else 0)


if __name__ == "__main__":
    main()
