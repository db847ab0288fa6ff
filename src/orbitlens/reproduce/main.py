"""The program that every recipe's run.py is."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Never

from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.files import read_json, to_json, write_json, write_table
from orbitlens.pipeline.stopping import TERMINATED, Terminated, listening_to_sigterm
from orbitlens.pipeline.console import Console
from orbitlens.reproduce.compare import Comparison, compare
from orbitlens.reproduce.jobs import Compute, Job, Record, run_jobs
from orbitlens.reproduce.tables import Row, read_table

BUDGETS = ("smoke", "small", "medium", "full")
SETTINGS = "settings.json"


@dataclass(frozen=True)
class Recipe:
    """One experiment of the paper.

    Args:
        folder: Where its run.py, README.md and expected.csv are.
        budgets: The settings of "smoke", "small", "medium" and "full".
        jobs: Lists the parts of the work, from the settings.
        compute: Does one part; at the top level of run.py, as other processes call it.
        tables: For each file, what turns the records of all jobs into its rows; "results.csv" is
            the one that is compared with expected.csv.
        where: Which rows of results.csv the published table is compared with.
        plot: Draws the figures into a folder, from the rows of each table.
    """

    folder: Path
    budgets: Mapping[str, Mapping[str, Any]]
    jobs: Callable[[Mapping[str, Any]], list[Job]]
    compute: Compute
    tables: Mapping[str, Callable[[Sequence[Record]], list[Row]]]
    where: Mapping[str, Any] = field(default_factory=dict)
    plot: Callable[[Mapping[str, list[Row]], Path], None] | None = None


@listening_to_sigterm()
def main(recipe: Recipe, arguments: Sequence[str] | None = None) -> None:
    """Run a recipe from the command line and leave its results in a folder.

    The folder gets settings.json, jobs/, records.csv with one line for each repetition,
    results.csv with mean and spread, comparison.csv beside the published values if there are any,
    and the figures.
    Run again, it goes on where it stopped.

    Args:
        recipe: The recipe.
        arguments: Words of the command line; those of the process by default.

    Raises:
        SystemExit: With 0 for success, 2 for bad input, 130 after Ctrl-C, 143 after SIGTERM.
    """
    name = recipe.folder.name
    parser = _Parser(prog=name, description=f"Run the recipe {name}.")
    parser.add_argument("--budget", default="small", help=f"one of {', '.join(BUDGETS)}")
    parser.add_argument("--out", type=Path, help="folder to write; default runs/NAME-BUDGET")
    parser.add_argument("--workers", type=int, default=2, help="jobs at work at once; default 2")
    parser.add_argument("--json", action="store_true", help="print the comparison alone, as JSON")
    try:
        options = parser.parse_args(arguments)
        if options.budget not in BUDGETS:
            raise unknown_name("budget", options.budget, BUDGETS)
        if options.workers < 1:
            raise OrbitLensError(
                "`workers`",
                expected="at least 1",
                received=options.workers,
                remedy="give the number of cores to use",
            )
        out = options.out or Path("runs") / f"{name}-{options.budget}"
        compared, rows = reproduce(
            recipe,
            options.budget,
            out,
            workers=options.workers,
            console=Console(quiet=options.json),
        )
    except OrbitLensError as error:
        _fail(name, error)
    except KeyboardInterrupt:
        _stop(name, "interrupted", 130)
    except Terminated:
        _stop(name, "terminated", TERMINATED)
    if options.json:
        record = {"rows": rows, "comparison": [_row(each) for each in compared]}
        print(to_json(record))  # noqa: T201
    else:
        print("\n".join(comparison_lines(compared)))  # noqa: T201
        print(f"results: {out / 'results.csv'}")  # noqa: T201
    sys.exit(0)


def _stop(name: str, word: str, code: int) -> Never:
    print(f"{name}: {word}; the same command goes on", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def reproduce(
    recipe: Recipe, budget: str, out: Path, *, workers: int = 2, console: Console | None = None
) -> tuple[list[Comparison], list[Row]]:
    """Run a recipe and write its results.

    Args:
        recipe: The recipe.
        budget: The name of its settings.
        out: The folder to write, or to go on in.
        workers: Jobs at work at once.
        console: Where progress is shown; none by default.

    Returns:
        The comparison with the published table, and the rows of results.csv.

    Raises:
        OrbitLensError: If `out` holds something else.
    """
    settings = recipe.budgets[budget]
    _claim(out, {"recipe": recipe.folder.name, "budget": budget, **settings})
    with (console or Console(quiet=True)).stage(recipe.folder.name) as tick:
        records = run_jobs(
            recipe.jobs(settings), recipe.compute, out, workers=workers, progress=tick
        )
    tables = {file: table(records) for file, table in recipe.tables.items()}
    for file, table in {"records.csv": records, **tables}.items():
        write_table(table, out / file)
    rows = tables["results.csv"]
    expected = recipe.folder / "expected.csv"
    compared = compare(rows, read_table(expected), where=recipe.where) if expected.exists() else []
    if compared:
        write_table([_row(each) for each in compared], out / "comparison.csv")
    if recipe.plot is not None:
        recipe.plot(tables, out)
    return compared, rows


def comparison_lines(compared: Sequence[Comparison]) -> list[str]:
    """Format a comparison as lines of text: ours, the paper's, the difference, a verdict.

    Args:
        compared: What `compare` returned.

    Returns:
        A head, one line for each figure, and a count of the verdicts; where nothing was published,
        one line that says so.

    Example:
        >>> same = Comparison({"sae": "a"}, "f1", 0.5, 0.1, 0.45, 0.1, "within the spread")
        >>> print(comparison_lines([same])[1])
        a f1    0.500 +- 0.100    0.450 +- 0.100    +0.050  within the spread
    """
    if not compared:
        return ["nothing published to compare with"]
    labels = [" ".join([*map(str, each.key.values()), each.metric]) for each in compared]
    width = max(map(len, labels))
    lines = [f"{'':<{width}} {'ours':>17} {'paper':>17} {'difference':>10}  verdict"]
    for label, each in zip(labels, compared, strict=True):
        ours = "-" if each.ours is None else f"{each.ours:.3f} +- {_spread(each.our_spread)}"
        difference = "-" if each.difference is None else f"{each.difference:+.3f}"
        paper = f"{each.paper:.3f} +- {each.paper_spread:.3f}"
        lines.append(f"{label:<{width}} {ours:>17} {paper:>17} {difference:>9}  {each.verdict}")
    verdicts = [each.verdict for each in compared]
    counts = (f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
    return [*lines, ", ".join(counts)]


def _spread(value: float | None) -> str:
    return "?    " if value is None else f"{value:.3f}"


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Begin a folder, or check that it holds a run of the same settings."""
    path = out / SETTINGS
    if path.exists():
        # What was written knows no tuples.
        found, settings = read_json(path), json.loads(to_json(settings))
        if found != settings:
            differing = sorted(k for k in found | settings if found.get(k) != settings.get(k))
            raise OrbitLensError(
                str(out),
                expected=f"a run of the same settings ({', '.join(differing)} differ)",
                received={name: found.get(name) for name in differing},
                remedy="choose another --out",
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OrbitLensError(
            str(out),
            expected="a new folder, or one that this recipe began",
            received="something else",
            remedy="choose another --out",
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OrbitLensError(
            str(out),
            expected="a place that can be written",
            received=error.strerror,
            remedy="choose another --out",
        ) from None
    write_json(settings, path)


def _row(each: Comparison) -> Row:
    return {
        **each.key,
        "metric": each.metric,
        "ours": each.ours,
        "our_spread": each.our_spread,
        "paper": each.paper,
        "paper_spread": each.paper_spread,
        "difference": each.difference,
        "verdict": each.verdict,
    }


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as everywhere in OrbitLens."""

    def error(self, message: str) -> Never:
        _fail(self.prog, message)


def _fail(name: str, error: object) -> Never:
    print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(2)
