"""The command line. Help, errors in the words of a command and completion load no torch.

main    run `orbitlens` on the arguments of the process
"""

from orbitlens.cli._start import main

__all__ = ["main"]
