"""The program that every recipe is: its folder, its errors, its output."""

import json
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orbitlens.files import alone_in, write_table
from orbitlens.reproduce import Job, Recipe, main, read_table, summarise

FILES = {"settings.json", "jobs", "records.csv", "results.csv", "comparison.csv", "figure.txt"}


def jobs(settings: Mapping[str, Any]) -> list[Job]:
    return [Job(name, {"name": name, **settings}) for name in ("a", "b", "c")]


def results(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return summarise(records, ["power"], {"value": "std"})


def plot(tables: Mapping[str, list[dict[str, Any]]], folder: Path) -> None:
    (folder / "figure.txt").write_text(str(len(tables["results.csv"])))


@pytest.fixture
def recipe(tmp_path: Path, countable: ModuleType) -> Recipe:
    """A recipe of three jobs; half of what it measures was published."""
    folder = tmp_path / "squares"
    folder.mkdir()
    write_table([{"power": 1, "value_mean": 1.0, "value_std": 0.5}], folder / "expected.csv")
    return Recipe(
        folder=folder,
        budgets={"smoke": {"x": 3.1}, "small": {"x": 6.0}, "medium": {"x": 2.0, "ends": "error"}},
        jobs=jobs,
        compute=countable.compute,
        tables={"results.csv": results},
        plot=plot,
    )


def run(recipe: Recipe, *words: str) -> int:
    """Return the exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main(recipe, words)
    assert isinstance(end.value.code, int)
    return end.value.code


def smoke(recipe: Recipe, out: Path, *words: str) -> int:
    return run(recipe, "--budget", "smoke", "--out", str(out), "--jobs", "1", *words)


def test_a_run_leaves_its_records_results_comparison_and_figures(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert smoke(recipe, out) == 0
    assert {path.name for path in out.iterdir()} == FILES | {"calls.txt"}
    assert len(read_table(out / "records.csv")) == 6
    assert [row["n"] for row in read_table(out / "results.csv")] == [3, 3]
    (compared,) = read_table(out / "comparison.csv")
    assert (compared["metric"], compared["verdict"]) == ("value", "within the spread")
    assert (out / "figure.txt").read_text() == "2"
    text = capsys.readouterr().out
    assert "1 value 1.033 +- 0.000 1.000 +- 0.500 +0.033 within the spread" in " ".join(
        text.split()
    )
    assert text.splitlines()[-1] == f"results: {out / 'results.csv'}"


def test_a_recipe_of_something_unpublished_says_so(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recipe.folder / "expected.csv").unlink()
    assert smoke(replace(recipe, plot=None), tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "nothing published to compare with" in shown
    assert " +- " in shown
    assert not (tmp_path / "out" / "comparison.csv").exists()


def test_the_default_folder_is_named_after_recipe_and_budget(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(recipe, "--jobs", "1") == 0
    assert (tmp_path / "runs" / "squares-small" / "results.csv").exists()


def test_jobs_had_another_name_in_earlier_versions(
    recipe: Recipe, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert run(recipe, "--budget", "smoke", "--out", out, "--workers", "0") == 2
    assert "`jobs`: expected at least 1, received 0" in capfd.readouterr().err
    assert run(recipe, "--budget", "smoke", "--out", out, "--workers", "1") == 0
    assert run(recipe, "--help") == 0
    assert "--workers" not in capfd.readouterr().out


def test_json_is_all_that_json_prints(
    recipe: Recipe, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert smoke(recipe, tmp_path / "out", "--json") == 0
    printed = capfd.readouterr()
    record = json.loads(printed.out)
    assert [row["power"] for row in record["rows"]] == [1, 2]
    assert record["comparison"][0]["verdict"] == "within the spread"
    assert printed.err == ""


def test_an_interrupted_run_resumed_has_the_results_of_one_that_was_not(
    recipe: Recipe, tmp_path: Path, countable: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaking(settings: Mapping[str, Any]) -> list[Job]:
        """Stop in the second job, once."""
        first, second, third = jobs(settings)
        return [
            first,
            replace(second, arguments={**second.arguments, "ends": "interruption"}),
            third,
        ]

    broken, whole = tmp_path / "broken", tmp_path / "whole"
    assert smoke(replace(recipe, jobs=breaking), broken) == 130
    assert capsys.readouterr().err.endswith("squares: interrupted; the same command goes on\n")
    assert {path.name for path in broken.iterdir()} == {"settings.json", "jobs", "calls.txt"}
    (broken / "mended").touch()
    assert smoke(replace(recipe, jobs=breaking), broken) == 0
    assert countable.calls(broken) == ["a", "b", "b", "c"]
    assert smoke(recipe, whole) == 0
    for name in ("records.csv", "results.csv", "comparison.csv"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()


def test_a_finished_run_called_again_computes_nothing_and_changes_nothing(
    recipe: Recipe, tmp_path: Path, countable: ModuleType
) -> None:
    out = tmp_path / "out"
    assert smoke(recipe, out) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert smoke(recipe, out) == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert len(countable.calls(out)) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget", "smok"], "budget: expected one of smoke, small, medium, full.*'smoke'?"),
        (["--depth", "3"], "unrecognized arguments: --depth 3"),
        (["--jobs", "0"], "`jobs`: expected at least 1, received 0"),
        (["--jobs", "two"], "argument --jobs: invalid int value: 'two'"),
        (["--workers", "two"], "argument --workers: invalid int value: 'two'"),
        (["--budget", "medium", "--jobs", "1"], "`data`: expected images, received none"),
    ],
)
def test_bad_input_ends_in_one_line_and_code_2(
    recipe: Recipe,
    tmp_path: Path,
    words: list[str],
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(recipe, "--out", str(tmp_path / "out"), "--json", *words) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("squares: ")
    assert re.search(message, line)


def refused(recipe: Recipe, out: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """Return the one line with which a run into `out` is refused."""
    capfd.readouterr()
    assert smoke(recipe, out, "--json") == 2
    (line,) = capfd.readouterr().err.splitlines()
    return line


def test_a_folder_that_holds_something_else_is_left_alone(
    recipe: Recipe, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "photos"
    out.mkdir()
    (out / "cat.png").touch()
    assert "a new folder, or one that this recipe began" in refused(recipe, out, capfd)
    assert [path.name for path in out.iterdir()] == ["cat.png"]
    assert "received something else" in refused(recipe, out / "cat.png", capfd)
    assert "a place that can be written" in refused(recipe, out / "cat.png" / "runs", capfd)


def test_an_empty_folder_is_taken(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert smoke(recipe, tmp_path / "out") == 0


def test_a_folder_of_other_settings_is_left_alone(
    recipe: Recipe, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert smoke(recipe, out) == 0
    before = (out / "results.csv").read_bytes()
    other = replace(recipe, budgets={"smoke": {"x": 9.0, "y": 1}})
    line = refused(other, out, capfd)
    assert "a run of the same settings (x, y differ), received {'x': 3.1, 'y': None}" in line
    assert (out / "results.csv").read_bytes() == before


def test_settings_that_json_spells_otherwise_are_still_the_same(
    recipe: Recipe, tmp_path: Path
) -> None:
    tupled = replace(recipe, budgets={"smoke": {"x": 3.1, "groups": ("C4", "D4")}})
    assert smoke(tupled, tmp_path / "out") == 0
    assert smoke(tupled, tmp_path / "out") == 0


def test_a_damaged_job_is_named(
    recipe: Recipe, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert smoke(recipe, out) == 0
    (out / "jobs" / "b.json").write_text("{")
    assert str(out / "jobs" / "b.json") in refused(recipe, out, capfd)


def test_a_folder_in_which_another_run_is_at_work_is_left_alone(
    recipe: Recipe, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with alone_in(out, "the other run"):
        line = refused(recipe, out, capfd)
    assert "expected one run at a time, received another process" in line
    assert smoke(recipe, out) == 0


def test_a_run_that_was_killed_at_its_start_begins_again(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".settings.json.partial-7").touch()
    assert smoke(recipe, out) == 0


def test_sigterm_says_how_to_go_on(
    recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def told(*arguments: object, **named: object) -> None:
        signal.raise_signal(signal.SIGHUP)

    monkeypatch.setattr("orbitlens.reproduce.recipe.run_jobs", told)
    assert smoke(recipe, tmp_path / "out", "--json") == 129
    assert capfd.readouterr().err == "squares: hung up; the same command goes on\n"
