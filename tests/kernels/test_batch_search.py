"""The two searches for the largest of a whole batch, of a CPU and of a GPU, against each other."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orbitlens.kernels import search as searches
from orbitlens.kernels.search import Block, _PerBatch, _PerBatchSized
from orbitlens.sae import batch_topk_sae
from orbitlens.training._encode import sparse_codes
from orbitlens.training._stack import stack_saes
from orbitlens.typing import Tensor


def found(search, pre: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Look at blocks of a size; values as a dense matrix, and the number of entries of each row."""
    for sample in range(0, pre.shape[1], rows):
        for latent in range(0, pre.shape[2], columns):
            own = pre[:, sample : sample + rows, latent : latent + columns].contiguous()
            search.add(Block(own, sample, latent))
    values, pattern = search.finish()
    dense = torch.zeros(pattern.height, pattern.width)
    dense[pattern.rows, pattern.columns] = values.relu()
    for row in pattern.columns.split(pattern.starts.diff().tolist()):
        assert (row.diff() > 0).all()
    return dense, pattern.starts.diff()


@given(
    members=st.integers(1, 3),
    batch=st.integers(1, 7),
    latents=st.integers(1, 30),
    data=st.data(),
    rows=st.integers(1, 8),
    columns=st.integers(1, 32),
    few=st.booleans(),
    seed=st.integers(0, 999),
)
def test_they_find_the_same_codes_and_one_fills_up_its_budget(
    members: int,
    batch: int,
    latents: int,
    data: st.DataObject,
    rows: int,
    columns: int,
    few: bool,
    seed: int,
) -> None:
    k = data.draw(st.integers(1, latents))
    generator = torch.Generator().manual_seed(seed)
    pre = torch.randn(members, batch, latents, generator=generator)
    if few:  # positive ones; some may not become codes at all
        pre = torch.where(pre > 1.5, pre, torch.where(pre > 0, -torch.inf, pre))
    sizes = (k, members, batch, latents)
    codes, _ = found(_PerBatch(*sizes), pre, rows, columns)
    codes_sized, counts = found(_PerBatchSized(*sizes), pre, rows, columns)
    assert torch.equal(codes, codes_sized)
    assert counts.view(members, batch).sum(1).tolist() == [k * batch] * members


def test_a_budget_of_everything() -> None:
    pre = torch.tensor([[[1.0, -1.0], [0.0, -torch.inf]]])
    dense, counts = found(_PerBatchSized(2, 1, 2, 2), pre, 1, 1)
    assert (dense.tolist(), counts.tolist()) == ([[1.0, 0.0], [0.0, 0.0]], [2, 2])


@pytest.mark.parametrize("hidden", [None, 6])
@pytest.mark.parametrize("bias", [0.0, -3.0], ids=["dense", "few positive"])
def test_codes_and_gradients_are_the_same(hidden: int | None, bias: float, monkeypatch) -> None:
    saes = [batch_topk_sae(5, 40, 3, hidden=hidden, seed=seed) for seed in range(2)]
    y = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(0))
    received = []
    for search in (_PerBatch, _PerBatchSized):
        monkeypatch.setattr(searches, "_PerBatch", lambda *sizes, compiled, by=search: by(*sizes))
        sae = stack_saes(saes)
        sae.encoder.b_enc.data += bias
        codes, _ = sparse_codes(sae, y)
        (x_hat,) = sae.dictionary.sums(codes)
        (x_hat - y).square().sum().backward()
        gradients = [w.grad for w in sae.parameters() if w.grad is not None]
        received.append([codes.dense().detach(), codes.fired(), x_hat.detach(), *gradients])
    assert 0 < (received[0][0] > 0).sum() <= 2 * 3 * 9
    for one, other in zip(*received, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
