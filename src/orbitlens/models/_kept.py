"""Folders of kept networks: which ones a name stands for, and what their records say.

This file imports nothing heavy, so that the command line tells a wrong name at once.
"""

import json
import os
from pathlib import Path
from typing import Any

from orbitlens.errors import DamageError, OrbitLensError, unknown_name
from orbitlens.files import digest_of_file, read_json
from orbitlens.reproduce._locate import BUDGETS, locate, names

RECORD, WEIGHTS, INPUTS = "network.json", "network.safetensors", "inputs.npz"
NETWORKS = "networks"
"""The folder in a run of a recipe with one folder for each network that it keeps."""
_RECIPE = "recipe:"
_RUNS = Path("runs")
_KEEPS = "keep_network"  # what the program of a recipe calls that keeps networks


def kept_folder(name: str) -> Path | None:
    """Return the folder of a kept network that a name stands for; None if it is another name.

    The name is the path of the folder, "recipe:NAME" or "recipe:NAME/ARM". Of a recipe it is the
    newest among runs/NAME-smoke, -small, -medium and -full that hold such a network. Without ARM it
    is the only network that they hold, or the one that the recipe calls its main one.

    Raises:
        OrbitLensError: If there is no such recipe, if it was not run, or if it keeps several
            networks, none of which is the main one, and the name does not say which.
    """
    if name.startswith(_RECIPE):
        recipe, _, arm = name.removeprefix(_RECIPE).partition("/")
        return _of_recipe(recipe, arm)
    path = Path(os.path.expanduser(name))
    try:
        return path.resolve() if name and (path / RECORD).is_file() else None
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return None


def _of_recipe(recipe: str, arm: str) -> Path:
    if recipe not in names():
        raise unknown_name("recipe", recipe, names())
    runs = [_RUNS / f"{recipe}-{budget}" / NETWORKS for budget in BUDGETS]
    found = [path.parent for run in runs for path in sorted(run.glob(f"*/{RECORD}"))]
    # A name with a dot in front is that of a network that was being written.
    kept = [path for path in found if not path.name.startswith(".")]
    if not kept:
        raise _none_kept(recipe)
    arms = sorted({path.name for path in kept})
    if not arm and len(arms) > 1:
        main = {path.name for path in kept if kept_record(path).get("main")}
        arm = main.pop() if len(main) == 1 else ""
    if arm not in arms and (arm or len(arms) > 1):
        raise OrbitLensError(
            f"{_RECIPE}{recipe}{'/' * bool(arm)}{arm}",
            expected=f"one of {', '.join(f'{_RECIPE}{recipe}/{each}' for each in arms)}",
            received=arm or "none of them",
            remedy="name one of these",
        )
    fitting = [path for path in kept if path.name == (arm or arms[0])]
    # Of two that are as new, that of the larger budget.
    return max(
        fitting, key=lambda path: ((path / RECORD).stat().st_mtime, kept.index(path))
    ).resolve()


def _none_kept(recipe: str) -> OrbitLensError:
    text = (locate(recipe) / "run.py").read_text(encoding="utf-8")
    command = f"run `orbitlens reproduce {recipe}` first, here"
    return OrbitLensError(
        f"{_RECIPE}{recipe}",
        expected=f"a network that the recipe has kept, in runs/{recipe}-BUDGET/{NETWORKS}",
        received="none",
        remedy=f"{command}; of a run elsewhere, give the path of the network's folder"
        if _KEEPS in text
        else "this recipe keeps none; its page, README.md, says what it measures",
    )


def kept_record(folder: Path) -> dict[str, Any]:
    """Return what network.json says.

    Raises:
        DamageError: If it is no such file, was changed, or has no checksum.
    """
    path = folder / RECORD
    record = read_json(path)
    if "checksum" not in json.loads(path.read_bytes()):
        raise _unsealed(path, "its checksum")
    return record


def _unsealed(path: Path, lacks: str) -> DamageError:
    return DamageError(
        str(path),
        expected=f"a record with {lacks}, as it was written",
        received="one without",
        remedy="restore the folder, or make it again",
    )


def inputs_file(folder: Path) -> Path:
    """Return the file of the inputs that are kept beside a network.

    Raises:
        OrbitLensError: If there are none, or they are others than those that were kept.
    """
    path = folder / INPUTS
    if not path.is_file():
        raise OrbitLensError(
            f"inputs of {folder}",
            expected=f"{INPUTS} beside the network",
            received="none, it was kept without inputs",
            remedy="name a source, such as digits, a folder of images or a .npz file",
        )
    wanted = (kept_record(folder).get("inputs") or {}).get("digest")
    if wanted is None:
        raise _unsealed(folder / RECORD, f"the digest of {INPUTS}")
    found = digest_of_file(path)
    if wanted != found:
        raise DamageError(
            str(path),
            expected=f"the inputs that were kept, digest {wanted}",
            received=f"others, digest {found}",
            remedy="restore the folder, or run the recipe again",
        )
    return path
