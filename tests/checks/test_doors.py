"""Doors that take what has one clear meaning, and refuse what would be read otherwise."""

from collections.abc import Callable
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn

from orbitlens import groups, store_from_array
from orbitlens.actions import images
from orbitlens.activations import harvest, layer_outputs, split_samples
from orbitlens.attribution import ablation_effects
from orbitlens.data import Inputs
from orbitlens.errors import OrbitLensError
from orbitlens.metrics import lie_derivative_errors
from orbitlens.report import feature_cards
from orbitlens.reps import isotypic_basis, regular
from orbitlens.sae import (
    BatchTopK,
    OrbitDictionary,
    Sparsity,
    TopK,
    compose,
    decode_maps,
    encode_maps,
    move_codes,
)
from orbitlens.transport import CrossMoments

C4 = groups.cyclic(4)
ORBITS = torch.rand(6, 4, 3)
PICTURES = torch.rand(4, 1, 6, 6)
SAE = compose(TopK(2), OrbitDictionary(3, isotypic_basis(regular(C4))))
MAPS = torch.rand(2, 4, 3, 3)
CODES = encode_maps(SAE, MAPS).detach()
MOVES = images(C4).grid(3, 3)
NETWORK = nn.Flatten()


@pytest.fixture(autouse=True)
def as_users_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checks of shapes and types that the tests switch on."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def pairs(pictures: Any) -> dict[str, torch.Tensor]:
    return {"twice": 2 * pictures}


def blank(samples: torch.Tensor, element: int) -> torch.Tensor:
    del element
    return PICTURES[:1].expand(len(samples), -1, -1, -1)


REFUSED: dict[str, Callable[[], object]] = {
    "letters as names, stores": lambda: store_from_array(ORBITS, group=C4, class_names="ab"),  # type: ignore[arg-type]
    "letters as names, harvest": lambda: harvest(
        NETWORK, layer="", inputs=PICTURES, action=images(C4), class_names="ab"
    ),
    "letters as names, inputs": lambda: Inputs("x", PICTURES, class_names="ab"),  # type: ignore[arg-type]
    "no names": lambda: store_from_array(ORBITS, group=C4, class_names=None),  # type: ignore[arg-type]
    "NaN among maps": lambda: encode_maps(SAE, MAPS * torch.nan),
    "NaN among codes": lambda: decode_maps(SAE, CODES * torch.nan),
    "text for a size": lambda: decode_maps(SAE, CODES, size="9x"),  # type: ignore[arg-type]
    "fractions as moves": lambda: move_codes(SAE, CODES, 1, MOVES + 0.5),
    "an element of another group": lambda: move_codes(SAE, CODES, 4, MOVES),
    "NaN among images": lambda: lie_derivative_errors(
        pairs, PICTURES * torch.nan, transformation="rotation"
    ),
    "text for a batch": lambda: lie_derivative_errors(
        pairs,
        PICTURES,
        transformation="rotation",
        batch_size="4",  # type: ignore[arg-type]
    ),
    "text for a seed": lambda: layer_outputs(NETWORK, [""], PICTURES, seed_forward="x"),  # type: ignore[arg-type]
    "a fraction of samples": lambda: split_samples(10.5),  # type: ignore[arg-type]
    "a fraction of a feature": lambda: feature_cards(
        torch.rand(6, 4, 3),
        blank,
        sae="one",
        n_features=2.5,  # type: ignore[arg-type]
    ),
    "codes without elements": lambda: feature_cards(
        np.ones((6, 3)), blank, sae="one", n_features=1
    ),
    "names instead of sites": lambda: ablation_effects(
        NETWORK,
        "conv1",  # type: ignore[arg-type]
        "conv2",  # type: ignore[arg-type]
        inputs=PICTURES,
        action=images(C4),
    ),
    "moments of other widths": lambda: CrossMoments(torch.eye(3).expand(4, 3, 3), torch.ones(2), 9),
    "pre-activations in words": lambda: TopK(1)(["large", "small"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(OrbitLensError, match=r"expected .*received") as refusal:
        REFUSED[name]()
    assert "\n" not in str(refusal.value)


def test_arrays_of_numpy_are_tensors() -> None:
    codes = encode_maps(SAE, MAPS.numpy())  # type: ignore[arg-type]
    assert torch.equal(codes.detach(), CODES)
    maps = decode_maps(SAE, CODES.numpy(), size=np.array([3, 3]))  # type: ignore[arg-type]
    assert torch.equal(maps, decode_maps(SAE, CODES, size=(3, 3)))
    moved = move_codes(SAE, CODES.numpy(), np.int64(1), MOVES)  # type: ignore[arg-type]
    assert torch.equal(moved, move_codes(SAE, CODES, 1, MOVES))
    errors = [
        lie_derivative_errors(pairs, pictures, transformation="translation")
        for pictures in (PICTURES, PICTURES.numpy())
    ]
    assert errors[0] == errors[1]
    network = nn.Sequential(NETWORK)
    outputs = [layer_outputs(network, ["0"], rows)["0"] for rows in (PICTURES, PICTURES.numpy())]
    assert torch.equal(*outputs)
    cards = [
        feature_cards(codes, blank, sae="one", n_features=1)[0]
        for codes in (ORBITS, ORBITS.numpy())
    ]
    assert torch.equal(cards[0].activations, cards[1].activations)


@pytest.mark.parametrize("rule", [TopK, BatchTopK])
def test_a_rule_may_keep_all_that_is_positive(rule: Callable[[int], Sparsity]) -> None:
    codes = rule(9)(np.array([[1.0, -2.0, 3.0]]))
    assert codes.tolist() == [[1, 0, 3]]


def test_numbers_of_numpy_are_numbers() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout())
    seeded = [
        layer_outputs(network, ["1"], PICTURES, seed_forward=seed)["1"] for seed in (3, np.int64(3))
    ]
    assert torch.equal(*seeded)


def test_an_error_is_one_line_whatever_it_names() -> None:
    error = OrbitLensError("file 'a\nb'", expected="one", received="\x1b[2J", remedy="go")
    assert str(error) == r"file 'a\nb': expected one, received \x1b[2J; go"
