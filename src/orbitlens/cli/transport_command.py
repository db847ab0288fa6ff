"""The command `orbitlens transport`: of one store, or a report on every layer of a network."""

from pathlib import Path
from typing import Any

import click

from orbitlens.cli.options import (
    DATA,
    GROUP,
    RUN,
    WEIGHTS,
    Names,
    common,
    config_of,
    number,
    print_record,
    r2,
    settings,
)
from orbitlens.errors import OrbitLensError
from orbitlens.models.layers import ALL_LAYERS
from orbitlens.pipeline import Console, RunConfig
from orbitlens.pipeline import network
from orbitlens.pipeline import verbs


@click.command("transport")
@click.argument("subject", metavar="ACTIVATIONS | MODEL INPUTS")
@click.argument("inputs", required=False, metavar="")
@click.option(
    "--layers",
    type=Names(),
    default="all",
    show_default=True,
    help="With INPUTS: layers to report on, with commas between them, or all.",
)
@click.option(
    "--groups",
    type=Names(),
    help="With INPUTS: groups to rank, as C2,C4,D4, instead of a report on --group, under which "
    "alone a network is then trained that is trained here.",
)
@click.option("--max-positions", default=16, show_default=True, help="Places kept of each map.")
@click.option("--max-dim", default=256, show_default=True, help="Directions kept of each layer.")
@click.option(
    "--lie-inputs",
    default=64,
    show_default=True,
    help="Images for the Lie-derivative errors; 0 leaves them out.",
)
@settings("transport", *GROUP, *DATA, *WEIGHTS, *RUN)
@common("runs/transport, or runs/MODEL-INPUTS")
@click.pass_context
def transport_command(
    ctx: click.Context,
    /,
    subject: str,
    inputs: str | None,
    out: Path | None,
    resume: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Fit how activations move, or report on every layer of a network.

    With ACTIVATIONS, a harvest folder or a store, at a path or a URL that fsspec can reach, fit one
    transport and measure it; what is written is local. With MODEL (mlp, cnn, vit, hf:NAME, ...) and
    INPUTS (shapes, digits, ... or a folder of images), measure every layer from one forward pass
    per moved image, and end with a page; 1024 images at most unless --n-samples says otherwise.
    """
    if inputs is None:
        _transport_of_store(ctx, subject, out, resume, as_json, values)
    else:
        _transport_of_network(ctx, subject, inputs, out, resume, as_json, values)


def _transport_of_store(
    ctx: click.Context,
    activations: str,
    out: Path | None,
    resume: bool,
    as_json: bool,
    values: dict[str, Any],
) -> None:
    _refuse(ctx, set(values) - {"transport", "seed"}, "with ACTIVATIONS alone", "give INPUTS too")
    out = out or Path("runs/transport")
    config = RunConfig(transport=values["transport"], seed=values["seed"])
    record = verbs.transport(
        config, activations, out, resume=resume, console=Console(quiet=as_json)
    )
    low, high = record["r2_interval"]
    print_record(
        as_json,
        record,
        [
            f"R^2 {r2(record['r2'])} (95%: {r2(low)} to {r2(high)}), of the identity "
            f"{r2(record['identity_r2'])}, relation error {number(record['relation_error'])}, "
            f"condition number {number(record['condition_number'])}",
            *_still(record),
            f"transport: {out / 'transport'}",
        ],
    )


def _transport_of_network(
    ctx: click.Context,
    model: str,
    inputs: str,
    out: Path | None,
    resume: bool,
    as_json: bool,
    values: dict[str, Any],
) -> None:
    _refuse(ctx, {"transport"}, "with MODEL INPUTS", "every layer gets the exact one")
    own = {name: values.pop(name) for name in ("layers", "groups")}
    limits = {name: values.pop(name) for name in ("max_positions", "max_dim", "lie_inputs")}
    config = network.NetworkConfig(
        run=config_of(ctx, {**values, "source": inputs, "model": model}, {"n_samples": 1024}),
        layers=() if own["layers"] in ((ALL_LAYERS,), ()) else own["layers"],
        candidates=own["groups"] or (),
        **limits,
    )
    names = (model, inputs)
    out = out or Path("runs") / "-".join(Path(name).resolve().name for name in names)
    console = Console(quiet=as_json)
    if config.candidates:
        record = network.choose(config, out, resume=resume, console=console)
        lines = []
        for layer, chosen in record["chosen"].items():
            lines.append(f"{layer}: {chosen or 'none'}")
            ranking = [row for row in record["ranking"] if row["layer"] == layer]
            lines += [f"  {row['group']:<6} {_verdict(row)}" for row in ranking]
        print_record(as_json, record, [*lines, f"ranking: {out / 'groups.csv'}"])
        return
    record = network.report(config, out, resume=resume, console=console)
    lines = [_layer(row) for row in record["layers"]]
    skipped = len(record["skipped"])
    lines += [f"{skipped} skipped, the page says why"] if skipped else []
    page = out / "report" / "index.html"
    print_record(as_json, record, [*lines, f"table: {out / 'layers.csv'}", f"page: {page}"])


def _refuse(ctx: click.Context, names: set[str], where: str, remedy: str) -> None:
    """Refuse options that would have no effect."""
    default = click.core.ParameterSource.DEFAULT
    given = sorted(name for name in names if ctx.get_parameter_source(name) != default)
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise OrbitLensError(
            "`orbitlens transport`", expected=f"no {flags} {where}", received=flags, remedy=remedy
        )


def _layer(row: dict[str, Any]) -> str:
    return f"{row['layer']:<32} {_verdict(row)}, unchanged {row['spectrum'][0]:.0%}"


def _verdict(row: dict[str, Any]) -> str:
    return (
        f"{row['verdict']:<18} R^2 {r2(row['r2'])} (unconstrained {r2(row['free_r2'])}, "
        f"identity {r2(row['identity_r2'])}, shuffled {r2(row['control_r2'])})"
    )


def _still(record: dict[str, Any]) -> list[str]:
    """Say so where the covariance is singular."""
    still = record["dim"] - record["variable"]
    if not still:
        return []
    return [f"{still} of {record['dim']} directions carry no variance and stay where they are"]
