"""The command `orbitlens plan`: disk, memory and time of a run, before it is begun."""

from pathlib import Path
from typing import Any

import click

from orbitlens.cli import options as cli
from orbitlens.cli.options import settings
from orbitlens.pipeline import Console


@click.command("plan", cls=cli.Verb)
@click.argument("source", required=False)
@click.option("--dim", type=int, help="Width of the activations, if there is no SOURCE.")
@click.option(
    "--positions",
    default="auto",
    show_default=True,
    help="With SOURCE: auto, cls, mean or all, as for harvest. With --dim: number of activations "
    "per moved input.",
)
@cli.workers_option
@settings(*cli.GROUP, "model", "layer", "n_samples", "image_size")
@settings("d_sae", "n_atoms", "k", "epochs", *cli.RUN)
@settings("random_weights", "unreadable", "dtype", expert=True)
@settings("sparsity", "hidden", "orbit_weight", "batch_size", expert=True)
@settings("memory_gib", "precision", expert=True)
@click.option(
    "--out",
    type=cli.Folder(),
    default=Path("runs"),
    show_default=True,
    help="Folder of the future store. A test file is written there to time the disk, and removed.",
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
