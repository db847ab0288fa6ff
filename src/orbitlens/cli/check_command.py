"""The command `orbitlens check`: is a group a symmetry of a network, or of an environment?"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from orbitlens.cli import options as cli
from orbitlens.cli.options import number, option, settings
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.pipeline import Console

OUTPUTS = ("invariant", "maps", "regular")
ENVIRONMENTS = ("CartPole-v1", "Pendulum-v1", "Acrobot-v1", "InvertedPendulum-v5")

_SAMPLES, _FEWEST = 256, 16
_ENV = "env:"
_OF_ENVIRONMENTS = ("symmetry", "kappa", "gamma")
_BELOW_ONE = click.FloatRange(0, 1, max_open=True)


@click.command("check", cls=cli.Verb)
@click.argument("subject", metavar="MODEL INPUTS | env:NAME")
@click.argument("inputs", required=False, metavar="")
@settings("layer", *cli.GROUP)
@option(
    "--output",
    "How the outputs move: invariant; maps, as the inputs do; or regular, by the regular "
    "representation on channels f |G| + g, and maps of images as these, too.",
    OUTPUTS[0],
)
@option(
    "--symmetry",
    "With env: the function that returns the maps of states and of actions, as module:function or "
    "file.py:function. By default the reflection that is built in.",
)
@option(
    "--kappa",
    "With env: break the symmetry. Positive actions lose this share of their strength, and cost "
    "a toll.",
    kind=_BELOW_ONE,
)
@option("--gamma", "With env: the discount.", 0.99, _BELOW_ONE)
@settings(*cli.IMAGES, *cli.RUN, n_samples=_SAMPLES)
@settings(*cli.POINTS, "random_weights", expert=True)
@settings(*cli.IMAGES_FOR_EXPERTS, *cli.AUTOENCODER, expert=True)
@cli.common("runs/check-MODEL-INPUTS, or runs/check-NAME")
def check_command(subject: str, inputs: str | None, out: Path | None, **values: Any) -> cli.Result:
    """Check whether a group is a symmetry of a network, or two maps are one of an environment.

    MODEL is mlp, cnn, vit, hf:NAME, python:FILE.py:FUNCTION, ...; INPUTS is shapes, digits, ..., a
    folder of images, or a .npz or .npy file. recipe:NAME is the network that a recipe has kept, and
    its inputs. The output for moved inputs is compared with the output as it should move, beside
    two wrong groups; --layer takes a layer instead of the output. At most 256 inputs are used;
    --n-samples changes this number.

    env:NAME is an environment of Gymnasium, or env:FILE.py:NAME a class or function of your own. It
    steps from states and from moved states; where the state cannot be set, a model is fitted to
    rollouts. --n-samples is the number of states or transitions.
    """
    if subject.startswith(_ENV):
        name = subject.removeprefix(_ENV)
        return _check_environment(name, inputs, out or _folder(name), **values)
    if inputs is None:
        raise OrbitLensError(
            "`orbitlens check`",
            expected="MODEL INPUTS, or env:NAME",
            received=f"{subject!r} alone",
            remedy=f"write env:{subject} for an environment"
            if subject in ENVIRONMENTS
            else "name the inputs too, such as digits",
        )
    out = out or _folder(cli.name_of_both(subject, inputs))
    return _check_network(subject, inputs, out, **values)


def _folder(subject: str) -> Path:
    words = re.sub(r"[^\w.-]+", "-", subject)
    return Path("runs") / f"check-{words}"


def _check_network(
    model: str, inputs: str, out: Path, *, resume: bool, console: Console, **values: Any
) -> cli.Result:
    _refuse(_OF_ENVIRONMENTS, "with MODEL INPUTS")
    output = values.pop("output")
    if output not in OUTPUTS:
        raise unknown_name("`output`", output, OUTPUTS)
    of_inputs = {name: each for name, each in values.items() if name not in _OF_ENVIRONMENTS}
    run = cli.config_of({**of_inputs, "source": inputs, "model": model}, {"n_samples": _SAMPLES})
    from orbitlens.pipeline._check_network import NetworkCheckConfig, run_network_check

    record = run_network_check(NetworkCheckConfig(run, output), out, resume=resume, console=console)
    check = record["check"]
    lines = [
        f"the network gets {record['inputs']['given']}",
        *_table(check),
        check["sentence"],
        f"table: {out / 'elements.csv'}",
        f"page: {out / 'report' / 'index.html'}",
    ]
    return record, lines


def _check_environment(
    name: str, inputs: str | None, out: Path, *, resume: bool, console: Console, **values: Any
) -> cli.Result:
    own = ("seed", "n_samples", *_OF_ENVIRONMENTS)
    _refuse([each for each in values if each not in own], "with env:NAME")
    if inputs is not None:
        raise OrbitLensError(
            "`orbitlens check`",
            expected="env:NAME alone",
            received=f"{inputs!r} after it",
            remedy="leave it out; the environment makes its own states",
        )
    samples = values["n_samples"] if cli.given("n_samples") else None
    _check_names(name, values["symmetry"])
    if samples is not None:
        from orbitlens.checks import as_count

        as_count("n_samples", samples, least=_FEWEST)
    from orbitlens.pipeline._check_environment import (
        EnvironmentCheckConfig,
        run_environment_check,
    )

    config = EnvironmentCheckConfig(
        environment=name,
        n_samples=samples,
        seed=values["seed"],
        **{each: values[each] for each in _OF_ENVIRONMENTS},
    )
    record = run_environment_check(config, out, resume=resume, console=console)
    check = record["check"]
    lines = [
        *(
            f"{words:<38} {_errors(check, key, eps)}"
            for key, eps, words in (
                ("reward", "eps_r", "|r(gs, ga) - r(s, a)|"),
                ("transition", "eps_p", "||s'(gs, ga) - g s'(s, a)||"),
            )
        ),
        check["sentence"],
        f"|Q*(s, a) - Q*(gs, ga)| <= {number(check['q_bound']['rewards'])} + "
        f"{number(check['q_bound']['per_slope'])} times the slope of V*, under gamma "
        f"{check['gamma']:g}, on the states that were judged and for equal ends of episodes",
        *check["notes"],
        f"table: {out / 'errors.csv'}",
        f"page: {out / 'report' / 'index.html'}",
    ]
    return record, lines


def _errors(check: Mapping[str, Any], key: str, eps: str) -> str:
    """Return the errors that eps stands for: the largest one, or that beyond the model's own."""
    found = check[key]
    if check["judged_by"] == "model":
        return (
            f"root mean square {number(found['rms'])}, of the model itself "
            f"{number(found['model'])}, beyond it {number(check[eps])}"
        )
    return (
        f"mean {number(found['mean'])}, deviation {number(found['std'])}, largest "
        f"{number(found['max'])}"
    )


