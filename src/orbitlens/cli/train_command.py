"""The command `orbitlens train`: one SAE on stored activations."""

from pathlib import Path
from typing import Any

import click

from orbitlens.cli import options as cli
from orbitlens.cli.options import option, settings
from orbitlens.errors import unknown_name
from orbitlens.pipeline import Console, RunConfig
from orbitlens.pipeline._names import SAES


@click.command("train", cls=cli.Verb)
@click.argument("activations")
@option(
    "--objective",
    "One of vanilla, equivariant_canonical, equivariant_latent, equivariant_output, orbit.",
    "equivariant_canonical",
)
@option("--rho", "Exact transport for the orbit SAE; by default it is fitted.", kind=cli.Folder())
@settings("d_sae", "n_atoms", "k", "sparsity", "hidden", "weight", "orbit_weight")
@settings("bias_groups", "htf", "ltf")
@settings("epochs", "batch_size", "lr", *cli.RUN)
@settings("memory_gib", "precision", expert=True)
@cli.common("runs/OBJECTIVE")
def train_command(
    activations: str,
    objective: str,
    rho: Path | None,
    out: Path | None,
    resume: bool,
    console: Console,
    **values: Any,
) -> cli.Result:
    """Train one SAE on stored activations.

    ACTIVATIONS is a harvest folder or a store, at a path or a URL that fsspec can reach, such as
    s3://bucket/acts.zarr. The SAE and all other results are written to a local folder.
    """
    if objective not in SAES:
        raise unknown_name("`objective`", objective, SAES)
    out = out or Path("runs") / objective
    config = RunConfig(**values)
    cli.check_activations(activations)
    from orbitlens.pipeline import verbs

    record = verbs.train(config, activations, objective, rho, out, resume=resume, console=console)
    return record, [*cli.diverged({objective: record}), f"SAE: {out / objective / 'sae'}"]
