"""The command `orbitlens import`: a store from the activations of other libraries."""

from pathlib import Path
from typing import Any

import click

from orbitlens.cli import options as cli
from orbitlens.cli.options import option
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.pipeline import Console
from orbitlens.pipeline._names import KNOWN_NAMES

_KINDS = ("auto", "saelens", "saev", "npy", "safetensors")


@click.command("import", cls=cli.Verb)
@click.argument("cache", type=cli.Folder())
@option(
    "--group",
    "Group that moved the inputs, e.g. C4: consecutive rows are an orbit. Without it, each row is "
    "an input by itself.",
)
@option("--kind", "Format of the cache: auto, saelens, saev, npy or safetensors.", "auto")
@option("--layer", "Layer to take, if the cache holds several.")
@option("--model", "Name of the network, stored with the activations.")
@cli.settings("dtype")
@click.option("--out", required=True, help="Store to write, a folder or a URL.")
def import_command(
    cache: Path, group: str | None, out: str, console: Console, **values: Any
) -> cli.Result:
    """Make a store of the activations in CACHE.

    CACHE is a folder that SAELens or saev wrote, a .npy or .safetensors file, or a folder of these.
    Nothing is unpickled.
    """
    if out.startswith("memory://"):
        raise OrbitLensError(
            "`--out`",
            expected="a place that outlives the command",
            received=out,
            remedy="give a folder, or the URL of a bucket",
        )
    for name, known in (("kind", _KINDS), ("dtype", KNOWN_NAMES["dtype"])):
        if values[name] not in known:
            raise unknown_name(f"`{name}`", values[name], known)
    from orbitlens.groups import from_name

    moved_by = None if group is None else from_name(group)
    if not cache.exists():
        raise OrbitLensError(
            str(cache),
            expected="cached activations",
            received="no such path",
            remedy="give the folder or file that holds them",
        )
    from orbitlens import activations
    from orbitlens.report import split_doubts

    with console.stage("import activations") as tick:
        store = activations.import_activations(
            cache, out=out, group=moved_by, progress=tick, **values
        )
    size = f"{store.n} samples under {store.group.name}, {store.positions} positions"
    record = console.with_warnings(store.to_dict(), split_doubts(len(store.split()[1])))
    return record, [f"{size}, width {store.dim}", f"store: {out}"]
