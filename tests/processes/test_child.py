"""A child is bound to its parent before it imports what it works with."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

from orbitlens.processes import in_child

SLOW = """
import os, time
if os.environ.get("SLOW"):
    open("importing", "w").write(str(os.getpid()))
    time.sleep(60)

def work():
    pass
"""
PARENT = """
import os, sys, time
from multiprocessing import get_context
from orbitlens.processes import in_child
import slow

def main():
    os.environ["SLOW"] = "1"
    target, parcel = in_child(slow.work)
    get_context("spawn").Process(target=target, args=parcel).start()
    time.sleep(60)
"""


def put(path: str, words: list[str]) -> None:
    Path(path).write_text(" ".join(words))


def test_function_and_arguments_arrive(tmp_path: Path) -> None:
    target, parcel = in_child(put, str(tmp_path / "said"), ["one", "two"])
    child = get_context("spawn").Process(target=target, args=parcel)
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert (tmp_path / "said").read_text() == "one two"


def test_a_child_that_still_imports_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, "-c", "import parent; parent.main()"], cwd=tmp_path)
    note, limit = tmp_path / "importing", time.monotonic() + 60
    while not (note.exists() and note.read_text()):
        assert time.monotonic() < limit
        time.sleep(0.01)
    child = int(note.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait(60)
    while lives(child):
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert limit - time.monotonic() > 5  # before its import would have ended


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
