"""The program `orbitlens`: its verbs, and one line for every error.

Bad input ends in one line on standard error and exit code 2. Standard output holds the result; with
--json it holds the record and nothing else.
"""

import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Never, final

try:
    import click
except ImportError:
    sys.exit("orbitlens: click is missing; pip install 'orbitlens[all]'")

from orbitlens import __version__
from orbitlens.cli._threads import set_up_threads
from orbitlens.errors import OrbitLensError, one_line, printable, without_credentials
from orbitlens.files import place_error
from orbitlens.processes import Terminated, listening_to_signals

VERBS = ["run", "plan", "harvest", "import", "transport", "check", "train", "probe", "report"]
VERBS += ["reproduce"]
# The folder of an unfinished run tells another way to continue, see `RunFolder`.
_NO_READER = 128 + signal.SIGPIPE
_NOTHING = "nothing was kept, give the same command again"


@final
class Verbs(click.Group):
    """The verbs in the order of the work; the module of a verb loads when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the verbs."""
        return VERBS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb; for an unknown name load all, so that click can suggest one."""
        for name in (cmd_name,) if cmd_name in VERBS else VERBS:
            module = import_module(f"orbitlens.cli.{name}_command")
            self.commands[name] = getattr(module, f"{name}_command")
        return self.commands.get(cmd_name)


@click.command("orbitlens", cls=Verbs, help="Sparse autoencoders that know the symmetries of data.")
@click.version_option(__version__)
def commands() -> None:
    """Hold the verbs."""


@listening_to_signals()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command; those of the process by default.

    Raises:
        SystemExit: With 0 for success, 2 for bad input, a full disk or too little memory, 130 after
            Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, 141 if nobody reads the result.
    """
    set_up_threads()
    try:
        code = commands.main(arguments, prog_name="orbitlens", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        sys.exit(0)
    except click.ClickException as error:
        _end(error.format_message())
    except OrbitLensError as error:
        _end(str(error))
    except BrokenPipeError:
        # The reader of the result has left, as `head` does; everything is in its files.
        sys.exit(_NO_READER)
    except OSError as error:
        _end(str(place_error(error.filename or "the system", error, "a place to read and write")))
    except (KeyboardInterrupt, click.Abort) as error:
        _end(f"interrupted; {str(error.__cause__ or error) or _NOTHING}", 130)
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        received = one_line(error) if str(error) else "too little"
        remedy = "lower --n-samples, --image-size or --d-sae"
        _end(f"memory: expected enough for the work, received {received}; {remedy}")
    except Terminated as error:
        word = "terminated" if error.number == signal.SIGTERM else "hung up"
        _end(f"{word}; {str(error) or _NOTHING}", error.code)
    sys.exit(code if isinstance(code, int) else 0)


def _lacks_memory(error: Exception) -> bool:
    # torch raises RuntimeErrors, of the CPU and of other devices.
    words = ("allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(each in str(error) for each in words)


def _end(message: str, code: int = 2) -> Never:
    line = printable(without_credentials(" ".join(message.split())))
    print("orbitlens:", line, file=sys.stderr)  # noqa: T201
    sys.exit(code)
