"""The first signal is an exception, the second ends the process, and others stay what they were."""

import importlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orbitlens.processes import SAME_REQUEST, Terminated, listening_to_signals, stopping_signals

STUBBORN = f"""
import os, signal, threading, time
from orbitlens.processes import listening_to_signals

def tell():
    time.sleep({SAME_REQUEST} + 0.2)
    os.kill(os.getpid(), signal.SIGTERM)

with listening_to_signals():
    try:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(60)
    except BaseException:
        print("clears up", flush=True)
        threading.Thread(target=tell).start()
        {{hang}}
"""
HANGS = ["time.sleep(60)", "threading.Lock().acquire() and threading.Event().wait(60)"]


def test_the_first_signal_is_raised_and_the_next_does_not_disturb_the_clearing_up() -> None:
    with listening_to_signals():
        with pytest.raises(Terminated) as ended:
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_terminal_that_closes_stops_the_work_too() -> None:
    with listening_to_signals(), pytest.raises(Terminated) as ended:
        signal.raise_signal(signal.SIGHUP)
    assert ended.value.code == 129
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_ctrl_c_stays_a_keyboard_interrupt() -> None:
    with listening_to_signals(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening_to_signals():
            signal.raise_signal(signal.SIGHUP)
            assert signal.SIGHUP not in stopping_signals()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.SIGHUP in stopping_signals()


@pytest.mark.parametrize("hang", HANGS)
def test_a_second_signal_ends_a_process_that_hangs_at_its_end(hang: str) -> None:
    program = STUBBORN.format(hang=hang)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "clears up\n", "")


def test_who_handles_signals_goes_on_doing_so() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with listening_to_signals():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_another_thread_leaves_signals_alone() -> None:
    found: list[object] = []

    def look() -> None:
        with listening_to_signals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


def test_a_signal_that_an_import_swallows_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries try imports, and catch whatever comes."""
    swallowing = "try:\n    signal.raise_signal(signal.SIGINT)\nexcept BaseException:\n    pass\n"
    (tmp_path / "swallowing.py").write_text(f"import signal\n{swallowing}")
    monkeypatch.syspath_prepend(tmp_path)
    before, done = signal.getsignal(signal.SIGALRM), []

    def work() -> None:
        with listening_to_signals():
            done.append(importlib.import_module("swallowing").__name__)
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["swallowing"]
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_signal_that_python_drops_comes_again_without_a_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody can catch what the end of an object raises."""

    class Ending:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    class Broken:
        def __del__(self) -> None:
            raise AttributeError("it was not made wholly")

    hook, done = sys.unraisablehook, []

    def work() -> None:
        with listening_to_signals():
            Ending()
            Broken()
            done.append("dropped")
            time.sleep(10)

    with pytest.raises(Terminated):
        work()
    assert done == ["dropped"]
    assert capsys.readouterr().err == ""
    assert sys.unraisablehook is hook


def test_a_program_that_ends_is_left_in_peace() -> None:
    """Its last writes may take long, and errors may be handled in them."""
    done = []

    def work() -> None:
        with listening_to_signals():
            try:
                signal.raise_signal(signal.SIGINT)
            finally:
                try:
                    int("no number")
                except ValueError:
                    time.sleep(0.6)
                done.append("written")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["written"]
