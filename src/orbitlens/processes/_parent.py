"""Children that do not outlive their parent, however it dies."""

import ctypes
import os
import signal
import sys
import threading
import time

_PARENT = "ORBITLENS_PARENT"
_PR_SET_PDEATHSIG = 1
_PATIENCE_S = 0.5


def child_environment() -> dict[str, str]:
    """Return the environment for a program that shall end with this one, see `run_program`."""
    return {**os.environ, _PARENT: str(os.getpid())}


def end_with_parent(parent: int | None = None) -> None:
    """End this process when its parent, of that number, dies; at once if it is dead already.

    Without a number, do so if the parent asked for it by `child_environment`.
    """
    if parent is None:
        asked = os.environ.pop(_PARENT, "")
        # A grandchild inherits the wish, but has another parent.
        if asked != str(os.getppid()):
            return
        parent = int(asked)
    if not _told_the_kernel():
        threading.Thread(target=_wait_for, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _told_the_kernel() -> bool:
    """Let Linux kill this process when its parent dies; return whether it will."""
    if sys.platform != "linux":
        return False
    try:
        found = ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (OSError, AttributeError):
        return False
    return bool(found == 0)


def _wait_for(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PATIENCE_S)
    os._exit(1)
