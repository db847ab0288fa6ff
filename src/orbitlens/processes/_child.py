"""Processes that are bound to their parent before they import what they work with.

Torch takes seconds to import, and minutes on a busy machine. A process whose parent is killed in
the meantime would stay until then.
"""

from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.reduction import ForkingPickler
from typing import Any, final

from orbitlens.processes._parent import end_with_parent


def in_child(
    function: Callable[..., None], *arguments: object
) -> tuple[Callable[[bytes], None], tuple[Any]]:
    """Return target and arguments of a process of `multiprocessing` that calls a function.

    It first sees to it that it ends with its parent. Only then it unpacks the function and its
    arguments, and so imports their modules.
    """
    return _begin, (_Parcel((function, arguments)),)


@final
class _Parcel:
    """An object that arrives as bytes."""

    def __init__(self, content: object) -> None:
        self._content = content

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (bytes(ForkingPickler.dumps(self._content)),)


def _begin(parcel: bytes) -> None:
    parent = parent_process()
    end_with_parent(None if parent is None else parent.pid)
    function, arguments = ForkingPickler.loads(parcel)
    function(*arguments)
