"""The command line: a thin layer over `orbitlens.pipeline`.

Bad input ends in one line on standard error and exit code 2. Standard output holds the result: with
--json the record and nothing else.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, Never, get_args

try:
    import click
except ImportError:
    sys.exit("orbitlens: click is missing; pip install 'orbitlens[all]'")

from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.files import to_json
from orbitlens.models.layers import ALL_LAYERS
from orbitlens.pipeline import QUICK, Console, RunConfig, network, run, verbs
from orbitlens.pipeline.config import PROBING, TRAINING
from orbitlens.pipeline.stages import OBJECTIVES
from orbitlens.reproduce import BUDGETS, locate

Command = Callable[..., None]

_DATA = ("n_samples", "image_size", "unreadable")
_WEIGHTS = ("random_weights", "model_samples", "model_epochs")
_MODEL = ("model", "layer", "positions", *_WEIGHTS)
_GROUP = ("group", "interpolation")
_RUN = ("seed", "device")


class _Names(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Names with commas between them, as in C2,C4."""

    name = "name,name,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the names, or fail with what was given."""
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in value.split(","))
        if not all(names):
            self.fail(f"{value!r} is not a list of names such as a,b,c", param, ctx)
        return names


class _Numbers(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Whole numbers with commas between them, as in 1,4,16."""

    name = "n,n,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the numbers, or fail with what was given."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 1,4,16", param, ctx)


def settings(*names: str) -> Callable[[Command], Command]:
    """Give a command one option per field of `RunConfig`, with its meaning and default."""
    known = {entry.name: entry for entry in fields(RunConfig)}

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            entry = known[name]
            kind = entry.type
            if isinstance(kind, UnionType):
                kind = get_args(kind)[0]
            flag = "--" + name.replace("_", "-")
            help_text = entry.metadata["help"]
            if kind is bool:
                option = click.option(flag, is_flag=True, default=entry.default, help=help_text)
            else:
                option = click.option(
                    flag,
                    type=kind if kind in (int, float, str) else _Numbers(),
                    default=entry.default,
                    show_default=entry.default not in (None, ()),
                    help=help_text,
                )
            command = option(command)
        return command

    return decorate


def common(out: str) -> Callable[[Command], Command]:
    """Give a command the options that all verbs share."""

    def decorate(command: Command) -> Command:
        for option in (
            click.option("--json", "as_json", is_flag=True, help="Print the result record alone."),
            click.option("--resume", is_flag=True, help="Continue what was interrupted."),
            click.option(
                "--out",
                type=click.Path(path_type=Path),
                help=f"Folder to write; default {out}.",
            ),
        ):
            command = option(command)
        return command

    return decorate


@click.group(help="Sparse autoencoders that know the symmetries of the data.")
@click.version_option(package_name="orbitlens")
def commands() -> None:
    """Hold the verbs."""


@click.command("run")
@click.argument("source")
@click.option("--quick", is_flag=True, help="A smaller run, for a first look.")
@settings(*_GROUP, *_MODEL, *_DATA, "transport", *TRAINING[:-2], *PROBING[:-1], "features", *_RUN)
@common("runs/SOURCE")
@click.pass_context
def run_command(
    ctx: click.Context,
    /,
    out: Path | None,
    resume: bool,
    as_json: bool,
    quick: bool,
    **values: Any,
) -> None:
    """Take images through the whole pipeline and end with a page.

    SOURCE is "shapes", "digits", "photographs", "cells" or a folder of images (PNG, JPEG, TIFF),
    with one subfolder per class if there are classes.
    """
    config = _config(ctx, values, QUICK if quick else {})
    out = out or Path("runs") / Path(config.source).resolve().name
    metrics = run(config, out, resume=resume, console=Console(quiet=as_json))
    _print(as_json, metrics, [*_summary(metrics), f"page: {out / 'report' / 'index.html'}"])


@click.command("harvest")
@click.argument("source")
@settings(*_GROUP, *_MODEL, *_DATA, *_RUN)
@common("runs/SOURCE-harvest")
@click.pass_context
def harvest_command(
    ctx: click.Context,
    /,
    out: Path | None,
    resume: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Store the activations of a model over the orbits of images."""
    config = _config(ctx, values, {})
    out = out or Path("runs") / f"{Path(config.source).resolve().name}-harvest"
    record = verbs.harvest(config, out, resume=resume, console=Console(quiet=as_json))
    _print(as_json, record, [f"store: {out / 'acts.zarr'}"])


@click.command("transport")
@click.argument("subject", metavar="ACTIVATIONS | MODEL INPUTS")
@click.argument("inputs", required=False, metavar="")
@click.option(
    "--layers",
    type=_Names(),
    default="all",
    show_default=True,
    help="With INPUTS: layers to report on, with commas between them, or all.",
)
@click.option(
    "--groups",
    type=_Names(),
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
@settings("transport", *_GROUP, *_DATA, *_WEIGHTS, *_RUN)
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

    With ACTIVATIONS, a harvest folder or a store, fit one transport and measure it. With MODEL
    (mlp, cnn, vit, hf:NAME, ...) and INPUTS (shapes, digits, ... or a folder of images), measure
    every layer from one forward pass per moved image, and end with a page; 1024 images at most
    unless --n-samples says otherwise.
    """
    if inputs is None:
        _transport_of_store(ctx, Path(subject), out, resume, as_json, values)
    else:
        _transport_of_network(ctx, subject, inputs, out, resume, as_json, values)


def _transport_of_store(
    ctx: click.Context,
    activations: Path,
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
    _print(
        as_json,
        record,
        [
            f"R^2 {_r2(record['r2'])} (95%: {_r2(low)} to {_r2(high)}), of the identity "
            f"{_r2(record['identity_r2'])}, relation error {_number(record['relation_error'])}, "
            f"condition number {_number(record['condition_number'])}",
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
        run=_config(ctx, {**values, "source": inputs, "model": model}, {"n_samples": 1024}),
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
        _print(as_json, record, [*lines, f"ranking: {out / 'groups.csv'}"])
        return
    record = network.report(config, out, resume=resume, console=console)
    lines = [_layer(row) for row in record["layers"]]
    skipped = len(record["skipped"])
    lines += [f"{skipped} skipped, the page says why"] if skipped else []
    page = out / "report" / "index.html"
    _print(as_json, record, [*lines, f"table: {out / 'layers.csv'}", f"page: {page}"])


@click.command("train")
@click.argument("activations", type=click.Path(path_type=Path))
@click.option(
    "--objective",
    default="equivariant_canonical",
    show_default=True,
    help="One of " + ", ".join(OBJECTIVES) + ".",
)
@settings(*TRAINING)
@common("runs/OBJECTIVE")
def train_command(
    activations: Path,
    objective: str,
    out: Path | None,
    resume: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Train one SAE on ACTIVATIONS (a harvest folder or a store)."""
    if objective not in OBJECTIVES:
        raise unknown_name("`objective`", objective, OBJECTIVES)
    out = out or Path("runs") / objective
    config = RunConfig(**values)
    record = verbs.train(
        config, activations, objective, out, resume=resume, console=Console(quiet=as_json)
    )
    _print(as_json, record, [f"SAE: {out / objective / 'sae'}"])


@click.command("probe")
@click.argument("activations", type=click.Path(path_type=Path))
@click.option("--sae", required=True, type=click.Path(path_type=Path), help="A trained SAE.")
@click.option(
    "--rho", type=click.Path(path_type=Path), help="Its transport, for an equivariant SAE."
)
@settings(*PROBING)
@common("runs/probe")
def probe_command(
    activations: Path,
    sae: Path,
    rho: Path | None,
    out: Path | None,
    resume: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Probe a trained SAE on ACTIVATIONS whose labels, or shapes, are known."""
    out = out or Path("runs/probe")
    config = RunConfig(**values)
    record = verbs.probe(
        config, activations, sae, rho, out, resume=resume, console=Console(quiet=as_json)
    )
    _print(as_json, record, [_row(row) for row in record["rows"]])


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result record alone.")
def report_command(folder: Path, as_json: bool) -> None:
    """Draw the page of the run in FOLDER again."""
    record = verbs.report(folder, console=Console(quiet=as_json))
    _print(as_json, record, [f"page: {record['page']}"])


@click.command("reproduce")
@click.argument("name")
@click.option("--budget", default="small", show_default=True, help=f"One of {', '.join(BUDGETS)}.")
@click.option("--out", type=click.Path(path_type=Path), help="Default runs/NAME-BUDGET.")
@click.option("--workers", default=2, show_default=True, help="Jobs at work at once.")
@click.option("--json", "as_json", is_flag=True, help="Print the result record alone.")
def reproduce_command(
    name: str, budget: str, out: Path | None, workers: int, as_json: bool
) -> None:
    """Run the recipe NAME: an experiment of the paper, beside its published figures.

    The same command goes on where an interrupted one stopped.
    """
    script = locate(name) / "run.py"
    # A recipe is a program of its own, so that its worker processes can import it.
    words = ["--budget", budget, "--workers", str(workers)]
    words += [] if out is None else ["--out", str(out)]
    words += ["--json"] if as_json else []
    with subprocess.Popen([sys.executable, str(script), *words]) as recipe:
        while True:
            try:
                sys.exit(recipe.wait())
            except KeyboardInterrupt:
                # The recipe got the signal too; it stops its workers and says how to go on.
                continue


COMMANDS = {
    "run": run_command,
    "harvest": harvest_command,
    "transport": transport_command,
    "train": train_command,
    "probe": probe_command,
    "report": report_command,
    "reproduce": reproduce_command,
}
for _name, _command in COMMANDS.items():
    commands.add_command(_command, _name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command; those of the process by default.

    Raises:
        SystemExit: With 0 for success, 2 for bad input, 130 for an interruption.
    """
    try:
        code = commands.main(
            args=None if arguments is None else list(arguments),
            prog_name="orbitlens",
            standalone_mode=False,
        )
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        sys.exit(0)
    except click.ClickException as error:
        _fail(error.format_message())
    except OrbitLensError as error:
        _fail(str(error))
    except OSError as error:
        _fail(
            f"{error.filename or 'the system'}: expected a place to read and write, received "
            f"{error.strerror or error}; choose another, or make room there"
        )
    except MemoryError as error:
        _fail(
            f"memory: expected enough of it, received {error or 'too little'}; lower n_samples, "
            "image_size or d_sae"
        )
    except (KeyboardInterrupt, click.Abort):
        print("orbitlens: interrupted; continue with --resume", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _config(ctx: click.Context, values: Mapping[str, Any], presets: Mapping[str, Any]) -> RunConfig:
    """What the user gave goes over the presets, and these over the defaults of the source."""
    default = click.core.ParameterSource.DEFAULT
    given = {k: v for k, v in values.items() if ctx.get_parameter_source(k) != default}
    return RunConfig.for_source(**{**{k: presets[k] for k in presets if k in values}, **given})


def _refuse(ctx: click.Context, names: set[str], where: str, remedy: str) -> None:
    """Refuse options that would have no effect."""
    default = click.core.ParameterSource.DEFAULT
    given = sorted(name for name in names if ctx.get_parameter_source(name) != default)
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise OrbitLensError(
            "`orbitlens transport`", expected=f"no {flags} {where}", received=flags, remedy=remedy
        )


def _fail(message: str) -> Never:
    print("orbitlens:", " ".join(message.split()), file=sys.stderr)  # noqa: T201
    sys.exit(2)


def _print(as_json: bool, record: dict[str, Any], lines: Sequence[str]) -> None:
    click.echo(to_json(record) if as_json else "\n".join(lines))


def _summary(metrics: dict[str, Any]) -> list[str]:
    rho = metrics["transport"]
    lines = [
        f"transport R^2 {_r2(rho['r2'])} (identity {_r2(rho['identity_r2'])}, "
        f"relation error {_number(rho['relation_error'])})"
    ]
    for name, sae in metrics["saes"].items():
        error = sae["transported_normalised_mse"]
        error = sae["normalised_mse"] if error is None else error
        lines.append(f"{name:<22} normalised MSE {_number(error)}, l0 {_number(sae['l0'])}")
    return lines


def _row(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {_number(value) if isinstance(value, float) else value}"
        for name, value in row.items()
    )


def _layer(row: dict[str, Any]) -> str:
    return f"{row['layer']:<32} {_verdict(row)}, unchanged {row['spectrum'][0]:.0%}"


def _verdict(row: dict[str, Any]) -> str:
    return (
        f"{row['verdict']:<18} R^2 {_r2(row['r2'])} (unconstrained {_r2(row['free_r2'])}, "
        f"identity {_r2(row['identity_r2'])}, shuffled {_r2(row['control_r2'])})"
    )


def _still(record: dict[str, Any]) -> list[str]:
    """Say so where the covariance is singular."""
    still = record["dim"] - record["variable"]
    if not still:
        return []
    return [f"{still} of {record['dim']} directions carry no variance and stay where they are"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _r2(value: float | None) -> str:
    """Four places: the difference between 0.998 and 0.9998 matters."""
    return "-" if value is None else f"{value:.4f}"
