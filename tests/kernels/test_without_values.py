"""A step may not depend on values, which a GPU would have to be waited for: there are none here.

Tensors of the device "meta" have a shape and no numbers. Whatever needs one, such as `nonzero` or
`item`, raises, and so does what puts a tensor of the CPU beside them.
"""

from types import SimpleNamespace

import pytest
import torch

from orbitlens.groups import cyclic
from orbitlens.kernels import _products as products
from orbitlens.kernels import search
from orbitlens.kernels._gpu import further_pieces
from orbitlens.reps import isotypic_basis, regular
from orbitlens.sae import (
    SAE,
    BatchTopK,
    CrosscoderDictionary,
    FreeDictionary,
    OnePose,
    OrbitDictionary,
    TopK,
    compose,
)
from orbitlens.training._encode import sparse_codes
from orbitlens.training._stack import stack_saes
from orbitlens.typing import Tensor

META = torch.device("meta")
RULES = {"topk": TopK, "batchtopk": BatchTopK, "one pose": lambda k: OnePose(BatchTopK(k), 4)}
DICTIONARIES = {
    "free": lambda: FreeDictionary(32, 4),
    "crosscoder": lambda: CrosscoderDictionary(32, 4, 4),
    "orbit": lambda: OrbitDictionary(8, isotypic_basis(regular(cyclic(4)))),
}


def weighted_sums(starts: Tensor, columns: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
    """Prepare the kernel's arguments; its sums have a shape alone."""
    assert len(further_pieces(starts, len(columns))[1]) == len(starts)
    assert len(values) == len(columns)
    return vectors.new_empty(len(starts) - 1, vectors.shape[1])


def entry_products(starts: Tensor, columns: Tensor, left: Tensor, right: Tensor) -> Tensor:
    assert len(left) == len(starts) - 1
    assert left.shape[1] == right.shape[1]
    return left.new_empty(len(columns))


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch) -> None:
    kernels = SimpleNamespace(weighted_sums=weighted_sums, entry_products=entry_products)
    monkeypatch.setattr(products, "kernels_for", lambda *_: kernels)
    sized = search._PerBatchSized
    monkeypatch.setattr(search, "_PerBatch", lambda *sizes, compiled: sized(*sizes))


def build(dictionary: str, rule: str, hidden: int | None) -> SAE:
    own = DICTIONARIES[dictionary]()
    if isinstance(own, OrbitDictionary):
        sae = stack_saes([compose(RULES[rule](3), own, hidden=hidden, seed=0)] * 2)
        # Asked once after `settle_`, which is called once in an epoch.
        sae.dictionary._any_symmetric()
        coset = sae.dictionary._known.to(META)
        sae = sae.to(META)
        sae.dictionary.coset = sae.dictionary._known = coset
        return sae
    return stack_saes([compose(RULES[rule](3), own, hidden=hidden, seed=0)] * 2).to(META)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("hidden", [None, 6], ids=["linear", "two layers"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dictionary", DICTIONARIES)
def test_codes_sums_and_gradients_need_none(
    dictionary: str, rule: str, hidden: int | None, half: bool
) -> None:
    sae, y = build(dictionary, rule, hidden), torch.empty(2, 9, 4, device=META)
    dead = torch.empty(2, 32, dtype=torch.bool, device=META)
    codes, reviving = sparse_codes(sae, y, dead=dead, half=half)
    assert reviving is not None
    sums = sum(sae.dictionary.sums(codes, reviving))
    (sums.sum() + codes.dense().sum() + codes.folded(8).sum()).backward()
    sae.dictionary.project_()
    assert codes.fired().shape == (2, 32)
    assert len(codes.values) == 2 * 9 * 3
    gradients = [weights.grad for weights in sae.encoder.parameters()]
    assert all(gradient is not None and gradient.device == META for gradient in gradients)


def test_a_search_that_needs_values_is_noticed(monkeypatch) -> None:
    monkeypatch.undo()
    with pytest.raises(NotImplementedError, match="nonzero"):
        sparse_codes(build("free", "batchtopk", None), torch.empty(2, 9, 4, device=META))
