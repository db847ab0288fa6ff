"""Codes of which the selected entries are stored, against the dense codes they stand for."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from orbitlens.kernels._pattern import Pattern
from orbitlens.kernels.sparse_codes import SparseCodes, selected
from orbitlens.typing import Tensor


def random(*shape: int, seed: int) -> Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()
    return values.requires_grad_()


def random_codes(members: int, batch: int, latents: int, seed: int) -> SparseCodes:
    """Every row has some latents of its own member, from none to all, in any order."""
    generator = torch.Generator().manual_seed(seed)
    columns = []
    for row in range(members * batch):
        count = int(torch.randint(latents + 1, (), generator=generator))
        own = torch.randperm(latents, generator=generator)[:count]
        columns.append(row // batch * latents + own)
    starts = torch.tensor([0, *(len(own) for own in columns)]).cumsum(0)
    pattern = Pattern(starts, torch.cat(columns), members * latents)
    values = random(len(pattern.columns), seed=seed + 1)
    return SparseCodes(values, pattern, (members, batch, latents))


def entries(dense: Tensor, pattern: Pattern) -> Tensor:
    """The entries of a dense tensor [member, batch, latents]."""
    members, batch, latents = dense.shape
    return dense.reshape(members * batch, latents)[pattern.rows, pattern.columns % latents]


def scattered(codes: SparseCodes) -> Tensor:
    """The codes, entry after entry."""
    _, batch, latents = codes.shape
    dense = torch.zeros(codes.shape, dtype=torch.float64)
    at = zip(codes.pattern.rows.tolist(), codes.pattern.columns.tolist(), strict=True)
    for entry, (row, column) in enumerate(at):
        assert row // batch == column // latents
        dense[row // batch, row % batch, column % latents] = codes.values[entry].detach()
    return dense


def agree(received: Tensor, expected: Tensor, inputs: tuple[Tensor, ...]) -> None:
    """Both are equal, and so are their gradients along some fixed direction."""
    torch.testing.assert_close(received, expected, rtol=1e-12, atol=1e-12)
    along = received.detach().cos()
    pairs = zip(
        torch.autograd.grad(received, inputs, along),
        torch.autograd.grad(expected, inputs, along),
        strict=True,
    )
    for own, reference in pairs:
        torch.testing.assert_close(own, reference, rtol=1e-12, atol=1e-12)


shapes = given(
    members=st.integers(1, 3),
    batch=st.integers(1, 5),
    latents=st.integers(1, 8),
    dim=st.integers(1, 6),
    seed=st.integers(0, 999),
)


class TestSparseCodes:
    @shapes
    def test_dense_codes_have_the_entries_and_zeros(
        self, members: int, batch: int, latents: int, dim: int, seed: int
    ) -> None:
        del dim
        codes = random_codes(members, batch, latents, seed)
        assert torch.equal(codes.dense(), scattered(codes))

    @shapes
    def test_sums_are_the_product_of_dense_codes_and_directions(
        self, members: int, batch: int, latents: int, dim: int, seed: int
    ) -> None:
        codes = random_codes(members, batch, latents, seed)
        directions = random(members, latents, dim, seed=seed + 2)
        agree(codes.sums(directions), codes.dense() @ directions, (codes.values, directions))

    @shapes
    def test_folded_codes_are_dense_ones_summed_over_the_periods(
        self, members: int, batch: int, latents: int, dim: int, seed: int
    ) -> None:
        codes = random_codes(members, batch, latents * dim, seed)
        expected = codes.dense().unflatten(-1, (dim, latents)).sum(-2)
        agree(codes.folded(latents), expected, (codes.values,))

    @shapes
    def test_fired_counts_the_positive_codes_of_each_latent(
        self, members: int, batch: int, latents: int, dim: int, seed: int
    ) -> None:
        del dim
        codes = random_codes(members, batch, latents, seed)
        positive = SparseCodes(codes.values.relu(), codes.pattern, codes.shape)
        expected = (scattered(codes) > 0).sum(1).double()
        assert torch.equal(codes.fired(), expected)
        assert torch.equal(positive.fired(), expected)

    def test_derivatives_by_finite_differences(self) -> None:
        codes = random_codes(2, 3, 4, seed=0)
        directions = random(2, 4, 3, seed=1)

        def of(values: Tensor) -> SparseCodes:
            return SparseCodes(values, codes.pattern, codes.shape)

        assert gradcheck(lambda values, to: of(values).sums(to), (codes.values, directions))
        assert gradcheck(lambda values: of(values).dense(), (codes.values,))
        assert gradcheck(lambda values: of(values).folded(2), (codes.values,))


class TestSelected:
    @staticmethod
    def found(features: Tensor, vectors: Tensor, biases: Tensor, pattern: Pattern) -> Tensor:
        """What a search finds at the entries: numbers without a history."""
        pre = features @ vectors.mT + biases
        return pre[pattern.rows, pattern.columns].detach()

    def test_derivatives_by_finite_differences(self) -> None:
        pattern = random_codes(1, 4, 5, seed=0).pattern
        inputs = (random(4, 3, seed=1), random(5, 3, seed=2), random(5, seed=3))
        assert gradcheck(lambda *own: selected(self.found(*own, pattern), *own, pattern), inputs)

    @shapes
    def test_gradients_are_those_of_the_dense_product(
        self, members: int, batch: int, latents: int, dim: int, seed: int
    ) -> None:
        pattern = random_codes(members, batch, latents, seed).pattern
        features = random(members, batch, dim, seed=seed + 2)
        vectors = random(members, latents, dim, seed=seed + 3)
        biases = random(members, latents, seed=seed + 4)
        flat = (features.flatten(0, 1), vectors.flatten(0, 1), biases.flatten())
        pre = torch.baddbmm(biases.unsqueeze(-2), features, vectors.mT)
        received = selected(self.found(*flat, pattern), *flat, pattern)
        agree(received, entries(pre, pattern), (features, vectors, biases))

    @pytest.mark.parametrize("learning", range(3))
    def test_only_the_gradients_that_are_asked_for(self, learning: int) -> None:
        pattern = random_codes(1, 4, 5, seed=0).pattern
        inputs = (random(4, 3, seed=1), random(5, 3, seed=2), random(5, seed=3))
        for index, tensor in enumerate(inputs):
            tensor.requires_grad_(index == learning)
        selected(self.found(*inputs, pattern), *inputs, pattern).sum().backward()
        assert [tensor.grad is not None for tensor in inputs] == [i == learning for i in range(3)]

    def test_what_was_found_is_passed_on_to_the_bit(self) -> None:
        pattern = random_codes(1, 4, 5, seed=0).pattern
        inputs = (random(4, 3, seed=1), random(5, 3, seed=2), random(5, seed=3))
        found = torch.arange(float(len(pattern.columns))).double()
        assert torch.equal(selected(found, *inputs, pattern), found)
