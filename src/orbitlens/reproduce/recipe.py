"""A recipe, and the program in its run.py."""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Never

from torch import nn

from orbitlens.errors import OrbitLensError, printable, unknown_name
from orbitlens.files import (
    alone_in,
    one_line_errors,
    place_error,
    read_json,
    to_json,
    write_json,
    write_table,
)
from orbitlens.models import BaseModel, Prepare
from orbitlens.pipeline.console import Console
from orbitlens.processes import Terminated, listening_to_signals, run_program
from orbitlens.reproduce._compare import Comparison, compare, comparison_lines, result_lines
from orbitlens.reproduce._jobs import Compute, Job, Record, run_jobs
from orbitlens.reproduce._locate import BUDGETS
from orbitlens.reproduce._tables import Row, read_table

_Network = BaseModel | nn.Module | tuple[nn.Module, Prepare]

_SETTINGS = "settings.json"
_NO_READER = 128 + signal.SIGPIPE


@dataclass(frozen=True)
class Recipe:
    """One experiment of the paper.

    Args:
        folder: The folder with its run.py, README.md and expected.csv.
        budgets: The settings of "smoke", "small", "medium" and "full".
        jobs: Lists the parts of the work, from the settings.
        compute: Does one part. It stands at the top level of a module, so that other processes can
            call it.
        tables: For each file, a function from the records of all jobs to its rows. "results.csv" is
            compared with expected.csv.
        where: Selects the rows of results.csv that the published table is compared with.
        plot: Draws the figures into a folder, from the rows of each table.
        network: Builds the untrained network of a job from its arguments: a network, or a network
            and the function that prepares inputs for it. A job that has trained it keeps it with
            `keep_network`. None (the default) if the recipe keeps no networks.
    """

    folder: Path
    budgets: Mapping[str, Mapping[str, Any]]
    jobs: Callable[[Mapping[str, Any]], list[Job]]
    compute: Compute
    tables: Mapping[str, Callable[[Sequence[Record]], list[Row]]]
    where: Mapping[str, Any] = field(default_factory=dict)
    plot: Callable[[Mapping[str, list[Row]], Path], None] | None = None
    network: Callable[[Mapping[str, Any]], _Network] | None = None


def main(recipe: Recipe, arguments: Sequence[str] | None = None) -> None:
    """Run a recipe from the command line and leave its results in a folder.

    The folder gets settings.json, jobs/, records.csv with one line for each repetition,
    results.csv with mean and spread, comparison.csv beside the published values if there are any,
    and the figures. The same command continues an interrupted run.

    Args:
        recipe: The recipe.
        arguments: Words of the command line; those of the process by default.

    Raises:
        SystemExit: With 0 for success, 2 for bad input or a full disk, 130 after Ctrl-C, 143 after
            SIGTERM, 129 after SIGHUP, 141 if nobody reads the result.
    """
    if arguments is None:
        run_program(lambda: _main(recipe, sys.argv[1:]))
    else:
        _main(recipe, arguments)


