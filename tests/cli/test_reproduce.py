"""`orbitlens reproduce` as a user runs it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-c", "from orbitlens.cli import main; main()", "reproduce"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["toi"], "did you mean 'toy'?"),
        (["toy", "--budget", "smok"], "did you mean 'smoke'?"),
        (["toy", "--jobs", "0"], "Invalid value for '--jobs': 0 is not in the range x>=1"),
        (["toy", "--workers", "0"], "Invalid value for '--jobs': 0 is not in the range x>=1"),
    ],
)
def test_bad_input_ends_in_one_line(words: list[str], message: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_a_signal_ends_the_recipe_and_its_workers(
    tmp_path: Path, number: signal.Signals, word: str
) -> None:
    words = ["toy", "--budget", "full", "--out", str(tmp_path / "run")]
    # A group of its own, so that the signal reaches recipe and workers, as from a terminal.
    # A runner in the background may ignore the signal, and its children with it.
    program = f"import signal; signal.signal(2, signal.default_int_handler); {PROGRAM[2]}"
    process = subprocess.Popen(
        [*PROGRAM[:2], program, *PROGRAM[3:], *words],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "jobs").is_dir() and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(3)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:  # as from kill or a supervisor, which know of this process alone
        process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert stderr.strip().splitlines()[-1] == f"toy: {word}; the same command goes on"
    assert ended(process.pid)


def ended(group: int) -> bool:
    """Wait until no process of the group is left."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.2)
    return False
