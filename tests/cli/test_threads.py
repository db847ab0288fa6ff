"""Threads that wait for each other briefly, and are as many as the container grants."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from orbitlens.cli import _threads as threads

PROGRAM = """
import os
from orbitlens.cli import main
try:
    main()
except SystemExit:
    print(*(os.environ.get(n, "-") for n in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")))
"""


def spins(**chosen: str) -> str:
    """Return the settings of a process, and so of its children, once a command was given."""
    settings = {n: v for n, v in os.environ.items() if not n.startswith(("OMP_", "GOMP", "KMP"))}
    words = [sys.executable, "-c", PROGRAM, "--version"]
    done = subprocess.run(words, env=settings | chosen, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_the_command_line_lets_threads_spin_briefly_unless_the_user_chose() -> None:
    assert spins() == "1000 1"
    assert spins(GOMP_SPINCOUNT="7") == "7 1"
    assert spins(OMP_WAIT_POLICY="active") == "- -"


def granted(folder: Path, own: str, files: dict[str, str]) -> float | None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "own").write_text(own)
    return threads.granted_processors(folder / "own", folder)


def test_the_quota_is_the_least_of_a_group_and_those_around_it(tmp_path: Path) -> None:
    files = {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n", "cpu.max": "max 100000"}
    assert granted(tmp_path, "0::/a/b\n", files) == 1.5


def test_the_quota_of_version_1_is_read(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}
    # In a container the path is often that on the machine.
    assert granted(tmp_path, "3:cpu:/machine/x\n1:memory:/\n", files) == 3
    both = {f"cpu,cpuacct/{name.split('/')[1]}": content for name, content in files.items()}
    assert granted(tmp_path / "both", "3:cpu,cpuacct:/\n", both) == 3


@pytest.mark.parametrize("own", ["", "nonsense", "0::/\n", "3:cpu:/\n"])
def test_no_quota_is_none(tmp_path: Path, own: str) -> None:
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert granted(tmp_path, own, files) is None


def test_threads_are_as_many_as_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)  # as in a new process
    monkeypatch.setattr(threads, "granted_processors", lambda: 2.5)
    monkeypatch.setattr(threads, "_processors", lambda: 64)
    chosen: dict[str, str] = {}
    threads.set_up_threads(chosen)
    assert chosen["OMP_NUM_THREADS"] == "2"
    chosen = {"MKL_NUM_THREADS": "8"}
    threads.set_up_threads(chosen)
    assert "OMP_NUM_THREADS" not in chosen
    monkeypatch.setattr(threads, "granted_processors", lambda: 0.5)
    chosen = {}
    threads.set_up_threads(chosen)
    assert chosen["OMP_NUM_THREADS"] == "1"


def test_a_process_that_has_torch_keeps_its_settings() -> None:
    assert torch.get_num_threads() >= 1
    chosen: dict[str, str] = {}
    threads.set_up_threads(chosen)
    assert chosen == {}
