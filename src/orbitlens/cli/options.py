"""Code that the verbs share: the class of their commands, options, and formats of numbers."""

import re
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, final, get_args

import click
from click.shell_completion import CompletionItem

from orbitlens.errors import OrbitLensError, printable, without_credentials
from orbitlens.files import TO_READ, as_path, one_line_errors, place_error, to_json
from orbitlens.models._kept import INPUTS, kept_folder, kept_record
from orbitlens.pipeline import Console, RunConfig
from orbitlens.pipeline._given_source import SOURCES, is_array_source
from orbitlens.pipeline.config import AUTOENCODERS

Result = tuple[Mapping[str, Any], list[str]]  # the record, and lines for a reader
Command = Callable[..., Result]

GROUP = ("group", "action", "interpolation")
POINTS = ("axis", "centred")
IMAGES = ("n_samples", "image_size", "normalise")
IMAGES_FOR_EXPERTS = ("channels", "crop", "unreadable", "white")
AUTOENCODER = ("model_samples", "model_epochs")
RUN = ("seed", "device")

NO_READER = 128 + signal.SIGPIPE
"""The exit code if nobody reads the result."""

_ALL = "orbitlens.help-all"
_NETWORKS = ("hf:", "timm:", "torchvision:", "onnx:", "python:", "recipe:")


@final
class ExpertOption(click.Option):
    """An option that help shows only with --help-all."""


