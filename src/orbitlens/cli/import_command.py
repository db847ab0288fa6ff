"""The command `orbitlens import`: activations of other libraries become a store."""

from pathlib import Path

import click

from orbitlens.activations.importers.import_activations import KINDS, import_activations
from orbitlens.cli.options import Folder, print_record
from orbitlens.errors import OrbitLensError
from orbitlens.groups import from_name
from orbitlens.pipeline import Console


@click.command("import")
@click.argument("cache", type=Folder())
@click.option(
    "--group",
    help="The group that moved the inputs, as C4: consecutive rows are an orbit. Without it, "
    "every row is an input by itself.",
)
@click.option("--kind", default="auto", show_default=True, help=f"Whose cache: {', '.join(KINDS)}.")
@click.option("--layer", help="Which of several layers the cache holds.")
@click.option("--model", help="Name of the network, to be recorded.")
@click.option(
    "--dtype",
    default="float32",
    show_default=True,
    help="How activations are stored: float32, float16 or bfloat16.",
)
@click.option("--out", required=True, help="The store to write, a folder or a URL.")
@click.option("--json", "as_json", is_flag=True, help="Print the result record alone.")
def import_command(
    cache: Path,
    group: str | None,
    kind: str,
    layer: str | None,
    model: str | None,
    dtype: str,
    out: str,
    as_json: bool,
) -> None:
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
    with Console(quiet=as_json).stage("import activations") as tick:
        store = import_activations(
            cache,
            out=out,
            group=None if group is None else from_name(group),
            kind=kind,
            layer=layer,
            model=model,
            dtype=dtype,
            progress=tick,
        )
    size = f"{store.n} samples under {store.group.name}, {store.positions} positions"
    print_record(as_json, store.to_dict(), [f"{size}, width {store.dim}", f"store: {out}"])
