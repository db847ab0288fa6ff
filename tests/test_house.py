"""The rules of the house that a machine can check."""

import ast
import importlib
import inspect
import pkgutil
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import orbitlens
from orbitlens import objectives, sae, transport

from .house import MODULES, PACKAGE, ROOT, dependencies, promised

SOURCES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(path.parent for path in SOURCES if path.name == "__init__.py")
HEAVY = {
    *("sklearn", "scipy", "xgboost", "PIL", "matplotlib", "jinja2", "click", "rich"),
    *("transformers", "timm", "torchvision", "huggingface_hub", "h5py", "pyarrow"),
    *("gymnasium", "mujoco", "stable_baselines3"),
}


def modules() -> list[object]:
    names = [info.name for info in pkgutil.walk_packages(orbitlens.__path__, "orbitlens.")]
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]


def loaded_by(program: str) -> set[str]:
    words = [sys.executable, "-c", f"{program}\nimport sys; print(*sys.modules)"]
    done = subprocess.run(words, capture_output=True, check=True, text=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_the_library_loads_nothing_before_it_is_used() -> None:
    assert not loaded_by("import orbitlens") & {"torch", "numpy", *HEAVY}
    every_name = "import orbitlens as ol; [getattr(ol, name) for name in ol.__all__]"
    loaded = loaded_by(every_name)
    assert "torch" in loaded
    assert not loaded & HEAVY


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    lines = [line for group in (project["dependencies"], *extras) for line in group]
    declared = {re.split(r"[^A-Za-z0-9-]", line)[0] for line in lines}
    names = {"PIL": "pillow", "sklearn": "scikit-learn"}
    nodes = [node for module in MODULES.values() for node in ast.walk(module.tree)]
    imported = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    imported |= {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names}
    tops = {name.split(".")[0] for name in imported}
    # torch installs triton where it can be used.
    foreign = tops - sys.stdlib_module_names - {"orbitlens", "triton"}
    assert {names.get(name, name.replace("_", "-")) for name in foreign} - declared == set()
    assert "torch" in foreign


def test_files_are_short_and_folders_flat() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    assert max(lengths.values()) <= 500
    assert statistics.median(lengths.values()) <= 180
    depths = {len(path.relative_to(ROOT / "src" / "orbitlens").parts) for path in SOURCES}
    assert max(depths) <= 3


def test_few_files_are_loose() -> None:
    assert len(list(PACKAGE.glob("*.py"))) - 1 <= 6
    assert len(list((PACKAGE / "sae").rglob("*.py"))) <= 18


# What a room must not know: the rooms that come after it, and those that serve another job.
WALLS = {
    "kernels": "groups reps actions data models activations transport sae training io metrics",
    "sae": "training",
    "activations.store": "activations.harvest activations.importers",
    "symmetry": "activations transport sae training metrics attribution probe report pipeline cli",
}


@pytest.mark.parametrize("room", WALLS)
def test_a_room_does_not_know_what_comes_after_it(room: str) -> None:
    known = {
        f"{module} -> {needed}"
        for module, others in dependencies().items()
        for needed in others
        for beyond in WALLS[room].split()
        if f"{module}.".startswith(f"orbitlens.{room}.")
        and f"{needed}.".startswith(f"orbitlens.{beyond}.")
    }
    assert known == set()


def test_no_files_import_each_other_in_a_circle() -> None:
    left = dependencies()
    while done := [name for name, needs in left.items() if not needs & left.keys()]:
        left = {name: needs for name, needs in left.items() if name not in done}
    assert left == {}


def test_names_that_are_not_promised_are_private() -> None:
    kept = promised()
    loose = [
        f"{module.name}.{name}"
        for module in MODULES.values()
        if not module.is_private
        and not module.is_face
        # The verbs are promised to the shell, by their names there.
        and not module.name.startswith("orbitlens.cli.")
        for name in module.defines
        if not name.startswith("_") and name not in kept.get(module.name, ())
    ]
    assert loose == []


def test_the_root_has_at_most_30_names() -> None:
    assert len(orbitlens.__all__) <= 30


def test_every_class_is_abstract_or_final() -> None:
    classes = {
        value
        for module in modules()
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__.startswith("orbitlens.")
    }
    for cls in classes:
        for base in cls.__bases__:
            if base in classes and not issubclass(base, Exception):
                assert inspect.isabstract(base), f"{cls} has the concrete parent {base}"


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_the_map_of_a_room_names_every_export(room: Path) -> None:
    tree = ast.parse((room / "__init__.py").read_text())
    text = ast.get_docstring(tree) or ""
    exports = [
        element.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for element in ast.walk(node.value)
        if isinstance(element, ast.Constant)
    ]
    if room.name != "orbitlens":
        assert [name for name in exports if not re.search(rf"\b{name}\b", text)] == []


def contract_tests() -> str:
    return "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


def test_every_public_part_has_a_contract_test() -> None:
    kinds = {"Encoder": sae.Encoder, "Sparsity": sae.Sparsity, "Dictionary": sae.Dictionary}
    wanted = [
        (name, kind)
        for kind, base in kinds.items()
        for name in sae.__all__
        if inspect.isclass(part := getattr(sae, name))
        and issubclass(part, base)
        and not inspect.isabstract(part)
    ]
    camel = lambda name: "".join(word.capitalize() for word in name.split("_"))  # noqa: E731
    wanted += [
        (camel(name), "Objective")
        for name in objectives.__all__
        # The revival of dead latents is a term of the training loop, not an objective of views.
        if name != "dead_latent_revival"
    ]
    wanted += [(camel(name), "Transport") for name in transport.METHODS]
    text = contract_tests()
    missing = [n for n, kind in wanted if f"class Test{n}({kind}Contract)" not in text]
    assert len(wanted) >= 12
    assert missing == []


def test_nothing_is_pickled() -> None:
    banned = re.compile(
        r"\bimport pickle|\bpickle\.(load|dump)|torch\.load\((?!.*weights_only=True)"
    )
    assert [path for path in SOURCES if banned.search(path.read_text())] == []
