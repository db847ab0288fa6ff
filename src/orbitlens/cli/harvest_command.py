"""The command `orbitlens harvest`: activations over the orbits of images."""

from pathlib import Path
from typing import Any

import click

from orbitlens.cli import options as cli
from orbitlens.cli.options import settings
from orbitlens.pipeline import Console
from orbitlens.pipeline.folder import check_place


@click.command("harvest", cls=cli.Verb)
@click.argument("source")
@cli.workers
@settings(*cli.GROUP, "model", "layer", "positions", *cli.IMAGES, "dtype", *cli.RUN)
@settings(*cli.POINTS, "layout", "random_weights", "seed_forward", expert=True)
@settings(*cli.IMAGES_FOR_EXPERTS, *cli.AUTOENCODER, expert=True)
@cli.common("runs/SOURCE-harvest")
def harvest_command(
    workers: int, out: Path | None, resume: bool, console: Console, **values: Any
) -> cli.Result:
    """Store the activations of a network over the orbits of images or other data.

    SOURCE is shapes, digits, photographs, cells, a folder of images, a .npz or .npy file, or
    recipe:NAME, as for `orbitlens run`.
    """
    config = cli.config_of(values, {})
    out = out or Path("runs") / f"{cli.name_of(config.source)}-harvest"
    check_place(out, config, resume=resume)
    from orbitlens.pipeline import verbs

    record = verbs.harvest(config, out, resume=resume, console=console, workers=workers)
    return record, [f"the network gets {record['given']}", f"store: {out / 'acts.zarr'}"]
