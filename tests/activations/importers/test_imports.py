"""What other libraries cached is in the store to the bit, orbit by orbit, whatever the shards."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from orbitlens import objectives
from orbitlens.activations import ActivationStore, import_activations, open_store
from orbitlens.activations.importers import _cache as cache
from orbitlens.groups import cyclic, dihedral
from orbitlens.sae import topk_sae
from orbitlens.training import fit

from .foreign import HOOK, SAEV_1_0, SAEV_2_1, saelens, saev, values


def stored(store: ActivationStore) -> np.ndarray:
    return np.asarray(store.array[:])


# -- SAELens -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_contexts_of_saelens_are_positions(tmp_path: Path, dtype: str) -> None:
    acts = values(7, 3, 4, dtype=dtype)
    path = saelens(tmp_path / "cache", [acts[:5], acts[5:]])
    store = import_activations(path, out=tmp_path / "acts.zarr", model="gpt2")
    assert (store.n, store.positions, store.dim, store.group.order) == (7, 3, 4, 1)
    assert (store.model, store.layer, store.action) == ("gpt2", HOOK, "given")
    assert np.array_equal(stored(open_store(tmp_path / "acts.zarr"))[:, 0], acts)


def test_contexts_of_one_token_are_vectors(tmp_path: Path) -> None:
    acts = values(6, 1, 4)
    store = import_activations(saelens(tmp_path / "cache", [acts]))
    assert np.array_equal(stored(store), acts)


def test_numbers_of_float64_are_rounded_to_float32(tmp_path: Path) -> None:
    acts = values(3, 2, 4, dtype="float64")
    store = import_activations(saelens(tmp_path / "cache", [acts]))
    assert np.array_equal(stored(store)[:, 0], acts.astype(np.float32))


def test_orbits_go_on_from_one_shard_to_the_next(tmp_path: Path) -> None:
    acts = values(12, 2, 5)
    path = saelens(tmp_path / "cache", [acts[:1], acts[1:2], acts[2:9], acts[9:9], acts[9:]])
    store = import_activations(path, group=cyclic(4))
    assert np.array_equal(stored(store), acts.reshape(3, 4, 2, 5))


def test_a_hook_is_chosen_among_several(tmp_path: Path) -> None:
    acts = values(4, 2, 3)
    path = saelens(tmp_path / "cache", [acts], hooks=("blocks.0", "blocks.1"))
    assert np.array_equal(stored(import_activations(path, layer="blocks.1"))[:, 0], -acts)


def test_columns_of_vectors_without_contexts_are_rows(tmp_path: Path) -> None:
    acts = values(6, 3)
    path = saelens(tmp_path / "cache", [acts], extension={})
    assert np.array_equal(stored(import_activations(path, group=cyclic(2))), acts.reshape(3, 2, 3))


def test_types_that_a_library_has_registered_are_read(tmp_path: Path) -> None:
    class Registered(pa.ExtensionType):  # as `import datasets` does
        def __init__(self) -> None:
            name = "datasets.features.features.Array2DExtensionType"
            super().__init__(pa.list_(pa.list_(pa.float32())), name)

        def __arrow_ext_serialize__(self) -> bytes:
            return b'[[2, 3], "float32"]'

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: object, data: bytes) -> "Registered":
            return cls()

    acts = values(4, 2, 3)
    path = saelens(tmp_path / "cache", [acts])
    pa.register_extension_type(Registered())
    try:
        store = import_activations(path)
    finally:
        pa.unregister_extension_type("datasets.features.features.Array2DExtensionType")
    assert np.array_equal(stored(store)[:, 0], acts)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_types_that_were_pickled_are_not_unpickled(tmp_path: Path) -> None:
    pickled = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Trap(tmp_path / "sprung")),
    }
    acts = values(4, 2, 3)
    store = import_activations(saelens(tmp_path / "cache", [acts], extension=pickled))
    assert np.array_equal(stored(store)[:, 0], acts)
    assert not (tmp_path / "sprung").exists()


# -- saev ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "protocol"),
    [
        (SAEV_2_1, "2.1"),
        (SAEV_1_0, "1.0.0"),
        ({**SAEV_2_1, "tokens": "patches_per_ex", "examples": "n_ex"}, "2.0"),
    ],
)
@pytest.mark.parametrize("n", [8, 10])
def test_shards_of_saev_are_read_as_far_as_they_are_filled(
    tmp_path: Path, names: dict[str, str], protocol: str, n: int
) -> None:
    acts = values(n, 2, 3, 4)
    path = saev(tmp_path / "shards", acts, names=names, protocol=protocol)
    store = import_activations(path, layer=11)
    assert (store.model, store.layer) == ("dinov2_vitb14_reg", "11")
    assert np.array_equal(stored(store)[:, 0], acts[:, 1])
    assert np.array_equal(stored(import_activations(path, layer="5"))[:, 0], acts[:, 0])


def test_the_only_layer_of_saev_needs_no_name(tmp_path: Path) -> None:
    acts = values(6, 1, 1, 4)
    path = saev(tmp_path / "shards", acts, layers=(-2,), cls_token=False)
    store = import_activations(path, group=dihedral(1))
    assert store.layer == "-2"
    assert np.array_equal(stored(store), acts.reshape(3, 2, 4))


def test_orbits_of_saev_go_on_from_one_shard_to_the_next(tmp_path: Path) -> None:
    acts = values(9, 2, 2, 3)
    store = import_activations(saev(tmp_path / "shards", acts), layer=5, group=cyclic(3))
    assert np.array_equal(stored(store), acts[:, 0].reshape(3, 3, 2, 3))


# -- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "<f4", ">f4", "float64"])
def test_arrays_of_every_floating_type_are_read(tmp_path: Path, dtype: str) -> None:
    acts = values(6, 4).astype("float16").astype(dtype)
    np.save(tmp_path / "layer.npy", acts)
    store = import_activations(tmp_path / "layer.npy", group=cyclic(3))
    assert store.layer == "layer"
    assert np.array_equal(stored(store), acts.reshape(2, 3, 4))


def test_arrays_in_fortran_order_are_read(tmp_path: Path) -> None:
    acts = values(6, 4)
    np.save(tmp_path / "a.npy", np.asfortranarray(acts))
    assert np.array_equal(stored(import_activations(tmp_path / "a.npy"))[:, 0], acts)


@pytest.mark.parametrize("shape", [(5, 3, 4), (5, 3, 2, 4)])
def test_arrays_of_orbits_are_taken_as_they_are(tmp_path: Path, shape: tuple[int, ...]) -> None:
    acts = values(*shape)
    np.save(tmp_path / "a.npy", acts)
    store = import_activations(tmp_path / "a.npy", group=cyclic(3))
    assert np.array_equal(stored(store), acts)


def test_without_a_group_the_middle_axis_is_of_positions(tmp_path: Path) -> None:
    acts = values(5, 3, 4)
    np.save(tmp_path / "a.npy", acts)
    assert np.array_equal(stored(import_activations(tmp_path / "a.npy"))[:, 0], acts)


def test_numbers_in_names_count_as_numbers(tmp_path: Path) -> None:
    acts = values(24, 4)
    for i, part in enumerate(np.split(acts, 12)):
        np.save(tmp_path / f"acts-{i}.npy", part)
    store = import_activations(tmp_path, group=cyclic(8))
    assert np.array_equal(stored(store), acts.reshape(3, 8, 4))


@pytest.mark.parametrize("names", ["a b c", "run1-3 run2-1 run2-2", "7 9-b 9-c", "a a1 a2"])
def test_names_that_do_not_count_are_in_their_order(tmp_path: Path, names: str) -> None:
    acts = values(6, 4)
    for name, part in zip(names.split(), np.split(acts, 3), strict=True):
        np.save(tmp_path / f"{name}.npy", part)
    assert np.array_equal(stored(import_activations(tmp_path))[:, 0], acts)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_tensors_of_every_floating_type_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    acts = torch.from_numpy(values(12, 3)).bfloat16().to(dtype)
    for i, part in enumerate(acts.split(7)):
        tensors = {"acts": part, "tokens": torch.arange(len(part))}
        save_file(tensors, tmp_path / f"chunk-{i:05d}.safetensors")
    store = import_activations(tmp_path, group=cyclic(4))
    assert store.layer == "acts"
    assert np.array_equal(stored(store), acts.float().numpy().reshape(3, 4, 3))


def test_a_tensor_is_chosen_among_several(tmp_path: Path) -> None:
    acts = torch.randn(6, 4)
    save_file({"a": acts, "b": 2 * acts}, tmp_path / "x.safetensors")
    store = import_activations(tmp_path / "x.safetensors", layer="b")
    assert np.array_equal(stored(store)[:, 0], 2 * acts.numpy())


# -- blocks, records, training -------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100, 333])
def test_the_size_of_blocks_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(cache, "_BLOCK_BYTES", size)
    acts = values(20, 2, 3)
    steps: list[tuple[int, int]] = []
    for i, path in enumerate(
        [
            saelens(tmp_path / "a", [acts[:7], acts[7:]], batch=3),
            saev(tmp_path / "b", acts[:, None], layers=(0,), per_shard=7),
        ]
    ):
        store = import_activations(
            path, group=cyclic(4), progress=lambda done, n: steps.append((done, n))
        )
        assert np.array_equal(stored(store), acts.reshape(5, 4, 2, 3))
        assert len(steps) > i
        assert steps[-1] == (5, 5)


def test_a_cache_in_bfloat16_may_stay_so(tmp_path: Path) -> None:
    acts = torch.randn(8, 3).bfloat16()
    save_file({"a": acts}, tmp_path / "a.safetensors")
    store = import_activations(tmp_path / "a.safetensors", out=tmp_path / "s", dtype="bfloat16")
    assert store.dtype == "bfloat16"
    assert torch.equal(open_store(tmp_path / "s").orbits()[:, 0], acts.float())


def test_labels_and_a_digest_are_kept(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values(6, 4))
    labels = np.array([0, 1, 1], dtype=np.int32)
    store = import_activations(
        tmp_path / "a.npy",
        group=cyclic(2),
        labels=labels,
        class_names=("cat", "dog"),
        digest="abc",
    )
    assert store.labels is not None
    assert store.labels.tolist() == [0, 1, 1]
    assert (store.class_names, store.digest) == (("cat", "dog"), "abc")


def test_the_digest_changes_with_the_numbers_not_with_the_place(tmp_path: Path) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x.npy", values(6, 4, seed=seed))
    first, again, other = (import_activations(tmp_path / name / "x.npy").digest for name in "abc")
    assert first == again != other


def test_an_ordinary_sae_trains_on_activations_without_orbits(tmp_path: Path) -> None:
    store = import_activations(saelens(tmp_path / "cache", [values(40, 2, 6)]))
    result = fit(topk_sae(6, 12, 3), store, objective=objectives.reconstruction, epochs=3, lr=0.01)
    assert result.status == "completed"
    assert result.history.loss[-1] < result.history.loss[0]
