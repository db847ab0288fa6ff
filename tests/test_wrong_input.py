"""Wrong command lines and calls: each is answered by its line, and nothing is left behind."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jaxtyping
import pytest

import orbitlens as ol
from orbitlens.cli.commands import main

from .wrong_input import make_files, names_of_calls, rows_of

_WITHOUT_TORCH = """
import contextlib, io, json, shlex, sys
from orbitlens.cli.commands import main

for command in json.loads(sys.argv[1]):
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
        main([*shlex.split(command), "--json"])
    if "torch" in sys.modules:
        sys.exit(command)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files")
    make_files(path)
    return path


@pytest.fixture(scope="module")
def names(folder: Path) -> Mapping[str, Any]:
    return names_of_calls(folder)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


def test_the_table_has_a_hundred_rows() -> None:
    commands, calls = rows_of("$") + rows_of("%"), rows_of(">")
    assert len(commands) >= 60
    assert len(calls) >= 40
    assert len({wrong for wrong, _ in commands + calls}) == len(commands) + len(calls)


@pytest.mark.parametrize(("command", "answer"), rows_of("$") + rows_of("%"))
def test_command(
    command: str,
    answer: str,
    folder: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    before = content(folder)
    with pytest.raises(SystemExit) as ended:
        main([*shlex.split(command), "--json"])
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.replace(str(folder), "HERE") == f"orbitlens: {answer}\n"
    assert content(folder) == before


@pytest.mark.parametrize(("call", "answer"), rows_of(">"))
def test_call(
    call: str,
    answer: str,
    folder: Path,
    names: Mapping[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In tests alone, jaxtyping answers before the library.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    before = content(folder)
    with pytest.raises(ol.OrbitLensError, match=re.compile("^[^\n]+$")) as raised:
        eval(call, dict(names))  # noqa: S307  # rows of our own table
    assert str(raised.value).replace(str(folder), "HERE") == answer
    assert content(folder) == before


def test_answers_that_need_no_data_load_no_torch(folder: Path) -> None:
    commands = json.dumps([command for command, _ in rows_of("$")])
    ended = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCH, commands],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
