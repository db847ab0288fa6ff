"""Tables read from CSV files, and means over repetitions."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orbitlens.errors import OrbitLensError

Row = dict[str, Any]


def read_table(path: str | Path) -> list[Row]:
    """Read a CSV file as one record per line; cells that are numbers become numbers."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restkey="", restval=None)
            rows = list(reader)
            if not reader.fieldnames:
                raise csv.Error("no line that names the columns")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OrbitLensError(
            str(path), expected="a CSV file", received=str(error), remedy="give another file"
        ) from None
    for number, row in enumerate(rows, start=2):
        if "" in row or None in row.values():
            raise OrbitLensError(
                f"{path}, line {number}",
                expected="as many cells as columns",
                received=row,
                remedy="the file is damaged; write it again",
            )
    return [{name: _number(cell) for name, cell in row.items()} for row in rows]


def summarise(
    records: Iterable[Mapping[str, Any]], by: Sequence[str], metrics: Mapping[str, str]
) -> list[Row]:
    """Return mean and spread of repeated measurements, in order of first appearance.

    std is the standard deviation of the sample, sqrt(sum (x - mean)^2 / (n - 1)), and stderr is
    std / sqrt(n). A single measurement has none. Records that agree in the fields `by` are
    repetitions; `metrics` names the figures, each with "std" or "stderr". A row has the fields
    `by`, NAME_mean and NAME_std or NAME_stderr for each metric, and n, the number of repetitions. A
    figure that is None in some repetition is None.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault(tuple(record[name] for name in by), []).append(record)
    rows = []
    for key, repetitions in groups.items():
        row: Row = dict(zip(by, key, strict=True))
        for name, spread in metrics.items():
            values = [repetition[name] for repetition in repetitions]
            row[f"{name}_mean"], row[f"{name}_{spread}"] = _mean_and_spread(values, spread)
        rows.append({**row, "n": len(repetitions)})
    return rows


def worst_of_seeds(values: Sequence[float], sign: str, limit: float, *, digits: int = 6) -> Row:
    """Return the worst of some seeds beside what is wanted: ">=" a limit, or "<=" one.

    A row has "worst_seed", "wanted" with so many digits, and "met".
    """
    worst = min(values) if sign == ">=" else max(values)
    return {
        "worst_seed": worst,
        "wanted": f"{sign} {limit:.{digits}g}",
        "met": worst >= limit if sign == ">=" else worst <= limit,
    }


def _mean_and_spread(
    values: Sequence[float | None], spread: str
) -> tuple[float | None, float | None]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None, None
    n = len(known)
    mean = math.fsum(known) / n
    if n == 1:
        return mean, None
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (n - 1))
    return mean, std / math.sqrt(n) if spread == "stderr" else std


def _number(cell: str) -> Any:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell or None
