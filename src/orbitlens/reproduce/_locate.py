"""The folder of recipes: beside the package in a checkout, inside it in an installation.

It loads nothing heavy, so that a wrong name is told at once.
"""

from pathlib import Path

from orbitlens.errors import OrbitLensError, unknown_name

BUDGETS = ("smoke", "small", "medium", "full")
_PACKAGE = Path(__file__).resolve().parents[1]
_PLACES = (_PACKAGE / "recipes", _PACKAGE.parents[1] / "recipes")


def names() -> list[str]:
    """Return the names of the recipes, in alphabetical order."""
    return sorted(path.parent.name for path in _folder().glob("*/run.py"))


def locate(name: str) -> Path:
    """Return the folder of a recipe, with its run.py, README.md, expected.csv and results.csv."""
    if name not in names():
        raise unknown_name("recipe", name, names())
    return _folder() / name


def _folder() -> Path:
    for place in _PLACES:
        if place.is_dir():
            return place
    raise OrbitLensError(
        "recipes",
        expected=f"a folder {_PLACES[0]}, or recipes/ in a checkout",
        received="neither",
        remedy="install OrbitLens again, or work in a checkout",
    )