@final
class Verb(click.Command):
    """A verb: its function gets a console and returns a result, which is printed as asked.

    `renamed` maps old names of options, which still work and are not shown, to the new ones.
    """

    def __init__(self, *args: Any, renamed: Mapping[str, str] | None = None, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self._renamed = renamed or {}
        self._has_experts = any(isinstance(option, ExpertOption) for option in self.params)
        self.params += [_JSON, _HELP_ALL] if self._has_experts else [_JSON]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words of the command, old names of options among them."""
        words = [word.partition("=") for word in args]
        known = {name for option in self.params for name in option.opts}
        for name, *_ in words:
            if name[:1] == "-" and f"-{name}" in known:
                raise click.NoSuchOption(name, possibilities=[f"-{name}"], ctx=ctx)
        return super().parse_args(
            ctx, ["".join((self._renamed.get(name, name), *rest)) for name, *rest in words]
        )

    def invoke(self, ctx: click.Context) -> None:
        """Run the verb and print its record alone as JSON, or lines for a reader."""
        as_json = ctx.params.pop("as_json")
        console = ctx.params["console"] = Console(quiet=as_json)
        with console.hearing():
            record, lines = super().invoke(ctx)
        shown = (printable(without_credentials(line)) for line in lines)
        _show(to_json(record) if as_json else "\n".join(shown))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, and those for experts in a section of their own or not at all."""
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        for title, expert in {"Options": False, "Options for experts": True}.items():
            shown = [option for option in options if isinstance(option, ExpertOption) == expert]
            if shown and (_ALL in ctx.meta or not expert):
                with formatter.section(title):
                    formatter.write_dl([row for o in shown if (row := o.get_help_record(ctx))])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Name the command that shows the options for experts, if this help leaves them out."""
        if self._has_experts and _ALL not in ctx.meta:
            formatter.write_paragraph()
            formatter.write_text(f"More options, for experts: {ctx.command_path} --help-all")


def _show(result: str) -> None:
    try:
        click.echo(result)
    except BrokenPipeError:
        # The reader has left, as `head` does; the result is in its files.
        sys.exit(NO_READER)
    except OSError as error:
        raise place_error("standard output", error, "a place for the result") from error


def _show_all(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    del param
    if value and not ctx.resilient_parsing:
        ctx.meta[_ALL] = True
        click.echo(ctx.get_help())
        ctx.exit()


_JSON = click.Option(
    ["--json", "as_json"], is_flag=True, help="Print the result as JSON and nothing else."
)
_HELP_ALL = click.Option(
    ["--help-all"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_all,
    help="Show all options and exit.",
)


@final
class List(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Values of a kind with commas between them."""

    def __init__(self, kind: type, name: str, expected: str) -> None:
        self._kind, self.name, self._expected = kind, name, expected

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the values, or fail with the text."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in value.split(",")]
        with suppress(ValueError):
            if all(parts):
                return tuple(self._kind(part) for part in parts)
        return self.fail(f"{value!r} is not a list of {self._expected}", param, ctx)


NAMES = List(str, "name,name,...", "names such as a,b,c")
NUMBERS = List(int, "n,n,...", "whole numbers such as 1,4,16")
_LISTS: dict[Any, Any] = {tuple[str, ...]: NAMES, tuple[int, ...]: NUMBERS}


@final
class Automatic(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A number, or auto, which is None."""

    name = "number|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number or None, or fail with the text."""
        if value is None or isinstance(value, float):
            return value
        with suppress(ValueError):
            return None if value == "auto" else float(value)
        return self.fail(f"{value!r} is neither a number nor auto", param, ctx)


@final
class AtLeast(click.IntRange):
    """A whole number from a smallest one; click calls its text an integer range."""

    name = "integer"


@final
class Folder(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A local path, as such or as a file:// URL; other URLs would make folders of odd names."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail with the URL."""
        if "://" not in str(value):
            as_path("out", value)
            return Path(value)  # named in messages as it was typed
        protocol, rest = str(value).split("://", 1)
        if protocol not in ("file", "local"):
            self.fail(f"expected a local folder, received {value}; give a path", param, ctx)
        return as_path("out", rest)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Let the shell complete the names of folders."""
        return [CompletionItem(incomplete, type="dir")]


def option(
    flag: str, help: str, default: Any = None, kind: Any = None, *, expert: bool = False
) -> Callable[[Command], Command]:
    """Give a command an option; its default is shown in help."""
    return click.option(
        flag,
        cls=ExpertOption if expert else click.Option,
        is_flag=isinstance(default, bool),
        type=kind,
        default=default,
        show_default=default is not None and default is not False,
        help=help,
    )


def settings(*names: str, expert: bool = False, **defaults: Any) -> Callable[[Command], Command]:
    """Give a command one option per field of `RunConfig`; some verbs have defaults of their own."""
    known = {entry.name: entry for entry in fields(RunConfig)}

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            entry, flag = known[name], "--" + name.replace("_", "-")
            kind = get_args(entry.type)[0] if isinstance(entry.type, UnionType) else entry.type
            kind = Automatic() if entry.type == float | None else _LISTS.get(kind, kind)
            default = defaults.get(name, entry.default)
            command = option(flag, entry.metadata["help"], default, kind, expert=expert)(command)
        return command

    return decorate


def common(out: str) -> Callable[[Command], Command]:
    """Give a command the options of every verb that writes a folder."""
    where = option("--out", f"Local folder to write. Default: {out}.", kind=Folder())
    resume = option("--resume", "Continue an interrupted command.", default=False)
    return lambda command: where(resume(command))


workers = option("--workers", "Processes that run the network.", 1, AtLeast(1))


def given(name: str) -> bool:
    """Return whether the user gave an option of the running command."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not click.core.ParameterSource.DEFAULT


def config_of(values: Mapping[str, Any], presets: Mapping[str, Any]) -> RunConfig:
    """Return the settings: given options, else presets, else the defaults of the source."""
    from orbitlens.groups import from_name, turns_of_images
    from orbitlens.models import check_model_file

    chosen = {name: value for name, value in presets.items() if name in values}
    chosen |= {name: value for name, value in values.items() if given(name)}
    config = RunConfig.for_source(**chosen)
    if not config.source and given("source"):
        raise OrbitLensError(
            "`source`",
            expected="a name, a folder or a file",
            received="an empty text",
            remedy="name one, such as shapes; the folder where you are is .",
        )
    if config.layer == "":
        raise OrbitLensError(
            "`layer`",
            expected="the dotted name of a layer",
            received="an empty text",
            remedy="name one, or leave it out for the default",
        )
    # A run folder may outlive the file of its network, so that the settings do not ask for it.
    check_model_file(config.model)
    # Arrays that are no images need an action first; their shape tells, and is read later.
    if config.source and config.action == "images" and not is_array_source(config.source):
        turns_of_images(from_name(config.group), config.interpolation)
    return config


def name_of(source: str) -> str:
    """Return the name of a source in that of its run folder.

    Example:
        >>> name_of("dna/data.npz"), name_of("builtin:cells"), name_of("images.v2/")
        ('data', 'cells', 'images.v2')
    """
    path = Path(source.removeprefix("builtin:")).expanduser().resolve()
    beside = path.parent if path.name == INPUTS else source
    if kept_folder(str(beside)) is not None:
        return name_of_model(str(beside))
    return path.stem if is_array_source(str(path)) else path.name


def name_of_model(model: str) -> str:
    """Return the name of a network in that of its run folder.

    Example:
        >>> name_of_model("torchvision:vit_b_16")
        'torchvision-vit_b_16'
    """
    kept, name = kept_folder(model), Path(model).expanduser().resolve().name
    name = name if kept is None else kept_record(kept).get("name", kept.name)
    return re.sub(r"[^\w.-]+", "-", name)


def name_of_both(model: str, source: str) -> str:
    """Return the name of a network and a source in that of their run folder; once if it is one."""
    names = (name_of_model(model), name_of(source))
    return "-".join(dict.fromkeys(names) if kept_folder(model) else names)


def check_activations(place: str) -> None:
    """Check that a local store is there, before what reads it has loaded."""
    path = Path(place).expanduser()
    with one_line_errors(place, TO_READ):
        missing = "://" not in place and not path.exists()
    if missing:
        raise OrbitLensError(
            f"store {path.absolute()}",
            expected="the folder of a store",
            received="no such path",
            remedy=_way_to_a_store(place),
        )


def _way_to_a_store(place: str) -> str:
    """Return what to do where no store is; a source or a network may have been meant."""
    if place in SOURCES:
        return f"make one with `orbitlens harvest {place}`"
    if place in AUTOENCODERS or place.startswith(_NETWORKS):
        return f"for a report on this network, write `orbitlens transport {place} INPUTS`"
    return "give the path that the store was written to"


def number(value: float | None) -> str:
    """Format a number with three significant digits; None is a dash."""
    return "-" if value is None else f"{value:.3g}"


def r2(value: float | None) -> str:
    """Format R^2 with four decimals: the difference between 0.998 and 0.9998 matters."""
    return "-" if value is None else f"{value:.4f}"


def diverged(saes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a line for each SAE whose training diverged."""
    return [
        f"{name}: diverged, its loss was not finite at some step; give a lower --lr"
        for name, sae in saes.items()
        if sae["status"] == "diverged"
    ]
