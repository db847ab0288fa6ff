"""How a program begins and ends: signals, standard streams, and children that end with it.

For the other rooms:

    run_program           runs a program from its first moment to its last
    listening_to_signals  Ctrl-C, SIGTERM and SIGHUP as exceptions; a second one ends the process
    Terminated            the exception of SIGTERM and SIGHUP
    STOPPED               the exit codes of programs that a signal ended
    stopping_signals      the signals that would end this process
    SAME_REQUEST          seconds within which two signals are one request
    Interruptible         what is written from time to time, and when a signal stops the process
    in_child              target and arguments of a process that is bound to its parent first
    end_with_parent       ends this process when its parent dies
    child_environment     the environment of a program that shall end with this one
"""

from orbitlens.processes._child import in_child
from orbitlens.processes._interruptible import Interruptible
from orbitlens.processes._parent import child_environment, end_with_parent
from orbitlens.processes._program import run_program
from orbitlens.processes._stopping import (
    SAME_REQUEST,
    STOPPED,
    Terminated,
    listening_to_signals,
    stopping_signals,
)

__all__ = [
    "SAME_REQUEST",
    "STOPPED",
    "Interruptible",
    "Terminated",
    "child_environment",
    "end_with_parent",
    "in_child",
    "listening_to_signals",
    "run_program",
    "stopping_signals",
]
