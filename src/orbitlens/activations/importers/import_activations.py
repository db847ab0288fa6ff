"""Build a store from activations that another library cached; nothing is unpickled."""

from collections.abc import Sequence
from pathlib import Path

from orbitlens.activations.importers._cache import Cache
from orbitlens.activations.importers._from_files import read_npy, read_safetensors
from orbitlens.activations.importers._from_saelens import read_saelens
from orbitlens.activations.importers._from_saev import read_saev
from orbitlens.activations.store._claim import check_free
from orbitlens.activations.store._files import as_files
from orbitlens.activations.store._on_disk import Labels, check_dtype
from orbitlens.activations.store._open_store import describe
from orbitlens.activations.store._write_store import write_store
from orbitlens.activations.store.activation_store import ActivationStore
from orbitlens.checks import as_labels
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.files import TO_READ, as_path, one_line_errors
from orbitlens.groups import Group, as_group, cyclic
from orbitlens.typing import Progress

_KINDS = ("auto", "saelens", "saev", "npy", "safetensors")
_REFUSED = (".pt", ".pth", ".pkl", ".pickle", ".npz")


def import_activations(
    path: Path | str,
    *,
    out: Path | str | None = None,
    group: Group | str | None = None,
    kind: str = "auto",
    layer: str | int | None = None,
    labels: Labels | None = None,
    class_names: tuple[str, ...] = (),
    files: Sequence[str | Path] = (),
    model: str | None = None,
    digest: str | None = None,
    dtype: str = "float32",
    progress: Progress | None = None,
) -> ActivationStore:
    """Build a store from activations that another library cached.

    Sample i of the store is psi(g x_i) for every g: rows i |G|, ..., i |G| + |G| - 1 of the cache,
    in the order of the group's elements. An array [n, |G|, dim] or [n, |G|, positions, dim] is
    taken as it is. Positions, such as tokens, must already be aligned over the group. The cache is
    read block by block; memory does not grow with its size.

    Args:
        path: A folder that SAELens or saev wrote, a .npy or .safetensors file, or a folder of such
            files, which are joined in the order of their names.
        out: Folder or URL to write, which must not exist; None (the default) keeps the store in
            memory.
        group: The group that moved the inputs, or its name. None (the default) for activations
            without orbits: every row is an input by itself, under the group of one element.
        kind: "saelens", "saev", "npy" or "safetensors"; "auto" (the default) looks at the files.
        layer: The layer, if there are several: hook (SAELens), block (saev), tensor (safetensors).
        labels: One class index per sample.
        class_names: The names of the classes.
        files: The file, or another name, of each sample; default none.
        model: Recorded name of the network; by default its name in the cache.
        digest: Fingerprint of the inputs; by default one of the cache.
        dtype: The type on disk: "float32" (the default), "float16" or "bfloat16".
        progress: Called with (samples done, n) as the work goes on.

    Returns:
        The store.

    Raises:
        OrbitLensError: If `out` exists; if the path is no cache, needs unpickling, lacks files or
            holds damaged ones; if files differ in type or shape; if the layer does not exist, is
            not named, or is named for a .npy file; if the rows are not a multiple of |G|; if labels
            or files do not fit; or if activations are NaN, infinite, or too large or small for
            `dtype`. Nothing is left on disk then.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/acts.npy", np.ones((12, 5), dtype=np.float16))
        ...     import_activations(f"{folder}/acts.npy", group=cyclic(4))
        ActivationStore(in memory, n=3, group=C4, positions=1, dim=5)
    """
    as_path("path", path)
    path, group = Path(path), cyclic(1) if group is None else as_group(group)
    check_dtype(dtype)
    check_free(out)
    with one_line_errors(path, TO_READ):
        cache = _open(path, kind, layer, group)
    n = _samples(path, cache, group)
    return write_store(
        cache.orbits(group, progress),
        n=n,
        out=out,
        labels=None if labels is None else as_labels(labels, n, class_names),
        files=as_files(files, n),
        attributes=describe(
            group=group,
            action="given",
            model=model or cache.model,
            layer=cache.layer,
            digest=digest or cache.digest(),
            class_names=class_names,
            dtype=dtype,
        ),
    )


def _open(path: Path, kind: str, layer: str | int | None, group: Group) -> Cache:
    if kind not in _KINDS:
        raise unknown_name("`kind`", kind, _KINDS)
    if not path.exists():
        raise OrbitLensError(
            str(path),
            expected="cached activations",
            received="no such path",
            remedy="give the folder or file that holds them",
        )
    kind = _kind(path) if kind == "auto" else kind
    if kind in ("saelens", "saev") and not path.is_dir():
        raise OrbitLensError(
            str(path),
            expected=f"a folder that {kind} wrote",
            received="a file",
            remedy="give the folder that holds it",
        )
    if kind == "saelens":
        return read_saelens(path, layer, group)
    if kind == "saev":
        return read_saev(path, layer)
    if kind == "safetensors":
        return read_safetensors(path, layer, group)
    if layer is not None:
        raise OrbitLensError(
            f"`layer` of {path}",
            expected="none, as a .npy file holds one array without a name",
            received=repr(layer),
            remedy="leave it out",
        )
    return read_npy(path, group)


def _kind(path: Path) -> str:
    """Return the kind of a cache, by the names of its files."""
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else [path.name]
    suffixes = {Path(name).suffix.lower() for name in names if not name.startswith(".")}
    signs = {
        "saelens": "state.json" in names,
        "saev": "metadata.json" in names and ".bin" in suffixes,
        "npy": ".npy" in suffixes,
        "safetensors": ".safetensors" in suffixes,
    }
    found = [kind for kind, sign in signs.items() if sign]
    if len(found) > 1 and found[0] in ("npy", "safetensors"):
        raise OrbitLensError(
            str(path),
            expected="files of one kind",
            received=" and ".join(found),
            remedy=f"say which: kind {' or '.join(found)}",
        )
    if found:
        return found[0]
    if suffixes & {*_REFUSED}:
        raise OrbitLensError(
            str(path),
            expected="activations that load without unpickling",
            received=f"{', '.join(sorted(suffixes & {*_REFUSED}))} files",
            remedy="save the tensor with safetensors, or the array with np.save",
        )
    raise OrbitLensError(
        str(path),
        expected="a cache of SAELens or saev, or .npy or .safetensors files",
        received=f"{', '.join(sorted(names)[:4]) or 'an empty folder'}",
        remedy="give the folder or file that holds the activations",
    )


def _samples(path: Path, cache: Cache, group: Group) -> int:
    if cache.whole:
        return cache.rows
    if cache.rows % group.order:
        raise OrbitLensError(
            str(path),
            expected=f"a multiple of {group.order} rows, an orbit of {group} in each {group.order}",
            received=f"{cache.rows} rows",
            remedy="leave out the incomplete orbit, or name the group that moved the inputs",
        )
    return cache.rows // group.order
