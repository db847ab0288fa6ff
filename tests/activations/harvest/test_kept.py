"""A harvest keeps what inputs bring along: labels of pairs, names of files, names of classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from orbitlens.actions import images
from orbitlens.activations import ActivationStore, harvest, harvest_layers, open_store
from orbitlens.data import Inputs, LazyInputs
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic

VALUES = torch.rand(9, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = np.arange(9) % 3
FILES = tuple(f"{i}.png" for i in range(9))


class Pairs(Dataset[Any]):
    """A data set as torchvision has them, with labels of any type."""

    def __init__(self, labels: Any) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(VALUES)

    def __getitem__(self, i: int) -> tuple[Tensor, Any]:
        return VALUES[i], self.labels[i]


def run(inputs: Any, **settings: Any) -> ActivationStore:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    return harvest(network, layer="1", inputs=inputs, action=images(cyclic(4)), **settings)


@pytest.mark.parametrize("kind", [list, torch.tensor, np.array, lambda x: [*map(np.int32, x)]])
def test_labels_of_pairs_are_kept(kind: Any, tmp_path: Path) -> None:
    run(Pairs(kind(LABELS.tolist())), out=tmp_path / "acts", class_names=("a", "b", "c"))
    store = open_store(tmp_path / "acts")
    assert store.labels is not None
    assert store.labels.tolist() == LABELS.tolist()
    assert store.class_names == ("a", "b", "c")
    assert store.digest == run(VALUES).digest  # that of the inputs alone, as before


@pytest.mark.parametrize(
    "labels",
    [[-1, *LABELS[1:]], LABELS / 2, LABELS > 0, [{"mask": 1}] * 9, [*LABELS[:8], None]],
    ids=["unknown", "fractions", "booleans", "records", "one missing"],
)
def test_what_is_no_class_is_no_label(labels: Any) -> None:
    assert run(Pairs(list(labels))).labels is None


def test_labels_that_are_given_come_first() -> None:
    store = run(Pairs(LABELS), labels=LABELS[::-1].copy())
    assert store.labels is not None
    assert store.labels.tolist() == LABELS[::-1].tolist()


def test_labels_of_pairs_beyond_the_names_are_refused() -> None:
    with pytest.raises(OrbitLensError, match="indices into the 2 class names"):
        run(Pairs(LABELS), class_names=("a", "b"))


def test_inputs_bring_all_they_have() -> None:
    inputs = Inputs("mine", VALUES, LABELS, ("a", "b", "c"), FILES)
    store = run(inputs)
    assert store.files == FILES
    assert store.class_names == ("a", "b", "c")
    assert store.digest == inputs.digest
    assert run(inputs, files=FILES[::-1]).files == FILES[::-1]


def test_every_layer_has_them(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU())
    settings: dict[str, Any] = {"action": images(cyclic(4)), "out": tmp_path / "layers"}
    found = harvest_layers(network, inputs=Pairs(LABELS), files=FILES, **settings)
    for store in found.stores.values():
        assert store.files == FILES
        assert store.labels is not None


def test_workers_and_an_earlier_part_change_nothing(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"files": FILES, "resume": True, "out": tmp_path / "acts"}
    run(Pairs(LABELS), workers=2, **settings)
    store = run(Pairs(LABELS), workers=2, **settings)
    assert store.files == FILES
    with pytest.raises(OrbitLensError, match="others for 6 inputs"):
        run(Pairs(LABELS[::-1].tolist()), workers=2, **settings)


def test_other_files_are_refused_before_the_network_runs() -> None:
    with pytest.raises(OrbitLensError, match="one for each of the 9 inputs"):
        run(VALUES, files=FILES[:5])


def test_lazy_inputs_know_labels_once_they_were_read() -> None:
    lazy = LazyInputs(lambda i: (VALUES[i], int(LABELS[i])), n=9)
    assert lazy.labels() is None
    lazy.content()
    labels = lazy.labels()
    assert labels is not None
    assert labels.tolist() == LABELS.tolist()
    assert LazyInputs(lambda i: VALUES[i], n=0).labels() is None
