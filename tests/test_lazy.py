"""Packages hand their names on, whatever was loaded before."""

import subprocess
import sys

import pytest

LOAD_ALL = """
import pkgutil, sys
from importlib import import_module
from types import ModuleType

import orbitlens

names_first = sys.argv[1] == "names first"
faces = [found.name for found in pkgutil.walk_packages(orbitlens.__path__, "orbitlens.")
         if found.ispkg]
for face in map(import_module, ["orbitlens", *faces]):
    modules = {found.name for found in pkgutil.iter_modules(face.__path__)}
    for name in sorted(modules & set(getattr(face, "__all__", ()))):
        first = getattr(face, name) if names_first else None
        module = import_module(f"{face.__name__}.{name}")
        handed = getattr(face, name)
        right = handed is (getattr(module, name) if hasattr(module, name) else module)
        same = not names_first or first is handed
        print("right" if right and same else "wrong", f"{face.__name__}.{name}")
"""


@pytest.mark.parametrize("order", ["names first", "modules first"])
def test_a_name_stays_the_verb_when_the_module_of_its_name_is_loaded(order: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD_ALL, order],
        capture_output=True,
        text=True,
        check=True,
    )
    said = ran.stdout.splitlines()
    assert [line for line in said if not line.startswith("right ")] == []
    assert {"right orbitlens.symmetry.symmetrize", "right orbitlens.symmetry.relax.meta_learn"} <= (
        set(said)
    )
