"""The command `orbitlens harvest`: activations over the orbits of images."""

from pathlib import Path
from typing import Any

import click

from orbitlens.cli import options as cli
from orbitlens.cli.options import settings
from orbitlens.pipeline import Console


@click.command("harvest", cls=cli.Verb)
@click.argument("source")
@cli.workers
@settings(*cli.GROUP, "model", "layer", "positions", "n_samples", "image_size", "dtype", *cli.RUN)
@settings(
    "layout", "random_weights", "seed_forward", *cli.AUTOENCODER, "unreadable", "white", expert=True
)
@cli.common("runs/SOURCE-harvest")
def harvest_command(
    workers: int, out: Path | None, resume: bool, console: Console, **values: Any
) -> cli.Result:
    """Store the activations of a network over the orbits of images.

    SOURCE is shapes, digits, photographs, cells or a folder of images.
    """
    from orbitlens.pipeline import verbs

    config = cli.config_of(values, {})
    out = out or Path("runs") / f"{Path(config.source).resolve().name}-harvest"
    record = verbs.harvest(config, out, resume=resume, console=console, workers=workers)
    return record, [f"store: {out / 'acts.zarr'}"]
