"""The pages are true: links lead to files, commands exist, and the Python of the README runs."""

import doctest
import re
import shlex
from pathlib import Path

import click
import pytest
import torch

from orbitlens.cli.commands import commands
from orbitlens.models import MLPAutoencoder

from .house import ROOT

PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(p for r in ("docs", "recipes", "benchmarks") for p in (ROOT / r).rglob("*.md")),
    ]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def python_of(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = python_of("README.md")
    names = {
        "model": MLPAutoencoder(size=8, dim=16),
        "images": torch.rand(60, 1, 8, 8),
        "x": torch.randn(3, 16),
    }
    exec(program, names)  # noqa: S102  # the program is ours
    assert names["codes"].shape == (3, 8 * 512)
    assert names["what"].shape == (3, 512)
    assert names["x_hat"].shape == (3, 16)


def test_the_examples_of_the_symmetry_room_run() -> None:
    page = str(ROOT / "docs" / "symmetry.md")
    tried = doctest.testfile(page, module_relative=False, optionflags=doctest.ELLIPSIS)
    assert (tried.failed, tried.attempted > 20) == (0, True)


def commands_of(page: Path) -> list[list[str]]:
    lines = re.findall(r"(?m)^orbitlens (.+)$", page.read_text())
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_have_verbs_and_options_that_exist(page: Path) -> None:
    for verb, *words in commands_of(page):
        command = commands.get_command(click.Context(commands), verb)
        assert command is not None, verb
        command.make_parser(click.Context(command)).parse_args(words)
