"""Packages that hand names on without loading their homes before they are used (PEP 562)."""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any


def lazy_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package whose names load on first use.

    The names are those that the package imports under TYPE_CHECKING. So they stand in one place,
    for readers, for type checkers and for this function.

    A name may be that of a module of the package as well, as `symmetrize` is. The name is what
    the package hands on, whether or not the module has been loaded before.

    Args:
        package: The name of the package. Its modules load by name, too.
    """
    face = sys.modules[package]
    homes = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in ast.walk(ast.parse(Path(str(face.__file__)).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module != package
        for alias in node.names
    }

    class Face(ModuleType):
        def __setattr__(self, name: str, value: Any) -> None:
            # Python binds each module that it loads to its package, over a name alike.
            if not (name in homes and value is sys.modules.get(f"{package}.{name}")):
                super().__setattr__(name, value)

    def load(name: str) -> Any:
        if name in homes:
            module, original = homes[name]
            value = getattr(import_module(module), original)
        elif not name.startswith("_") and find_spec(f"{package}.{name}"):
            value = import_module(f"{package}.{name}")
        else:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=face)
        setattr(face, name, value)
        return value

    def names() -> list[str]:
        own = (name for name in vars(face) if name.startswith("__"))
        return sorted([*own, *vars(face)["__all__"]])

    face.__class__ = Face
    return load, names
