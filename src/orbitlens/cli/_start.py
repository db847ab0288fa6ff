"""The first step of the program `orbitlens`: little enough that no Ctrl-C comes before it."""

from orbitlens.processes import run_program


def main() -> None:
    """Run `orbitlens` on the arguments of the process."""
    run_program(_run)


def _run() -> None:
    from orbitlens.cli import commands

    commands.main()
