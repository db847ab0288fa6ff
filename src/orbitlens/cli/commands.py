"""The command line: a thin layer over `orbitlens.pipeline`.

Bad input ends in one line on standard error and exit code 2. Standard output holds the result: with
--json the record and nothing else.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Never

try:
    import click
except ImportError:
    sys.exit("orbitlens: click is missing; pip install 'orbitlens[all]'")

from orbitlens.cli.import_command import import_command
from orbitlens.cli.options import (
    DATA,
    GROUP,
    MODEL,
    RUN,
    Folder,
    common,
    config_of,
    number,
    print_record,
    r2,
    settings,
)
from orbitlens.cli.plan_command import plan_command
from orbitlens.cli.transport_command import transport_command
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.files import place_error
from orbitlens.pipeline import QUICK, Console, RunConfig, run
from orbitlens.pipeline import verbs
from orbitlens.pipeline.stopping import TERMINATED, Terminated, listening_to_sigterm
from orbitlens.pipeline.config import PROBING, TRAINING
from orbitlens.pipeline.stages import NAMES
from orbitlens.reproduce import BUDGETS, locate


@click.group(help="Sparse autoencoders that know the symmetries of the data.")
@click.version_option(package_name="orbitlens")
def commands() -> None:
    """Hold the verbs."""


@click.command("run")
@click.argument("source")
@click.option("--quick", is_flag=True, help="A smaller run, for a first look.")
@settings(
    *GROUP, *MODEL, *DATA, "dtype", "transport", *TRAINING[:-2], *PROBING[:-1], "features", *RUN
)
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
    config = config_of(ctx, values, QUICK if quick else {})
    out = out or Path("runs") / Path(config.source).resolve().name
    metrics = run(config, out, resume=resume, console=Console(quiet=as_json))
    print_record(as_json, metrics, [*_summary(metrics), f"page: {out / 'report' / 'index.html'}"])


@click.command("harvest")
@click.argument("source")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that run the model.",
)
@settings(*GROUP, *MODEL, *DATA, "dtype", *RUN)
@common("runs/SOURCE-harvest")
@click.pass_context
def harvest_command(
    ctx: click.Context,
    /,
    out: Path | None,
    resume: bool,
    as_json: bool,
    workers: int,
    **values: Any,
) -> None:
    """Store the activations of a model over the orbits of images."""
    config = config_of(ctx, values, {})
    out = out or Path("runs") / f"{Path(config.source).resolve().name}-harvest"
    record = verbs.harvest(
        config, out, resume=resume, console=Console(quiet=as_json), workers=workers
    )
    print_record(as_json, record, [f"store: {out / 'acts.zarr'}"])


@click.command("train")
@click.argument("activations")
@click.option(
    "--objective",
    default="equivariant_canonical",
    show_default=True,
    help="One of " + ", ".join(NAMES) + ".",
)
@click.option(
    "--rho",
    type=Folder(),
    help="An exact transport, for the orbit SAE; fitted where it is not given.",
)
@settings(*TRAINING)
@common("runs/OBJECTIVE")
def train_command(
    activations: str,
    objective: str,
    rho: Path | None,
    out: Path | None,
    resume: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Train one SAE on ACTIVATIONS.

    These are a harvest folder or a store, at a path or a URL that fsspec can reach, such as
    s3://bucket/acts.zarr. The SAE and all else that is written is local.
    """
    if objective not in NAMES:
        raise unknown_name("`objective`", objective, NAMES)
    out = out or Path("runs") / objective
    config = RunConfig(**values)
    record = verbs.train(
        config, activations, objective, rho, out, resume=resume, console=Console(quiet=as_json)
    )
    lines = [*_diverged({objective: record}), f"SAE: {out / objective / 'sae'}"]
    print_record(as_json, record, lines)


@click.command("probe")
@click.argument("activations")
@click.option("--sae", required=True, type=Folder(), help="A trained SAE, in a local folder.")
@click.option(
    "--rho",
    type=Folder(),
    help="Its transport, for an equivariant SAE; an orbit SAE needs none.",
)
@settings(*PROBING)
@common("runs/probe")
def probe_command(
    activations: str,
    sae: Path,
    rho: Path | None,
    out: Path | None,
    resume: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Probe a trained SAE on ACTIVATIONS whose labels, or shapes, are known.

    These are a harvest folder or a store, at a path or a URL that fsspec can reach, such as
    s3://bucket/acts.zarr. All else that is read or written is local.
    """
    out = out or Path("runs/probe")
    config = RunConfig(**values)
    record = verbs.probe(
        config, activations, sae, rho, out, resume=resume, console=Console(quiet=as_json)
    )
    print_record(as_json, record, [_row(row) for row in record["rows"]])


@click.command("report")
@click.argument("folder", type=Folder())
@click.option("--json", "as_json", is_flag=True, help="Print the result record alone.")
def report_command(folder: Path, as_json: bool) -> None:
    """Draw the page of the run in FOLDER again."""
    record = verbs.report(folder, console=Console(quiet=as_json))
    print_record(as_json, record, [f"page: {record['page']}"])


@click.command("reproduce")
@click.argument("name")
@click.option("--budget", default="small", show_default=True, help=f"One of {', '.join(BUDGETS)}.")
@click.option("--out", type=Folder(), help="Default runs/NAME-BUDGET.")
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
            except Terminated:
                recipe.terminate()  # it may be that we alone were told


COMMANDS = {
    "run": run_command,
    "plan": plan_command,
    "harvest": harvest_command,
    "import": import_command,
    "transport": transport_command,
    "train": train_command,
    "probe": probe_command,
    "report": report_command,
    "reproduce": reproduce_command,
}
for _name, _command in COMMANDS.items():
    commands.add_command(_command, _name)


@listening_to_sigterm()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command; those of the process by default.

    Raises:
        SystemExit: With 0 for success, 2 for bad input, 130 after Ctrl-C, 143 after SIGTERM.
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
        _fail(str(place_error(error.filename or "the system", error, "a place to read and write")))
    except MemoryError as error:
        _fail(
            f"memory: expected enough of it, received {error or 'too little'}; lower n_samples, "
            "image_size or d_sae"
        )
    except (KeyboardInterrupt, click.Abort) as error:
        _stop("interrupted", error.__cause__ or error, 130)
    except Terminated as error:
        _stop("terminated", error, TERMINATED)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> Never:
    print("orbitlens:", " ".join(message.split()), file=sys.stderr)  # noqa: T201
    sys.exit(2)


def _stop(word: str, error: BaseException, code: int) -> Never:
    # What has been begun says how to go on with it, see `RunFolder`.
    how = str(error) or "nothing was kept, give the same command again"
    print(f"orbitlens: {word}; {how}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def _summary(metrics: dict[str, Any]) -> list[str]:
    rho = metrics["transport"]
    lines = [
        f"transport R^2 {r2(rho['r2'])} (identity {r2(rho['identity_r2'])}, "
        f"relation error {number(rho['relation_error'])})"
    ]
    for name, sae in metrics["saes"].items():
        error = sae["transported_normalised_mse"]
        error = sae["normalised_mse"] if error is None else error
        lines.append(f"{name:<22} normalised MSE {number(error)}, l0 {number(sae['l0'])}")
    return lines + _diverged(metrics["saes"])


def _diverged(saes: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"{name}: diverged, its loss was not finite at some step; give a lower --lr"
        for name, sae in saes.items()
        if sae["status"] == "diverged"
    ]


def _row(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {number(value) if isinstance(value, float) else value}"
        for name, value in row.items()
    )
