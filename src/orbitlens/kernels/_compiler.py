"""The loops of `kernels.c`, compiled for this machine and run by torch's own threads.

A thread of torch that has done its share keeps its core busy for some milliseconds, in case there
is more to do. The threads of another pool share the core with it: of two cores, two threads of
Python's pool were no faster than one. So a loop is handed to the pool that torch uses, the OpenMP
runtime that `libtorch_cpu` is linked with.

The compiler is the machine's own, `$CC` or `cc`, and what it made is kept in the cache folder.
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
from orbitlens.typing import Tensor

_SOURCE = Path(__file__).with_name("kernels.c")
_FLAGS = (
    *("-O3", "-march=native", "-shared", "-fPIC"),
    # Sums may be taken in any order, one that the shape decides.
    *("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
)
_SECONDS = 120
"""After which a compiler is given up."""
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
    """Let every thread of torch run a kernel, of which each takes a share of the rows.

    Args:
        kernel: A function of `kernels.c`.
        arguments: What follows the pool in its arguments: numbers, and tensors on the CPU that lie
            in one piece, as their addresses.

    Raises:
        RuntimeError: If the kernels cannot be compiled here.
    """
    start, pool = _pool()
    numbers = [a if isinstance(a, int) else a.data_ptr() for a in arguments]
    packed = np.array([*pool, *numbers], dtype=np.int64)
    threads = ctypes.c_uint(torch.get_num_threads())
    address = ctypes.c_void_p(packed.ctypes.data)
    start(getattr(_library(), kernel), address, threads, ctypes.c_uint(0))


@cache
def _pool() -> tuple[Any, tuple[int | None, ...]]:
    """What starts a function in all threads, and the addresses that tell a thread its number."""
    library = runtime()
    if library is None:
        raise RuntimeError("torch's threads are out of reach")
    told = (library.omp_get_thread_num, library.omp_get_num_threads)
    return library.GOMP_parallel, tuple(ctypes.cast(f, ctypes.c_void_p).value for f in told)


@cache
def _library() -> ctypes.CDLL:
    """The compiled kernels, from the cache folder if they were compiled before."""
    made = _place()
    if not _is_whole(made):
        try:
            made.parent.mkdir(parents=True, exist_ok=True)
            _compile(made)
        except OSError:  # nobody may write there; what is loaded needs no file any more
            with tempfile.TemporaryDirectory(prefix="orbitlens-") as folder:
                made = Path(folder) / made.name
                _compile(made)
                return ctypes.CDLL(os.fspath(made))
    return ctypes.CDLL(os.fspath(made))


def _is_whole(made: Path) -> bool:
    """Whether a file ends with its checksum: a part of a library would end the process."""
    try:
        content = made.read_bytes()
    except OSError:
        return False
    return content[-_DIGEST:] == hashlib.sha256(content[:-_DIGEST]).digest()


def _place() -> Path:
    """Where kernels lie that were compiled from this source for such a machine."""
    processor = Path("/proc/cpuinfo")
    told = processor.read_text() if processor.exists() else ""
    features = next((line for line in told.splitlines() if line.startswith(("flags", "Feat"))), "")
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
        # What comes after the library itself is not looked at when it is loaded.
        target.write_bytes(content + hashlib.sha256(content).digest())
        target.replace(made)
