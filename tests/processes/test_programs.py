"""A program without its streams goes on; its children end with it, however it dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from orbitlens.processes import run_program

def main():
    with open("written.txt", "w") as file:
        print("progress", file=sys.stderr)
        os.write(2, b"from a library") if {library} else None
        file.write("result")
    print("done")
    sys.exit(0)

run_program(main)
"""
PARENT = """
import subprocess, sys, time
from orbitlens.processes import child_environment
child = [sys.executable, "-c", {child!r}]
print(subprocess.Popen(child, env=child_environment()).pid, flush=True)
time.sleep(60)
"""
CHILD = """
import time
from orbitlens.processes import end_with_parent
end_with_parent()
open("ready", "w").close()
time.sleep(60)
"""


def run(streams: str, folder: Path, *, library: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the program with streams as the shell makes them."""
    (folder / "program.py").write_text(PROGRAM.format(library=library))
    words = f"{sys.executable} program.py {streams}"
    return subprocess.run(
        ["/bin/sh", "-c", words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full", ">&-", ">&- 2>&- <&-"])
def test_a_closed_or_full_stream_ends_nothing(tmp_path: Path, streams: str) -> None:
    done = run(streams, tmp_path)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert (tmp_path / "written.txt").read_text() == "result"


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    assert run("2>&-", tmp_path, library=True).returncode == 0
    assert (tmp_path / "written.txt").read_text() == "result"


def test_an_output_that_nobody_reads_is_no_traceback(tmp_path: Path) -> None:
    assert "Exception ignored" not in run("| true", tmp_path).stderr


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(child=CHILD)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_until(lambda: (tmp_path / "ready").exists())
        parent.kill()
    wait_until(lambda: not alive(child))


def wait_until(true: object) -> None:
    """Wait, a minute at most."""
    end = time.monotonic() + 60
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_signal_before_and_after_the_work_ends_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import atexit, signal, sys\n"
        "from orbitlens.processes import run_program\n"
        "def main():\n"
        "    atexit.register(lambda: signal.raise_signal(signal.SIGINT))\n"
        "    print('result')\n"
        "    sys.exit(0)\n"
        "run_program(main)\n"
    )
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        128 + signal.SIGINT,
        "result\n",
        "",
    )
