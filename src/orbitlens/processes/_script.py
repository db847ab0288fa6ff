"""Run a file as a program: python -m orbitlens.processes._script FILE WORDS."""

import os
import runpy
import sys

from orbitlens.processes._program import run_program


def _run() -> None:
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    run_program(_run)
