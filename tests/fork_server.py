"""Programs that start at once: forks of a process that has imported what all of them need."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SERVER = """
import json, os, runpy, sys

import matplotlib.figure, sklearn.cluster, torch._dynamo
import orbitlens.metrics, orbitlens.reproduce, orbitlens.symmetry, orbitlens.transport

def begin(folder, words):
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(os.open(f"{folder}/{name}", os.O_RDWR | os.O_CREAT), number)
    sys.argv = words
    sys.path[0] = os.path.dirname(words[0])

for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child == 0:
        begin(**request)
        runpy.run_path(request["words"][0], run_name="__main__")
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class ForkServer:
    """A process with torch and the package, and without the type checks of the tests.

    A fork is a process as another, but that it need not import them, which takes seconds.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a Python file with its arguments, with its streams as files in a new folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        folder.mkdir()
        print(
            json.dumps({"folder": str(folder), "words": words}),
            file=self._process.stdin,
            flush=True,
        )
        code = int(self._process.stdout.readline())
        said = ((folder / name).read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(words, code, *said)


@contextmanager
def fork_server(environment: Mapping[str, str]) -> Iterator[ForkServer]:
    """Start the process; end it with the context."""
    words = [sys.executable, "-c", SERVER]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        yield ForkServer(process)
