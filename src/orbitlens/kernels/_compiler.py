"""The loops of `kernels.c`, compiled for this machine and run by torch's own threads.

An idle thread of torch keeps its core busy for some milliseconds, so threads of another pool would
share the core with it: on two cores, two threads of Python's pool were no faster than one. The
loops therefore run in torch's pool, the OpenMP runtime that `libtorch_cpu` is linked with.

The compiler is the machine's own, `$CC` or `cc`. The compiled library stays in the cache folder.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orbitlens.files import cache_folder
from orbitlens.kernels._threads import team_size
from orbitlens.typing import Tensor

_SOURCE = Path(__file__).with_name("kernels.c")
_FLAGS = (
    *("-O3", "-march=native", "-shared", "-fPIC"),
    # The compiler may reorder sums; the order then depends on the shape alone.
    *("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
)
_SECONDS = 120
"""Time limit of a compilation."""
_DIGEST = 32
"""Bytes of the checksum at the end of the file."""


def compiler() -> str | None:
    """Return the path of the C compiler, if there is one."""
    return shutil.which(os.environ.get("CC", "cc"))


@cache
def runtime() -> ctypes.CDLL | None:
    """Return torch's library if its OpenMP runtime has GNU's entry points, as LLVM's has too."""
    try:
        library = ctypes.CDLL(os.fspath(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    except OSError:
        return None
    wanted = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
    return library if all(hasattr(library, name) for name in wanted) else None


def run(kernel: str, *arguments: Tensor | int) -> None:
    """Run a function of `kernels.c` in every thread of the team, each on a share of the rows.

    Its arguments after the pool are whole numbers and contiguous tensors on the CPU. It raises a
    RuntimeError if the kernels cannot be compiled here.
    """
    start, pool = _pool()
    numbers = [a if isinstance(a, int) else a.data_ptr() for a in arguments]
    packed = np.array([*pool, *numbers], dtype=np.int64)
    threads = ctypes.c_uint(team_size())
    address = ctypes.c_void_p(packed.ctypes.data)
    start(getattr(_library(), kernel), address, threads, ctypes.c_uint(0))


@cache
def _pool() -> tuple[Any, tuple[int | None, ...]]:
    """The function that starts all threads, and the addresses that number and count them."""
    library = runtime()
    if library is None:
        raise RuntimeError("torch's threads are out of reach")
    counts = (library.omp_get_thread_num, library.omp_get_num_threads)
    return library.GOMP_parallel, tuple(ctypes.cast(f, ctypes.c_void_p).value for f in counts)


@cache
def _library() -> ctypes.CDLL:
    """Load the compiled kernels from the cache folder, or compile them first."""
    made = _place()
    if not _is_whole(made):
        try:
            made.parent.mkdir(parents=True, exist_ok=True)
            _compile(made)
        except OSError:  # the folder is not writable; a loaded library needs no file
            with tempfile.TemporaryDirectory(prefix="orbitlens-") as folder:
                made = Path(folder) / made.name
                _compile(made)
                return ctypes.CDLL(os.fspath(made))
    return ctypes.CDLL(os.fspath(made))


def _is_whole(made: Path) -> bool:
    """Whether a file ends with its checksum; loading a truncated library ends the process."""
    try:
        content = made.read_bytes()
    except OSError:
        return False
    return content[-_DIGEST:] == hashlib.sha256(content[:-_DIGEST]).digest()


def _place() -> Path:
    """The path of kernels compiled from this source for this kind of processor."""
    processor = Path("/proc/cpuinfo")
    facts = processor.read_text() if processor.exists() else ""
    features = next((line for line in facts.splitlines() if line.startswith(("flags", "Feat"))), "")
    parts = (_SOURCE.read_text(), *_FLAGS, features)
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return cache_folder() / f"kernels-{name}.so"


def _compile(made: Path) -> None:
    """Compile to a temporary name beside the file and rename, so that it is whole or absent."""
    with tempfile.TemporaryDirectory(dir=made.parent, prefix=".kernels-") as folder:
        target = Path(folder) / made.name
        command = [compiler() or "cc", *_FLAGS, "-o", os.fspath(target), os.fspath(_SOURCE)]
        done = subprocess.run(  # noqa: S603 - the user's own compiler
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip() or f"{command[0]} failed")
        content = target.read_bytes()
        # Bytes after the library itself are ignored when it is loaded.
        target.write_bytes(content + hashlib.sha256(content).digest())
        target.replace(made)
