"""The keyword settings of `fit`."""

import re
from functools import partial

import numpy as np
import pytest
import torch

from orbitlens import fit
from orbitlens.activations import store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.sae import topk_sae
from orbitlens.training import FitSettings
from orbitlens.training._encode import searches_in_bfloat16
from orbitlens.training._loop import learning_rate
from orbitlens.training._settings import DEFAULTS

STORE = store_from_array(np.random.default_rng(0).normal(size=(20, 1, 4)), group=cyclic(1))


def test_every_setting_has_a_default() -> None:
    assert DEFAULTS.keys() == FitSettings.__annotations__.keys()


@pytest.mark.parametrize("name", [*DEFAULTS, "objective", "seed"])
def test_help_explains_every_setting_with_its_default(name: str) -> None:
    described = re.search(
        rf"^        {name}: (.*?)(?=^        \w+: |\n\n)", fit.__doc__, re.M | re.S
    )
    assert described is not None
    text = " ".join(described[1].split())
    assert len(text) > 20
    assert "default" in text
    numbers = {1 / 32: "1/32", 5e-4: "5e-4", 0.0: "0"}
    value = DEFAULTS.get(name)
    if isinstance(value, int | float):
        assert f"default {numbers.get(value, f'{value:g}')}" in text


def test_an_unknown_setting_is_one_line_that_suggests_the_nearest() -> None:
    sae = topk_sae(4, 8, 2)
    before = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    line = "setting of `fit`: expected one of epochs, .*received 'epoch'; did you mean 'epochs'?"
    with pytest.raises(OrbitLensError, match=line) as error:
        partial(fit, epoch=3)(sae, STORE)
    assert "\n" not in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in sae.state_dict().items())


def test_an_unknown_precision_is_refused_before_anything_is_changed() -> None:
    sae = topk_sae(4, 8, 2)
    sae.encoder.b_enc.data.fill_(1.0)  # biases are scaled with the activations
    with pytest.raises(OrbitLensError, match="`precision`"):
        fit(sae, STORE, precision="half")
    assert (sae.encoder.b_enc == 1.0).all()
    assert not sae.b_dec.any()


@pytest.mark.parametrize(
    ("precision", "expected"), [("float32", False), ("bfloat16", True), ("auto", False)]
)
def test_a_small_sae_is_searched_in_bfloat16_on_request_alone(
    precision: str, expected: bool
) -> None:
    assert searches_in_bfloat16(precision, topk_sae(4, 8, 2)) is expected


def test_the_rate_by_hand() -> None:
    constant = DEFAULTS | FitSettings(epochs=4, lr=1.0)
    assert [learning_rate(constant, epoch) for epoch in range(4)] == [1.0] * 4
    falling = constant | FitSettings(lr_decay=0.75)
    assert [learning_rate(falling, epoch) for epoch in range(4)] == [1.0, 0.75, 0.5, 0.25]


def test_a_training_beyond_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitlens.checks._memory.usable_memory", lambda: 600)
    sae = topk_sae(4, 4, 2)  # 40 numbers, with their gradients and two moments 640 bytes
    with pytest.raises(OrbitLensError, match=r"a training of 40 weights: .*fewer latents"):
        fit(sae, STORE)