@listening_to_signals()
def _main(recipe: Recipe, arguments: Sequence[str]) -> None:
    name = recipe.folder.name
    parser = _Parser(prog=name, description=f"Run the recipe {name}.")
    parser.add_argument("--budget", default="small", help=f"one of {', '.join(BUDGETS)}")
    parser.add_argument("--out", type=Path, help="folder to write; default runs/NAME-BUDGET")
    parser.add_argument("--jobs", type=int, default=2, help="jobs to run at once; default 2")
    # The name of --jobs in earlier versions.
    parser.add_argument(
        "--workers", dest="jobs", type=int, default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    parser.add_argument("--json", action="store_true", help="print the comparison alone, as JSON")
    try:
        options = parser.parse_args(arguments)
        if options.budget not in BUDGETS:
            raise unknown_name("budget", options.budget, BUDGETS)
        if options.jobs < 1:
            raise OrbitLensError(
                "`jobs`",
                expected="at least 1",
                received=options.jobs,
                remedy="give the number of cores to use",
            )
        out = options.out or Path("runs") / f"{name}-{options.budget}"
        console = Console(quiet=options.json)
        compared, rows = run_recipe(recipe, options.budget, out, jobs=options.jobs, console=console)
        if options.json:
            record = {
                "rows": rows,
                "comparison": [each.to_dict() for each in compared],
                "warnings": console.warnings,
            }
            print(to_json(record), flush=True)  # noqa: T201
        else:
            lines = [
                *comparison_lines(compared),
                *([] if compared else result_lines(rows)),
                f"results: {out / 'results.csv'}",
            ]
            print("\n".join(map(printable, lines)), flush=True)  # noqa: T201
    except OrbitLensError as error:
        _fail(name, error)
    except BrokenPipeError:
        sys.exit(_NO_READER)
    except OSError as error:
        _fail(name, place_error(error.filename or "the system", error, "a place to write"))
    except KeyboardInterrupt:
        _stop(name, "interrupted", 128 + signal.SIGINT)
    except Terminated as error:
        word = "terminated" if error.number == signal.SIGTERM else "hung up"
        _stop(name, word, error.code)
    sys.exit(0)


def _stop(name: str, word: str, code: int) -> Never:
    print(f"{name}: {word}; the same command goes on", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def run_recipe(
    recipe: Recipe, budget: str, out: Path, *, jobs: int = 2, console: Console | None = None
) -> tuple[list[Comparison], list[Row]]:
    """Run a recipe, or continue it; return the comparison and the rows of results.csv.

    `budget` names its settings, and `jobs` of its jobs run at once.
    """
    settings = recipe.budgets[budget]
    claimed = {"recipe": recipe.folder.name, "budget": budget, **settings}
    _check_claim(out, claimed)
    with one_line_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with alone_in(out, f"`--out` {out}"):
        if not _check_claim(out, claimed):
            write_json(claimed, out / _SETTINGS)
        return _run(recipe, settings, out, jobs, console)


def _run(
    recipe: Recipe, settings: Mapping[str, Any], out: Path, jobs: int, console: Console | None
) -> tuple[list[Comparison], list[Row]]:
    console = console or Console(quiet=True)
    with console.hearing(), console.stage(recipe.folder.name) as tick:
        records = run_jobs(
            recipe.jobs(settings),
            recipe.compute,
            out,
            at_once=jobs,
            progress=tick,
            warned=console.warn,
        )
    tables = {file: table(records) for file, table in recipe.tables.items()}
    for file, table in {"records.csv": records, **tables}.items():
        write_table(table, out / file)
    rows = tables["results.csv"]
    expected = recipe.folder / "expected.csv"
    compared = compare(rows, read_table(expected), where=recipe.where) if expected.exists() else []
    if compared:
        write_table([each.to_dict() for each in compared], out / "comparison.csv")
    if recipe.plot is not None:
        recipe.plot(tables, out)
    return compared, rows


def _check_claim(out: Path, settings: dict[str, Any]) -> bool:
    """Return whether a folder holds a run of the same settings; raise if it holds anything else."""
    path = out / _SETTINGS
    if path.exists():
        # JSON has no tuples.
        found, settings = read_json(path), json.loads(to_json(settings))
        if found != settings:
            differing = sorted(k for k in found | settings if found.get(k) != settings.get(k))
            raise OrbitLensError(
                str(out),
                expected=f"a run of the same settings ({', '.join(differing)} differ)",
                received={name: found.get(name) for name in differing},
                remedy="choose another --out",
            )
        return True
    if out.exists() and (not out.is_dir() or any(map(_is_other, out.iterdir()))):
        raise OrbitLensError(
            str(out),
            expected="a new folder, or one that this recipe began",
            received="something else",
            remedy="choose another --out",
        )
    return False


def _is_other(entry: Path) -> bool:
    # A run that was killed at its start leaves no more.
    return not entry.name.startswith(f".{_SETTINGS}.partial")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> Never:
        _fail(self.prog, message)


def _fail(name: str, error: object) -> Never:
    print(printable(f"{name}: {' '.join(str(error).split())}"), file=sys.stderr)  # noqa: T201
    sys.exit(2)
