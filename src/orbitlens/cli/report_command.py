"""The command `orbitlens report`: the page of a finished run."""

from pathlib import Path

import click

from orbitlens.cli import options as cli
from orbitlens.pipeline import Console


@click.command("report", cls=cli.Verb)
@click.argument("folder", type=cli.Folder())
def report_command(folder: Path, console: Console) -> cli.Result:
    """Draw the page of the run in FOLDER again."""
    from orbitlens.pipeline import verbs

    record = verbs.report(folder, console=console)
    return record, [f"page: {record['page']}"]
