"""The command `orbitlens plan`: disk, memory and time of a run, before it is begun."""

from pathlib import Path
from typing import Any

import click

from orbitlens.cli.options import Folder, print_record, settings


@click.command("plan")
@click.argument("source", required=False)
@click.option("--dim", type=int, help="Width of the activations, where there is no SOURCE.")
@click.option(
    "--positions",
    default="auto",
    show_default=True,
    help="With SOURCE auto, cls, mean or all, as for harvest; with --dim the number of activations "
    "per moved input.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that run the model.",
)
@settings(
    *(
        "n_samples",
        "group",
        "dtype",
        "model",
        "layer",
        "random_weights",
        "image_size",
        "interpolation",
        "unreadable",
    ),
    *("d_sae", "n_atoms", "k", "sparsity", "hidden", "orbit_weight", "epochs", "batch_size"),
    *("memory_gib", "precision", "seed", "device"),
)
@click.option(
    "--out",
    type=Folder(),
    default=Path("runs"),
    show_default=True,
    help="Where the store will be; what is written there to time the disk is removed again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result record alone.")
@click.pass_context
def plan_command(
    ctx: click.Context,
    /,
    source: str | None,
    dim: int | None,
    positions: str,
    workers: int,
    out: Path,
    as_json: bool,
    **values: Any,
) -> None:
    """Say what a run would need: disk, memory and time.

    Of activations whose width is given by --dim; or of a model, whose forward passes are then timed
    on a few inputs of SOURCE ("shapes", "digits", ... or a folder of images). --n-samples counts
    the inputs, whatever SOURCE holds.
    """
    from orbitlens.cli._plan import plan_run

    print_record(as_json, *plan_run(ctx, source, dim, positions, workers, out, values))
