"""The command `orbitlens plan`: disk, memory and time of a run, before it is begun."""

from pathlib import Path
from typing import Any

import click

from orbitlens.cli import options as cli
from orbitlens.cli.options import option, settings
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.pipeline import Console

_OF_SOURCES = (
    *("model", "layer", "random_weights", "seed_forward", "interpolation", "action"),
    *("image_size", "normalise", *cli.IMAGES_FOR_EXPERTS, *cli.POINTS),
)


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
@settings(*cli.GROUP, "model", "layer", *cli.IMAGES)
@settings("d_sae", "n_atoms", "k", "epochs", *cli.RUN)
@settings(
    *cli.POINTS, "random_weights", "seed_forward", *cli.IMAGES_FOR_EXPERTS, "dtype", expert=True
)
@settings("sparsity", "hidden", "orbit_weight", "batch_size", expert=True)
@settings("bias_groups", "htf", "ltf", expert=True)
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

    Give the width of the activations as --dim. Or give SOURCE (shapes, digits, ..., a folder of
    images, or a .npz or .npy file) and --model: then forward passes are timed on a few inputs.
    --n-samples is the number of inputs of the planned run, whatever SOURCE holds.
    """
    del console
    given: dict[str, Any] = {}
    if source is None:
        given = {"dim": dim, "positions": _places(dim, positions)}
        config = cli.config_of({**values, "source": ""}, {"source": ""})
    elif dim is None:
        config = cli.config_of({**values, "source": source, "positions": positions}, {})
    else:
        raise OrbitLensError(
            "`dim`", expected="none with a SOURCE", received=dim, remedy="leave out one of the two"
        )
    from orbitlens.plan._lines import plan_lines
    from orbitlens.plan._plan import plan

    record = plan(config, out, workers=workers, **given)
    return record, plan_lines(record)


def _places(dim: int | None, positions: str) -> int:
    """Return the number of positions of activations of a given width, once all is checked."""
    for name in _OF_SOURCES:
        if cli.given(name):
            option = f"`--{name.replace('_', '-')}`"
            remedy = "name one, such as shapes or a folder of images"
            raise OrbitLensError(option, expected="a SOURCE", received="none", remedy=remedy)
    if dim is None:
        expected, remedy = "the width of the activations", "give it, or SOURCE and --model"
        raise OrbitLensError("`dim`", expected=expected, received="none", remedy=remedy)
    if not 1 <= dim <= 2**20:
        raise out_of_range("dim", f"1 to {2**20}", dim)
    places = "1" if positions == "auto" else positions
    if not places.isdecimal() or not 1 <= int(places) <= 10**6:
        raise out_of_range("positions", "a number from 1 to 1000000 with --dim", repr(positions))
    return int(places)
