"""The house as data: its files, what each imports, what each defines, what its faces promise."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "orbitlens"


@dataclass(frozen=True)
class Module:
    """A file of the library."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def is_face(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def is_private(self) -> bool:
        return any(part.startswith("_") for part in self.name.split("."))

    @property
    def exports(self) -> tuple[str, ...]:
        """The names in `__all__`."""
        return tuple(
            element.value
            for node in self.tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            for element in ast.walk(node.value)
            if isinstance(element, ast.Constant) and isinstance(element.value, str)
        )

    @property
    def imports(self) -> list[tuple[str, str | None]]:
        """Every import of the library: (module, name), name None for `import module`."""
        found: list[tuple[str, str | None]] = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [(alias.name, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found += [(node.module or "", alias.name) for alias in node.names]
        return [each for each in found if each[0].split(".")[0] == "orbitlens"]

    @property
    def defines(self) -> Iterator[str]:
        """The names that are bound at the top level, imports aside."""
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name
            targets = node.targets if isinstance(node, ast.Assign) else ()
            if isinstance(node, ast.AnnAssign):
                targets = [node.target]
            yield from (each.id for each in targets if isinstance(each, ast.Name))


def _read() -> dict[str, Module]:
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, path, ast.parse(path.read_text()))
    return modules


MODULES = _read()


def home(module: str, name: str | None) -> tuple[str, str | None]:
    """Return the file that an imported name comes from and its name there, through the faces."""
    if name is None:
        return module, None
    handed_on = _HANDED_ON.get(module, {})
    if name in handed_on and handed_on[name] != (module, name):
        return home(*handed_on[name])
    return (f"{module}.{name}", None) if f"{module}.{name}" in MODULES else (module, name)


_HANDED_ON: dict[str, dict[str, tuple[str, str]]] = {
    face.name: {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in ast.walk(face.tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for face in MODULES.values()
    if face.is_face
}


def dependencies() -> dict[str, set[str]]:
    """Return the files that each file needs."""
    return {
        module.name: {home(*each)[0] for each in module.imports} - {module.name}
        for module in MODULES.values()
        if not module.is_face
    }


def promised() -> dict[str, set[str]]:
    """Return the names of each file that a face, or its own `__all__`, promises to users."""
    found: dict[str, set[str]] = {}
    for module in MODULES.values():
        for export in module.exports:
            where, name = home(module.name, export)
            found.setdefault(where, set()).add(name or export)
    return found
