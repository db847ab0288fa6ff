"""What the commands of the command line share: options, and how results are written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from types import UnionType
from typing import Any, get_args

import click

from orbitlens.activations.store._address import address_of
from orbitlens.files import to_json
from orbitlens.pipeline import RunConfig

Command = Callable[..., None]

DATA = ("n_samples", "image_size", "unreadable")
WEIGHTS = ("random_weights", "model_samples", "model_epochs")
MODEL = ("model", "layer", "positions", *WEIGHTS)
GROUP = ("group", "interpolation")
RUN = ("seed", "device")


class Names(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Names with commas between them, as in C2,C4."""

    name = "name,name,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the names, or fail with what was given."""
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in value.split(","))
        if not all(names):
            self.fail(f"{value!r} is not a list of names such as a,b,c", param, ctx)
        return names


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Whole numbers with commas between them, as in 1,4,16."""

    name = "n,n,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the numbers, or fail with what was given."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 1,4,16", param, ctx)


class Folder(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A local path, as such or as a file:// URL; other URLs would make folders of odd names."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail with what was given."""
        address = address_of(value)
        if isinstance(address, str):
            self.fail(f"expected a local folder, received {value}; give a path", param, ctx)
        return address


def settings(*names: str) -> Callable[[Command], Command]:
    """Give a command one option per field of `RunConfig`, with its meaning and default."""
    known = {entry.name: entry for entry in fields(RunConfig)}

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            entry = known[name]
            kind = entry.type
            if isinstance(kind, UnionType):
                kind = get_args(kind)[0]
            flag = "--" + name.replace("_", "-")
            help_text = entry.metadata["help"]
            if kind is bool:
                option = click.option(flag, is_flag=True, default=entry.default, help=help_text)
            else:
                option = click.option(
                    *([flag, "--workers"] if name == "probe_threads" else [flag]),
                    type=kind if kind in (int, float, str) else Numbers(),
                    default=entry.default,
                    show_default=entry.default not in (None, ()),
                    help=help_text,
                )
            command = option(command)
        return command

    return decorate


def common(out: str) -> Callable[[Command], Command]:
    """Give a command the options that all verbs share."""

    def decorate(command: Command) -> Command:
        for option in (
            click.option("--json", "as_json", is_flag=True, help="Print the result record alone."),
            click.option("--resume", is_flag=True, help="Continue what was interrupted."),
            click.option(
                "--out",
                type=Folder(),
                help=f"Local folder to write; default {out}.",
            ),
        ):
            command = option(command)
        return command

    return decorate


def config_of(
    ctx: click.Context, values: Mapping[str, Any], presets: Mapping[str, Any]
) -> RunConfig:
    """What the user gave goes over the presets, and these over the defaults of the source."""
    default = click.core.ParameterSource.DEFAULT
    given = {k: v for k, v in values.items() if ctx.get_parameter_source(k) != default}
    return RunConfig.for_source(**{**{k: presets[k] for k in presets if k in values}, **given})


def print_record(as_json: bool, record: dict[str, Any], lines: Sequence[str]) -> None:
    """Print the record alone as JSON, or lines for a reader."""
    click.echo(to_json(record) if as_json else "\n".join(lines))


def number(value: float | None) -> str:
    """Three places, and a dash for nothing."""
    return "-" if value is None else f"{value:.3g}"


def r2(value: float | None) -> str:
    """Four places: the difference between 0.998 and 0.9998 matters."""
    return "-" if value is None else f"{value:.4f}"
