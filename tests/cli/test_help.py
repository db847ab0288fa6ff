"""Help, completion and wrong words: an answer at once, few options, plain sentences."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click
import pytest

from orbitlens import activations, sae, transport
from orbitlens.activations.harvest import POSITIONS
from orbitlens.activations.store import DTYPES
from orbitlens.cli.commands import VERBS, commands, main
from orbitlens.cli.options import ExpertOption
from orbitlens.data import CROPS
from orbitlens.errors import OrbitLensError
from orbitlens.models import ALL_LAYERS
from orbitlens.pipeline import NAMES, RunConfig, RunFolder
from orbitlens.pipeline._names import KNOWN_NAMES
from orbitlens.reproduce import BUDGETS
from orbitlens.training import PRECISIONS

HEAVY = {"torch", "numpy", "zarr", "fsspec", "jaxtyping", "sklearn", "rich", "PIL"}
PROGRAM = """
import sys
from orbitlens.cli import main
try:
    main()
finally:
    print(*{name.split(".")[0] for name in sys.modules}, file=sys.stderr)
"""


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; its last line on stderr lists what it has loaded."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "80", **environment},
    )


def verb(name: str) -> click.Command:
    found = commands.get_command(click.Context(commands), name)
    assert found is not None
    return found


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


def options_of(text: str) -> list[str]:
    return re.findall(r"^  (--[a-z-]+)", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 0),
        (["--help"], 0),
        (["--version"], 0),
        (["runn"], 2),
        (["--verison"], 2),
        (["run", "shapes", "--grup", "C4"], 2),
        (["run"], 2),
        *((([name, "--help"]), 0) for name in VERBS),
        *((([name, "--help-all"]), 0) for name in ("run", "transport")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_answer_at_once_loads_nothing_heavy(words: list[str], code: int) -> None:
    done = run(*words)
    assert done.returncode == code
    *said, loaded = done.stderr.splitlines()
    assert set(loaded.split()) & HEAVY == set()
    assert len(said) == (code == 2)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("orbitlens tra", ["plain,transport", "plain,train"]),
        ("orbitlens run --probe-t", ["plain,--probe-threads"]),
        ("orbitlens train acts --out ru", ["dir,ru"]),
    ],
)
def test_the_shell_completes(line: str, expected: list[str]) -> None:
    place = str(len(line.split()) - 1)
    done = run(_ORBITLENS_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=place)
    assert done.stdout.splitlines() == expected
    assert set(done.stderr.split()) & HEAVY == set()


def test_help_is_short_and_names_where_the_rest_is(capsys: pytest.CaptureFixture[str]) -> None:
    few, all_of_them = shown(capsys, "run", "--help"), shown(capsys, "run", "--help-all")
    assert len(options_of(few)) <= 20
    assert few.splitlines()[-1] == "More options, for experts: orbitlens run --help-all"
    assert "More options" not in all_of_them
    expected = {"--" + name.replace("_", "-") for name in RunConfig.__dataclass_fields__}
    assert set(options_of(all_of_them)) >= expected - {"--source"}


@pytest.mark.parametrize("name", VERBS)
def test_only_verbs_with_options_for_experts_speak_of_them(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    experts = [option for option in verb(name).params if isinstance(option, ExpertOption)]
    text = shown(capsys, name, "--help")
    assert ("--help-all" in text) == bool(experts)
    assert not {option.opts[0] for option in experts} & set(options_of(text))


@pytest.mark.parametrize("name", VERBS)
def test_every_option_is_explained_in_sentences(name: str) -> None:
    for option in verb(name).params:
        if isinstance(option, click.Option):
            assert re.fullmatch(r"[A-Zmi].*[.]", option.help or ""), option.opts


def named(text: str, names: Collection[str]) -> bool:
    return set(names) <= set(re.findall(r"[\w-]+", text))


def test_help_names_all_that_a_setting_accepts() -> None:
    for name, known in KNOWN_NAMES.items():
        assert named(RunConfig.__dataclass_fields__[name].metadata["help"], known), name


def test_names_are_those_of_the_rooms() -> None:
    rooms = {
        "crop": CROPS,
        "dtype": DTYPES,
        "positions": POSITIONS,
        "precision": PRECISIONS,
        "saes": NAMES,
        "sparsity": (*sae.BUILDERS, sae.BiasAdaptation.name),
        "transport": transport.METHODS,
    }
    assert {name: set(known) for name, known in rooms.items()} == {
        name: set(KNOWN_NAMES[name]) for name in rooms
    }


@pytest.mark.parametrize(
    ("name", "option", "known"),
    [
        ("train", "objective", NAMES),
        ("reproduce", "budget", BUDGETS),
        ("transport", "transport", tuple(transport.METHODS)),
        ("run", "sparsity", tuple(sae.BUILDERS)),
    ],
)
def test_help_names_all_that_an_option_accepts(
    name: str, option: str, known: tuple[str, ...]
) -> None:
    (found,) = (each for each in verb(name).params if each.name == option)
    assert named(str(getattr(found, "help", "")), known)
    assert found.default in known


def test_help_names_all_that_an_import_reads(tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match="one of") as raised:
        activations.import_activations(tmp_path, kind="pickle")
    known = re.split("one of |, received", str(raised.value))[1].split(", ")
    (kind,) = (each for each in verb("import").params if each.name == "kind")
    assert named(str(getattr(kind, "help", "")), known)
    assert kind.default in known


def test_transport_states_how_many_images_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(shown(capsys, "transport", "--help").split())
    assert "At most 1024 images are used; --n-samples changes this number." in text
    defaults = {option.name: option.default for option in verb("transport").params}
    assert (defaults["n_samples"], defaults["layers"]) == (1024, ALL_LAYERS)


def parsed(name: str, *words: str) -> dict[str, Any]:
    return verb(name).make_context(name, list(words)).params


@pytest.mark.parametrize(
    ("name", "words", "setting"),
    [
        ("run", ["shapes"], "probe_threads"),
        ("probe", ["acts", "--sae", "sae"], "probe_threads"),
        ("reproduce", ["toy"], "jobs"),
    ],
)
def test_the_old_name_of_an_option_still_works_and_is_not_shown(
    name: str, words: list[str], setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parsed(name, *words, "--workers", "3")[setting] == 3
    assert parsed(name, *words, "--workers=4")[setting] == 4
    assert "--workers" not in shown(capsys, name, "--help")


@pytest.mark.parametrize("name", ["harvest", "plan"])
def test_workers_are_processes_that_run_the_network(name: str) -> None:
    (option,) = (each for each in verb(name).params if each.name == "workers")
    assert getattr(option, "help", "") == "Processes that run the network."


def test_a_run_that_was_begun_under_the_old_name_continues(tmp_path: Path) -> None:
    record = RunConfig.for_source("shapes", probe_threads=1).to_dict()
    old = {"workers" if name == "probe_threads" else name: value for name, value in record.items()}
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert RunConfig.from_dict(old).probe_threads == 1
    assert RunFolder(tmp_path, record, resume=True).config == record
    assert RunFolder(tmp_path, old, resume=True).config == record


def test_the_root_hands_on_what_it_promises_and_nothing_else() -> None:
    program = """
import sys
import orbitlens as ol
assert not {"torch", "numpy"} & set(sys.modules)
for name in ol.__all__:
    assert name in dir(ol) and getattr(ol, name) is not None, name
assert ol.activations.harvest_layers and ol.testing
try:
    ol.nothing
except AttributeError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "module 'orbitlens' has no attribute 'nothing'\n"
