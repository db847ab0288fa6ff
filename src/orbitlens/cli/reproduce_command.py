"""The command `orbitlens reproduce`: an experiment of a paper, or one of ours."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Never

import click

from orbitlens.cli import options as cli
from orbitlens.cli.options import option
from orbitlens.errors import unknown_name
from orbitlens.pipeline import Console
from orbitlens.processes import Terminated, child_environment
from orbitlens.reproduce import BUDGETS, locate


@click.command("reproduce", cls=cli.Verb, renamed={"--workers": "--jobs"})
@click.argument("name")
@option("--budget", "One of smoke, small, medium, full.", "small")
@option("--out", "Local folder to write. Default: runs/NAME-BUDGET.", kind=cli.Folder())
@option("--jobs", "Jobs that run at the same time.", 2, cli.AtLeast(1))
def reproduce_command(
    name: str, budget: str, out: Path | None, jobs: int, console: Console
) -> Never:
    """Run the recipe NAME, an experiment of a paper or one of ours.

    It compares the results with the published figures, if there are any. If it is interrupted, the
    same command continues it. A NAME that is no recipe, such as "?", is answered with all names.
    """
    script = locate(name) / "run.py"
    if budget not in BUDGETS:
        raise unknown_name("`budget`", budget, BUDGETS)
    # A recipe is a program of its own, so that its worker processes can import it.
    words = ["--budget", budget, "--jobs", str(jobs)]
    words += [] if out is None else ["--out", str(out)]
    words += ["--json"] if console.quiet else []
    program = [sys.executable, "-m", "orbitlens.processes._script", str(script), *words]
    with subprocess.Popen(program, env=child_environment()) as recipe:
        while True:
            try:
                code = recipe.wait()
                sys.exit(code if code >= 0 else 128 - code)
            except KeyboardInterrupt:
                # The recipe stops its workers and says how to continue.
                recipe.send_signal(signal.SIGINT)
            except Terminated as error:
                recipe.send_signal(error.number)
