"""The command `orbitlens plan`: disk, memory and time of a run, before it is begun."""

from pathlib import Path
from typing import Any

import click

from orbitlens.cli import options as cli
from orbitlens.cli.options import option, settings
from orbitlens.pipeline import Console


@click.command("plan", cls=cli.Verb)
@click.argument("source", required=False)
@option("--dim", "Width of the activations, if there is no SOURCE.", kind=int)
@option(
    "--positions",
    "With SOURCE: auto, cls, mean or all, as for harvest. With --dim: number of activations per "
    "moved input.",
    "auto",
)
@cli.workers
@settings(*cli.GROUP, "model", "layer", "n_samples", "image_size")
@settings("d_sae", "n_atoms", "k", "epochs", *cli.RUN)
@settings("random_weights", "unreadable", "dtype", expert=True)
@settings("sparsity", "hidden", "orbit_weight", "batch_size", expert=True)
@settings("memory_gib", "precision", expert=True)
@option(
    "--out",
    "Folder of the future store. A test file is written there to time the disk, and removed.",
    Path("runs"),
    cli.Folder(),
)
def plan_command(
    source: str | None,
    dim: int | None,
    positions: str,
    workers: int,
    out: Path,
    console: Console,
    **values: Any,
) -> cli.Result:
    """Estimate the disk, memory and time that a run needs.

    Give the width of the activations as --dim. Or give SOURCE (shapes, digits, ... or a folder of
    images) and --model: then forward passes are timed on a few inputs. --n-samples is the number of
    inputs of the planned run, whatever SOURCE holds.
    """
    from orbitlens.cli._plan import plan_run

    del console
    return plan_run(source, dim, positions, workers, out, values)
