"""Loops compiled by Numba, run by torch's own threads.

A thread of torch that has done its share keeps its core busy for some milliseconds, in case there
is more to do. The threads of another pool share the core with it: of two cores, two threads of
Python's or Numba's pool were no faster than one. So a loop is handed to the pool that torch uses,
the OpenMP runtime that `libtorch_cpu` is linked with. Where that does not know GNU's entry point,
`available` says so and everything stays with torch.

This module imports Numba; `sparse_kernels` imports it where Numba is there.
"""

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, no_type_check

import llvmlite.binding as llvm
import numpy as np
import torch
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

from orbitlens.typing import Tensor

_WANTED = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
_FLAGS = {"nsz", "contract", "reassoc"}
"""Sums may be taken in any order, one that the shape decides: the same bits every time."""


def _runtime() -> dict[str, Any]:
    """The entry points of torch's OpenMP runtime; none where they are called otherwise."""
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        found = ctypes.CDLL(os.fspath(library))
        return {name: getattr(found, name) for name in _WANTED}
    except (OSError, AttributeError):
        return {}


_RUNTIME = _runtime()
for _name, _entry in _RUNTIME.items():
    llvm.add_symbol(f"orbitlens_{_name}", ctypes.cast(_entry, ctypes.c_void_p).value)
_thread = types.ExternalFunction("orbitlens_omp_get_thread_num", types.int32())
_threads = types.ExternalFunction("orbitlens_omp_get_num_threads", types.int32())


def available() -> bool:
    """Say whether torch's threads can be given work."""
    return bool(_RUNTIME)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function that kernels call."""
    return njit(fastmath=_FLAGS, error_model="numpy")(function)


def kernel(function: Callable[..., Any]) -> Callable[[], Any]:
    """Let a kernel, which takes the address of its arguments, be compiled when it is first used."""
    return cache(lambda: cfunc(types.void(types.CPointer(types.int64)))(function))


def run(kernel: Callable[[], Any], *arguments: Tensor | int) -> None:
    """Let every thread of torch run a kernel, of which each takes a `share` of the rows.

    Args:
        kernel: What `kernel` returned.
        arguments: Numbers, and tensors on the CPU that lie in one piece, as their addresses.
    """
    packed = np.array([a if isinstance(a, int) else a.data_ptr() for a in arguments], np.int64)
    threads = ctypes.c_uint(torch.get_num_threads())
    own, data = ctypes.c_void_p(kernel().address), ctypes.c_void_p(packed.ctypes.data)
    _RUNTIME["GOMP_parallel"](own, data, threads, ctypes.c_uint(0))


@compiled
@no_type_check
def share(rows):
    """The first and the last row but one of this thread."""
    thread, threads = _thread(), _threads()
    return rows * thread // threads, rows * (thread + 1) // threads


def _at(kind: Any) -> Any:
    """Make an address a pointer to numbers of a kind."""

    @intrinsic
    @no_type_check
    def pointer(context, address):
        del context, address

        def code(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), code

    return pointer


_float32_at, _int64_at, _int16_at = map(_at, (types.float32, types.int64, types.int16))


@compiled
@no_type_check
def numbers(address):
    """The arguments of a kernel."""
    return carray(address, 16)


@compiled
@no_type_check
def floats(address, shape):
    """An argument that is a tensor of float32."""
    return carray(_float32_at(address), shape)


@compiled
@no_type_check
def longs(address, shape):
    """An argument that is a tensor of int64."""
    return carray(_int64_at(address), shape)


@compiled
@no_type_check
def shorts(address, shape):
    """An argument that is a tensor of 16 bits each."""
    return carray(_int16_at(address), shape)
