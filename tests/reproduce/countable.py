"""Work for the jobs under test, in a module that worker processes can import."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from orbitlens.errors import OrbitLensError


def compute(arguments: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Note the call, then square a number; or end as `arguments` and the folder say."""
    name = arguments["name"]
    with open(folder / "calls.txt", "a") as file:
        file.write(f"{name}\n")
    for other in arguments.get("after", ()):
        if not (folder / "jobs" / f"{other}.json").exists():
            raise AssertionError(f"{name} began before {other} ended")
    if not (folder / "mended").exists():
        if arguments.get("ends") == "error":
            raise OrbitLensError("`data`", expected="images", received="none", remedy="get some")
        if arguments.get("ends") == "interruption":
            raise KeyboardInterrupt
    x = torch.tensor(float(arguments["x"]), dtype=torch.float64)
    return [{"name": name, "power": p, "value": (x**p / 3).item()} for p in (1, 2)]


def calls(folder: Path) -> list[str]:
    """Return the jobs that were computed so far, in order."""
    path = folder / "calls.txt"
    return path.read_text().split() if path.exists() else []
