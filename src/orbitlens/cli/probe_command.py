"""The command `orbitlens probe`: probes of a trained SAE."""

from pathlib import Path
from typing import Any

import click

from orbitlens.cli import options as cli
from orbitlens.cli.options import number, option, settings
from orbitlens.pipeline import Console, RunConfig


@click.command("probe", cls=cli.Verb, renamed={"--workers": "--probe-threads"})
@click.argument("activations")
@click.option("--sae", required=True, type=cli.Folder(), help="Local folder of a trained SAE.")
@option("--rho", "Transport of an equivariant SAE; an orbit SAE needs none.", kind=cli.Folder())
@settings("probe_latents", "seed")
@settings("probe_samples", "probe_every", "probe_threads", expert=True)
@cli.common("runs/probe")
def probe_command(
    activations: str,
    sae: Path,
    rho: Path | None,
    out: Path | None,
    resume: bool,
    console: Console,
    **values: Any,
) -> cli.Result:
    """Probe a trained SAE for labels, or for the tasks of shapes.

    ACTIVATIONS is a harvest folder or a store with labels, at a path or a URL that fsspec can
    reach, such as s3://bucket/acts.zarr. All other folders are local.
    """
    out = out or Path("runs/probe")
    config = RunConfig(**values)
    cli.check_activations(activations)
    from orbitlens.pipeline import verbs

    record = verbs.probe(config, activations, sae, rho, out, resume=resume, console=console)
    return record, [_row(row) for row in record["rows"]]


def _row(row: dict[str, Any]) -> str:
    values = (number(value) if isinstance(value, float) else value for value in row.values())
    return ", ".join(f"{name} {value}" for name, value in zip(row, values, strict=True))
