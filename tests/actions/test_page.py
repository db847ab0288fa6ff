"""The examples of the page on inputs run, and say true shapes."""

import re

import torch

import orbitlens as ol

from ..house import ROOT


def blocks() -> list[str]:
    page = (ROOT / "docs" / "groups-and-actions.md").read_text()
    return re.findall(r"```python\n(.*?)```", page[page.index("## Inputs") :], re.DOTALL)


def test_every_example_runs_and_its_orbits_have_the_shape_that_it_says() -> None:
    shown = set()
    for block in blocks():
        names = {"torch": torch, "ol": ol}
        exec(block, names)  # noqa: S102  # the program is ours
        if "action" in names:
            shown.add(names["action"].name.split(":")[0])
        if "orbits" in names:
            (said,) = re.findall(r"orbits = .*# (\[.*\])", block)
            assert list(names["orbits"].shape) == [int(size) for size in said[1:-1].split(",")]
        if "r2" in names:
            assert names["r2"] > 0.9999
    assert shown == {
        "images",
        "plane",
        "relabelling",
        "volumes",
        "points",
        "graphs",
        "set_permutation",
        "reverse_complement",
        "cyclic_shift",
        "own",
    }
