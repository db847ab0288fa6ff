"""The facts by which a checkpoint recognises its training."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from orbitlens import objectives
from orbitlens.activations import store_from_array
from orbitlens.groups import cyclic
from orbitlens.sae import topk_sae
from orbitlens.training._checkpoint import (
    fingerprint,
    objective_name,
    sae_parts,
    store_identity,
)


class Callable:
    def __call__(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("objective", "name"),
    [
        (objectives.canonical, "canonical"),
        (partial(objectives.latent_invariance, weight=0.5), "latent_invariance(weight=0.5)"),
        (partial(partial(objectives.canonical)), "canonical()"),
        (Callable(), "Callable"),
    ],
)
def test_an_objective_is_known_by_its_name_and_weights(objective: object, name: str) -> None:
    assert objective_name(objective) == name


def test_an_sae_is_known_by_its_parts_and_widths() -> None:
    expected = "LinearEncoder, TopK, FreeDictionary, d_in 4, d_sae 8, k 2"
    assert sae_parts(topk_sae(4, 8, 2)) == expected


def test_a_store_is_known_by_its_shape_and_its_inputs() -> None:
    array = np.random.default_rng(0).normal(size=(20, 3, 4))
    store, moved = (store_from_array(each, group=cyclic(3)) for each in (array, array + 1))
    assert store_identity(store).endswith("20 x 1 x C3 x 4")
    assert store_identity(store) != store_identity(moved)


def test_a_store_on_disk_is_known_by_its_numbers(tmp_path: Path) -> None:
    """Of the same inputs through a network with other weights."""
    array, how = np.ones((20, 3, 4)), {"group": cyclic(3), "digest": "0" * 16}
    one = store_from_array(array, out=tmp_path / "one", **how)  # type: ignore[arg-type]
    other = store_from_array(array + 1, out=tmp_path / "other", **how)  # type: ignore[arg-type]
    assert store_identity(one) != store_identity(other)


def test_samples_are_known_by_their_numbers_in_order() -> None:
    assert fingerprint(None) == "training part"
    assert fingerprint(np.arange(3)) == fingerprint(np.arange(3, dtype=np.int32))
    different = {fingerprint(np.array(each)) for each in ([0, 1], [1, 0], [0, 1, 2])}
    assert len(different) == 3