def _check_names(name: str, symmetry: str | None) -> None:
    """Check the name of an environment and the form of its symmetry, before anything has loaded."""
    if not name:
        raise OrbitLensError(
            "`orbitlens check`",
            expected="env:NAME",
            received="no name",
            remedy="write for example env:Pendulum-v1",
        )
    if name.endswith(".py"):
        raise OrbitLensError(
            "`orbitlens check`",
            expected="env:FILE.py:NAME",
            received=f"env:{name}",
            remedy="name the class or function in it that returns the environment",
        )
    _check_file("`orbitlens check`", name.rpartition(":")[0])
    if symmetry is None:
        return
    where, _, function = symmetry.rpartition(":")
    if not (where and function):
        raise OrbitLensError(
            "`symmetry`",
            expected="module:function or path/to/file.py:function",
            received=repr(symmetry),
            remedy="name the function that returns the maps of states and of actions",
        )
    _check_file("`symmetry`", where)


def _check_file(subject: str, where: str) -> None:
    if where.endswith(".py") and not Path(where).expanduser().is_file():
        raise OrbitLensError(
            subject,
            expected="an existing file",
            received=f"{where}, not there",
            remedy="check the path",
        )


def _refuse(names: Sequence[str], where: str) -> None:
    """Refuse options that would have no effect."""
    flags = ", ".join("--" + name.replace("_", "-") for name in sorted(names) if cli.given(name))
    if flags:
        raise OrbitLensError(
            "`orbitlens check`",
            expected=f"no {flags} {where}",
            received=flags,
            remedy="leave it out",
        )


def _table(check: Mapping[str, Any]) -> list[str]:
    """Return a line for each element: its error, and those of the wrong groups."""
    wrong = {key: group["name"] for key, group in check["wrong_groups"].items() if group}
    rows = [row for row in check["elements"] if row["mean"] is not None]
    names = [", ".join(filter(None, (row["element"], row["words"]))) for row in rows]
    width = max(map(len, names), default=0)
    lines = []
    for name, row in zip(names, rows, strict=True):
        others = [
            f", with {each} {number(_judged(row[key]))}" for key, each in wrong.items() if row[key]
        ]
        lines.append(f"{name:<{width}}  {_error(row)}{''.join(others)}")
    return lines


def _judged(row: Mapping[str, Any]) -> float:
    """Return the error that counts: without random numbers where the function draws some."""
    error: float = row["mean"] if row["expected"] is None else row["expected"]
    return error


def _error(row: Mapping[str, Any]) -> str:
    spread = (
        f"middle 80% of inputs {number(row['low'])} to {number(row['high'])}, largest "
        f"{number(row['largest'])}"
    )
    if row["expected"] is None:
        return f"error {number(row['mean'])} ({spread})"
    known = (
        f"error {number(row['expected'])} without random numbers"
        if row["expected"] > row["hidden"]
        else f"no error above {number(row['hidden'])}"
    )
    return f"{known} (in one call {number(row['mean'])}, {spread})"
