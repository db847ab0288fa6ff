"""Every recipe has its page, its command and its published figures, and runs at a tiny budget."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fork_server import ForkServer, fork_server
from orbitlens.reproduce import locate, names, read_table

RECIPES = Path(__file__).parent.parent / "recipes"
FOLDERS = sorted(path.name for path in RECIPES.iterdir() if path.is_dir())
# Their smallest budget looks at something else than the paper did, which needs a network.
STAND_INS = {"blood", "galaxy", "shapes-vit"}
UNPUBLISHED = re.compile(r"not in the paper|(nothing|not|no) (\w+ ){0,3}published", re.IGNORECASE)


def test_every_program_under_recipes_can_be_named() -> None:
    found = {path.parent for path in RECIPES.rglob("run.py")}
    assert found == {locate(name) for name in names()}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_recipe_has_a_program_a_page_and_the_exact_command(name: str) -> None:
    assert (RECIPES / name / "run.py").is_file()
    page = (RECIPES / name / "README.md").read_text()
    assert re.search(rf"\borbitlens reproduce {re.escape(name)}(?![\w-])", page)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_recipe_has_the_published_figures_or_says_that_there_are_none(name: str) -> None:
    expected = RECIPES / name / "expected.csv"
    if expected.exists():
        assert len(read_table(expected)) >= 1
    else:
        assert UNPUBLISHED.search((RECIPES / name / "README.md").read_text())


@pytest.fixture(scope="module")
def programs() -> Iterator[ForkServer]:
    with fork_server({**os.environ, "OMP_NUM_THREADS": "1"}) as server:
        yield server


@pytest.mark.parametrize("name", FOLDERS)
def test_a_recipe_runs_at_its_smallest_budget(
    name: str, tmp_path: Path, programs: ForkServer
) -> None:
    out, program = tmp_path / "out", str(RECIPES / name / "run.py")
    words = ("--budget=smoke", "--jobs=1", "--out", str(out))
    run = programs.run(tmp_path / "streams", program, *words)
    assert run.returncode == 0, run.stderr
    said = (run.stdout + run.stderr).splitlines()
    doubts = [line for line in said if "warning" in line.lower()]
    # Trainings of a few steps learn nothing.
    few = ("explains the data no better than chance", "they are the same for all images")
    assert [line for line in doubts if not any(words in line for words in few)] == []
    rows = read_table(out / "results.csv")
    assert len(rows) >= 1
    assert len(read_table(out / "records.csv")) >= 1
    if (RECIPES / name / "expected.csv").exists():
        expected = read_table(RECIPES / name / "expected.csv")
        assert set(expected[0]) <= set(rows[0])
        verdicts = {row["verdict"] for row in read_table(out / "comparison.csv")}
        compared = verdicts != {"not measured"}
        assert compared == (name not in STAND_INS), "no published row has a row of ours"
