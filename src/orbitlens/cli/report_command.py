"""The command `orbitlens report`: the page of a finished run."""

from pathlib import Path

import click

from orbitlens.cli import options as cli
from orbitlens.cli.options import NAMES, option
from orbitlens.pipeline import Console
from orbitlens.pipeline._kept_settings import check_finished


@click.command("report", cls=cli.Verb)
@click.argument("folder", type=cli.Folder())
@option("--features", "Features shown per SAE. Default: as in the run.", kind=cli.AtLeast(0))
@option("--sae", "SAEs whose features are shown. Default: all of the run.", kind=NAMES)
def report_command(
    folder: Path, features: int | None, sae: tuple[str, ...] | None, console: Console
) -> cli.Result:
    """Draw the page of the run in FOLDER again."""
    check_finished(folder, sae or ())
    from orbitlens.pipeline import verbs

    record = verbs.report(folder, features=features, saes=sae, console=console)
    return record, [f"page: {record['page']}"]
