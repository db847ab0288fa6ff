"""The command line.

main    run `orbitlens` on the arguments of the process
"""

from orbitlens.cli.commands import main

__all__ = ["main"]
