"""`orbitlens check env:NAME`: are two maps a symmetry of an environment?"""

from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orbitlens.errors import OrbitLensError, missing_extra
from orbitlens.files import write_json, write_table
from orbitlens.models import call_python
from orbitlens.pipeline._hearing import hears_warnings
from orbitlens.pipeline.console import Console
from orbitlens.pipeline.folder import RunFolder
from orbitlens.report import write_check_page
from orbitlens.symmetry.check import break_symmetry, check_environment, reflection
from orbitlens.symmetry.check._built_in import BUILT_IN, built_in
from orbitlens.symmetry.check._spaces import made, name_of


@dataclass(frozen=True)
class EnvironmentCheckConfig:
    """The settings of a check of an environment.

    Args:
        environment: Its name in Gymnasium, such as "Pendulum-v1"; or "path/to/file.py:name", a
            class or function there that returns it.
        symmetry: "module:function" or "path/to/file.py:function", which returns the maps of states
            and of actions as `check_environment` takes them; None for a built-in reflection.
        kappa: Share of the strength of positive actions that is lost; None for none.
        n_samples: States, or transitions of the fitted model; None for the usual number.
        gamma: The discount.
        seed: Seed of all random numbers.
    """

    environment: str
    symmetry: str | None
    kappa: float | None
    n_samples: int | None
    gamma: float
    seed: int


@hears_warnings
def run_environment_check(
    config: EnvironmentCheckConfig, out: Path, *, resume: bool, console: Console
) -> dict[str, Any]:
    """Check the maps of an environment, and write a record, a table and a page.

    `out` gets config.json, metrics.json, errors.csv, report/index.html and log.txt. Nothing is kept
    for `resume`: the check begins again. Returns the record in metrics.json.
    """
    if find_spec("jinja2") is None:
        raise missing_extra("jinja2", extra="report")
    folder = RunFolder(out, asdict(config), resume=resume)
    environment = _environment(config.environment)
    try:
        states, actions = _maps(config, environment)
        if config.kappa is not None:
            environment = break_symmetry(environment, config.kappa)
        return _written(folder, config, console, environment, (states, actions))
    finally:
        with suppress(Exception):  # a window that will not close changes no figure
            environment.close()


def _written(
    folder: RunFolder,
    config: EnvironmentCheckConfig,
    console: Console,
    environment: Any,
    maps: tuple[Any, Any],
) -> dict[str, Any]:
    with folder.writing():
        console.keep_warnings_in(folder)
        with console.stage("step from s and from gs"):
            found = check_environment(
                environment,
                *maps,
                n=config.n_samples,
                gamma=config.gamma,
                seed=config.seed,
            )
        check = found.to_dict()
        seconds = {name: round(value, 2) for name, value in console.seconds.items()}
        record = {"check": check, "config": asdict(config), "seconds": seconds}
        record = console.with_warnings(record, ())
        rows = [{"error": key, **check[key]} for key in ("reward", "transition")]
        write_table(rows, folder / "errors.csv")
        write_json(record, folder / "metrics.json")
        with console.stage("draw the page"):
            write_check_page(folder / "report" / "index.html", record)
        folder.log(check["sentence"])
    return record


def _environment(name: str) -> Any:
    """Return an environment by its name in Gymnasium, or from a file of the user."""
    if name.rpartition(":")[0].endswith(".py"):
        return made(call_python(name, f"env:{name}", "an environment of Gymnasium"))
    return made(name, "write env:FILE.py:NAME for one of your own")


def _maps(config: EnvironmentCheckConfig, environment: Any) -> tuple[Any, Any]:
    if config.symmetry is None:
        if built_in(environment) is None:
            raise OrbitLensError(
                "`symmetry`",
                expected=f"the maps of {name_of(environment)}; only those of "
                f"{', '.join(each.name for each in BUILT_IN)} are built in",
                received="none",
                remedy="give --symmetry module:function or file.py:function",
            )
        return reflection(environment)
    maps = call_python(config.symmetry, "`symmetry`", "the maps of states and of actions")
    if not isinstance(maps, tuple | list) or len(maps) != 2:
        raise OrbitLensError(
            "`symmetry`",
            expected="a function that returns two maps, of states and of actions",
            received=type(maps).__name__
            if not isinstance(maps, tuple | list)
            else f"{len(maps)} parts",
            remedy="return both, as symmetry.check_environment takes them",
        )
    return maps[0], maps[1]
