"""Packages that hand names on without loading their homes before they are used (PEP 562)."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package whose names load on first use.

    Args:
        package: The package. Its `__all__` is what `dir` shows; its modules load by name too.
        homes: For each module the names that come from it, as after `from module import`.
    """
    face = sys.modules[package]
    found = {
        words[-1]: (module, words[0])
        for module, names in homes.items()
        for words in (name.split() for name in names.split(","))
    }

    def load(name: str) -> Any:
        if name in found:
            module, original = found[name]
            value = getattr(import_module(module), original)
        elif not name.startswith("_") and find_spec(f"{package}.{name}"):
            value = import_module(f"{package}.{name}")
        else:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=face)
        setattr(face, name, value)
        return value

    return load, lambda: sorted(
        [*vars(face)["__all__"], *(name for name in vars(face) if name[:2] == "__")]
    )
