"""Whatever is wrong with a cache is said in one line, and nothing is left of the store."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from orbitlens.activations import import_activations
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic

from .foreign import HOOK, array_2d, arrow_file, saelens, saev, values

Case = tuple[dict[str, object], str]


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:-size])


def rewrite(file: Path, **fields: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def arrays(folder: Path, *parts: np.ndarray) -> Path:
    (folder / "arrays").mkdir()
    for i, part in enumerate(parts):
        np.save(folder / "arrays" / f"{i}.npy", part)
    return folder / "arrays"


# -- the path ------------------------------------------------------------------------------------


def no_such_path(folder: Path) -> Case:
    return {"path": folder / "nowhere"}, "received no such path"


def unknown_kind(folder: Path) -> Case:
    return {"path": folder, "kind": "saelense"}, "did you mean 'saelens'"


def an_empty_folder(folder: Path) -> Case:
    return {"path": folder}, "received an empty folder"


def a_folder_of_something_else(folder: Path) -> Case:
    (folder / "thesis.txt").write_text("years of work")
    return {"path": folder}, "received thesis.txt"


def a_folder_of_two_kinds(folder: Path) -> Case:
    save_file({"a": torch.ones(3, 2)}, arrays(folder, values(3, 2)) / "a.safetensors")
    return {"path": folder / "arrays"}, "npy and safetensors; say which"


def a_file_where_a_folder_belongs(folder: Path) -> Case:
    np.save(folder / "a.npy", values(3, 2))
    return {"path": folder / "a.npy", "kind": "saev"}, "a folder that saev wrote, received a file"


def an_existing_store(folder: Path) -> Case:
    (folder / "out").write_text("precious")
    return {"path": arrays(folder, values(3, 2))}, "a path that does not exist yet"


# -- pickles -------------------------------------------------------------------------------------


def a_tensor_of_torch_save(folder: Path) -> Case:
    torch.save(torch.ones(3, 2), folder / "acts.pt")
    return {"path": folder / "acts.pt"}, "received .pt files; save the tensor with safetensors"


def a_folder_of_pickles(folder: Path) -> Case:
    (folder / "acts.pkl").write_bytes(b"\x80\x04.")
    return {"path": folder}, "load without unpickling"


def an_array_of_objects(folder: Path) -> Case:
    np.save(folder / "a.npy", np.array([{}, {}]), allow_pickle=True)
    return {"path": folder / "a.npy"}, "pickled Python objects, which are never loaded"


def a_pickle_under_the_name_of_an_array(folder: Path) -> Case:
    (folder / "a.npy").write_bytes(b"\x80\x04K\x01.")
    return {"path": folder / "a.npy"}, "pickled Python objects, which are never loaded"


# -- shapes and types ----------------------------------------------------------------------------


def rows_that_are_no_multiple(folder: Path) -> Case:
    return {"path": arrays(folder, values(6, 2)), "group": cyclic(4)}, "received 6 rows"


def contexts_that_are_no_multiple(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(5, 2, 3), values(4, 2, 3)])
    return {"path": path, "group": cyclic(2)}, "a multiple of 2 rows"


def orbits_of_another_group(folder: Path) -> Case:
    path = arrays(folder, values(6, 3, 2))
    return {"path": path, "group": cyclic(4)}, "[n, 4, dim] or [n, 4, positions, dim] for"


def maps(folder: Path) -> Case:
    return {"path": arrays(folder, values(6, 3, 2, 2))}, "received shape [6, 3, 2, 2]"


def numbers_in_a_row(folder: Path) -> Case:
    return {"path": arrays(folder, values(6))}, "at least two axes"


def whole_numbers(folder: Path) -> Case:
    return {"path": arrays(folder, np.ones((3, 2), dtype=int))}, "received int64 of shape [3, 2]"


def no_rows(folder: Path) -> Case:
    return {"path": saelens(folder / "cache", [values(0, 2, 3)])}, "received no rows"


def arrays_of_two_types(folder: Path) -> Case:
    path = arrays(folder, values(3, 2), values(3, 2, dtype="float16"))
    return {"path": path}, "1.npy: expected rows of shape [2] in float32, as in 0.npy"


def arrays_of_two_widths(folder: Path) -> Case:
    return {"path": arrays(folder, values(3, 2), values(3, 5))}, "received shape [5] in float32"


def shards_of_two_types(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(3, 2, 4), values(3, 2, 4, dtype="float16")])
    return {"path": path}, "shape [2, 4] in float16"


def shards_of_two_lengths(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(3, 2, 4), values(3, 5, 4)])
    return {"path": path}, "received shape [5, 4] in float32"


def tensors_of_two_types(folder: Path) -> Case:
    for i, kind in enumerate((torch.bfloat16, torch.float32)):
        save_file({"a": torch.ones(3, 2, dtype=kind)}, folder / f"{i}.safetensors")
    return {"path": folder}, "in bfloat16, as in 0.safetensors"


def contexts_of_different_length(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(2, 2, 4)])
    ragged = pa.array([[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]])
    arrow_file(path / "data-00000-of-00001.arrow", {HOOK: ragged}, {}, 2)
    return {"path": path}, "lists of 1 to 2 numbers"


def contexts_of_different_length_in_two_batches(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(2, 2, 4)])
    ragged = pa.array([[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]])
    arrow_file(path / "data-00000-of-00001.arrow", {HOOK: ragged}, {}, 1)
    return {"path": path}, "rows of the shapes [(1, 2), (2, 2)]"


def rows_without_a_value(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(2, 2, 4)])
    holes = pa.array([[[1.0, None]], [[1.0, 2.0]]])
    arrow_file(path / "data-00000-of-00001.arrow", {HOOK: holes}, {}, 2)
    return {"path": path}, "numbers without a value"


def a_column_that_changes_its_type(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(2, 2, 4), values(2, 2, 4)])
    arrow_file(path / "data-00001-of-00002.arrow", {HOOK: pa.array(["a", "b"])}, {}, 2)
    return {"path": path}, f"column {HOOK} is string"


# -- files that are not whole --------------------------------------------------------------------


def a_missing_file_of_saelens(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(3, 2, 4)] * 3)
    (path / "data-00001-of-00003.arrow").unlink()
    return {"path": path}, "1 missing, the first data-00001-of-00003.arrow"


def a_file_of_saelens_that_was_cut(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(300, 2, 4)], batch=100)
    cut(path / "data-00000-of-00001.arrow", 1000)
    return {"path": path}, "data-00000-of-00001.arrow: expected a whole Arrow file"


def a_file_of_saelens_that_was_cut_between_batches(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(300, 2, 4)], batch=100)
    cut(path / "data-00000-of-00001.arrow", 8)  # what is left is a stream that can be read
    return {"path": path}, "its end is missing"


def a_file_of_saelens_without_a_byte(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(3, 2, 4)])
    (path / "data-00000-of-00001.arrow").write_bytes(b"")
    return {"path": path}, "a whole Arrow file"


def a_state_that_lists_nothing(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(3, 2, 4)])
    rewrite(path / "state.json", _data_files=[])
    return {"path": path}, "it lists no files"


def a_state_of_another_program(folder: Path) -> Case:
    (folder / "state.json").write_text('{"step": 3}')
    return {"path": folder}, "the list `_data_files`"


def a_data_set_without_activations(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(3, 2, 4)])
    arrow_file(path / "data-00000-of-00001.arrow", {"text": pa.array(["a", "b"])}, {}, 2)
    return {"path": path}, "received the columns text"


def a_missing_shard_of_saev(folder: Path) -> Case:
    path = saev(folder / "shards", values(10, 2, 3, 4))
    (path / "acts000001.bin").unlink()
    return {"path": path, "layer": 5}, "acts000001.bin: expected 4 examples, 384 bytes at least"


def a_shard_of_saev_that_was_cut(folder: Path) -> Case:
    path = saev(folder / "shards", values(10, 2, 3, 4))
    cut(path / "acts000001.bin", 4)
    return {"path": path, "layer": 5}, "received 380 bytes, it is truncated"


def shards_of_saev_that_are_not_listed(folder: Path) -> Case:
    path = saev(folder / "shards", values(10, 2, 3, 4))
    listed = json.loads((path / "shards.json").read_text())
    (path / "shards.json").write_text(json.dumps(listed[:-1]))
    return {"path": path, "layer": 5}, "expected 10 examples, as metadata.json says, received 8"


def shards_of_saev_without_a_list(folder: Path) -> Case:
    path = saev(folder / "shards", values(10, 2, 3, 4))
    (path / "shards.json").unlink()
    return {"path": path, "layer": 5}, "shards.json: expected the list of shards"


def metadata_of_saev_without_a_width(folder: Path) -> Case:
    path = saev(folder / "shards", values(10, 2, 3, 4))
    record = json.loads((path / "metadata.json").read_text())
    del record["d_model"]
    (path / "metadata.json").write_text(json.dumps(record))
    return {"path": path}, "no d_model"


def shards_of_saev_of_another_type(folder: Path) -> Case:
    path = saev(folder / "shards", values(10, 2, 3, 4))
    rewrite(path / "metadata.json", dtype="float16")
    return {"path": path}, "`dtype` float32"


def a_number_left_out(folder: Path) -> Case:
    path = arrays(folder, *[values(3, 2)] * 12)
    (path / "4.npy").unlink()
    return {"path": path}, "expected 12 files, as their names count them, received 11, from 0.npy"


def a_last_file_that_is_missing(folder: Path) -> Case:
    for i in range(2):
        save_file({"a": torch.ones(3, 2)}, folder / f"a-{i:05d}-of-00003.safetensors")
    return {"path": folder}, "expected 3 files, as their names count them, received 2"


def an_array_that_was_cut(folder: Path) -> Case:
    path = arrays(folder, values(100, 2))
    cut(path / "0.npy", 8)
    return {"path": path}, "0.npy: expected a whole .npy file, received damage"


def a_tensor_that_was_cut(folder: Path) -> Case:
    save_file({"a": torch.ones(100, 2)}, folder / "a.safetensors")
    cut(folder / "a.safetensors", 8)
    return {"path": folder / "a.safetensors"}, "a whole .safetensors file, received damage"


# -- layers, numbers, labels ---------------------------------------------------------------------


def a_hook_that_is_not_there(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(3, 2, 4)], hooks=("blocks.0", "blocks.1"))
    return {"path": path, "layer": "blocks.2"}, "expected one of blocks.0, blocks.1, received"


def several_hooks(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(3, 2, 4)], hooks=("blocks.0", "blocks.1"))
    return {"path": path}, "expected one of blocks.0, blocks.1, received none"


def a_hook_that_a_later_file_lacks(folder: Path) -> Case:
    path = saelens(folder / "cache", [values(3, 2, 4)] * 2)
    columns = {"other": values(3, 2, 4)}
    arrow_file(path / "data-00001-of-00002.arrow", columns, array_2d((2, 4), "float32"), 2)
    return {"path": path}, "data-00001-of-00002.arrow"


def a_layer_of_saev_that_is_not_there(folder: Path) -> Case:
    path = saev(folder / "shards", values(10, 2, 3, 4))
    return {"path": path, "layer": 6}, "expected one of 5, 11, received '6'"


def a_tensor_that_is_not_there(folder: Path) -> Case:
    save_file({"a": torch.ones(3, 2), "ids": torch.arange(3)}, folder / "a.safetensors")
    return {"path": folder, "layer": "b"}, "expected one of a, received 'b'"


def tensors_of_whole_numbers(folder: Path) -> Case:
    save_file({"ids": torch.arange(3)}, folder / "a.safetensors")
    return {"path": folder}, "received ids I64 [3]"


def a_number_that_is_none(folder: Path) -> Case:
    acts = values(12, 3, 2)
    acts[7, 1, 0] = np.nan
    path = saelens(folder / "cache", [acts[:5], acts[5:]])
    return {"path": path, "group": cyclic(4)}, (
        "the first at sample 1, element 3, position 1, dimension 0"
    )


def a_number_beyond_float32(folder: Path) -> Case:
    acts = values(3, 2, dtype="float64")
    acts[2, 1] = -1e300
    return {"path": arrays(folder, acts)}, (
        "activations as float32: expected numbers up to 3.4e+38, received -1e+300 at sample 2, "
        "element 0, dimension 1; scale them down"
    )


def a_number_beyond_float32_in_a_later_file(folder: Path) -> Case:
    path = folder / "files"
    path.mkdir()
    for i in range(3):
        acts = torch.ones(4, 2, dtype=torch.float64)
        acts[2, 0] = 1e300 if i == 2 else 1
        save_file({"acts": acts}, path / f"{i}.safetensors")
    return {"path": path, "group": cyclic(2)}, "received 1e+300 at sample 5, element 0, dimension 0"


def a_layer_of_an_array(folder: Path) -> Case:
    path = arrays(folder, values(3, 2))
    return {"path": path, "layer": "z"}, "expected none, as a .npy file holds one array"


def an_unknown_way_to_store(folder: Path) -> Case:
    return {"path": arrays(folder, values(6, 2)), "dtype": "float8"}, "float8"


def a_number_beyond_float16(folder: Path) -> Case:
    path = arrays(folder, np.full((3, 2), 1e6, dtype=np.float32))
    return {"path": path, "dtype": "float16"}, "float16"


def labels_that_do_not_fit(folder: Path) -> Case:
    path = arrays(folder, values(6, 2))
    return {
        "path": path,
        "group": cyclic(2),
        "labels": np.arange(6),
    }, "one per sample, shape [3], received"


CASES = [
    value
    for value in list(globals().values())
    if callable(value)
    and getattr(value, "__module__", None) == __name__
    and value.__annotations__.get("return") == Case
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_is_one_line_and_leaves_nothing(case: Callable[[Path], Case], tmp_path: Path) -> None:
    arguments, expected = case(tmp_path)
    before = {path: path.stat().st_size for path in tmp_path.rglob("*")}
    with pytest.raises(OrbitLensError) as raised:
        import_activations(arguments.pop("path"), out=tmp_path / "out", **arguments)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)
    assert {path: path.stat().st_size for path in tmp_path.rglob("*")} == before


def test_a_file_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"{tmp_path}/a.{{}}: expected a place that can be read, received Permission denied; get"
    np.save(tmp_path / "a.npy", values(3, 2))
    save_file({"a": torch.ones(3, 2)}, tmp_path / "a.safetensors")

    def denied(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    def missing(path: Path, *_: object, **__: object) -> None:
        raise FileNotFoundError(f"No such file or directory: {path}")  # as safetensors says it

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(OrbitLensError, match=line.format("npy")):
        import_activations(tmp_path / "a.npy")
    monkeypatch.setattr("orbitlens.activations.importers._from_files.safe_open", missing)
    with pytest.raises(OrbitLensError, match="received no such file"):
        import_activations(tmp_path / "a.safetensors")
    monkeypatch.setattr("os.access", lambda *_: False)  # root may read whatever the mode is
    with pytest.raises(OrbitLensError, match=line.format("safetensors")):
        import_activations(tmp_path / "a.safetensors")


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saelens(tmp_path / "cache", [values(3, 2, 4)])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OrbitLensError, match=r"pip install 'orbitlens\[arrow\]'"):
        import_activations(path)


def test_a_protocol_of_saev_that_is_not_known_is_refused(tmp_path: Path) -> None:
    path = saev(tmp_path / "shards", values(8, 2, 3, 4), protocol="3.0")
    with pytest.raises(OrbitLensError, match=r"`protocol` 1 or 2.*received '3\.0'"):
        import_activations(path, layer=11)


def test_rows_of_saelens_that_were_shuffled_make_no_orbits(tmp_path: Path) -> None:
    path = saelens(tmp_path / "cache", [values(8, 1, 4)])
    (path / "cache_activations_runner_cfg.json").write_text('{"shuffle": true}')
    with pytest.raises(OrbitLensError, match="`shuffle` false"):
        import_activations(path, group="C4")
    assert import_activations(path).n == 8
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, "_indices_data_files": ["a"]}))
    with pytest.raises(OrbitLensError, match="_indices_data_files"):
        import_activations(path)


def test_labels_and_groups_have_one_meaning_as_elsewhere(tmp_path: Path) -> None:
    np.save(tmp_path / "acts.npy", values(8, 4))
    store = import_activations(tmp_path / "acts.npy", group="C4", labels=[1, 0])
    assert store.labels is not None
    assert (store.group.name, store.labels.tolist()) == ("C4", [1, 0])
    with pytest.raises(OrbitLensError, match="`labels`"):
        import_activations(tmp_path / "acts.npy", group="C4", labels=np.array([0.5, 1.0]))


@pytest.mark.parametrize(("size", "dtype"), [(1e-9, "float16"), (1e-50, "float32")])
def test_numbers_too_small_for_their_type_are_refused(
    tmp_path: Path, size: float, dtype: str
) -> None:
    np.save(tmp_path / "acts.npy", size * values(8, 4, dtype="float64"))
    with pytest.raises(OrbitLensError, match=f"as {dtype}: expected numbers of about"):
        import_activations(tmp_path / "acts.npy", dtype=dtype, out=tmp_path / "acts")
    assert not (tmp_path / "acts").exists()
