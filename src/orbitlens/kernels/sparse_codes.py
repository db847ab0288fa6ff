"""Codes stored as their selected entries, with gradients."""

from dataclasses import dataclass
from typing import Any

import torch

from orbitlens.kernels._pattern import Pattern
from orbitlens.kernels._products import column_sums, entry_products, gathered_sums, weighted_sums
from orbitlens.typing import Float, StackedCodes, Tensor


@dataclass(frozen=True, eq=False)
class SparseCodes:
    """The selected codes of a stack of SAEs, of `shape` (member, batch, latents).

    Row m * batch + b of the pattern holds the entries of sample b of member m. Column
    m * latents + i stands for latent i of member m. A value may be zero.
    """

    values: Float[Tensor, " entries"]
    pattern: Pattern
    shape: tuple[int, int, int]

    def dense(self) -> StackedCodes:
        """Return all codes, shape [member, batch, latents]; gradients flow to the entries."""
        return self.folded(self.shape[-1])

    def folded(self, width: int) -> Float[Tensor, "member batch width"]:
        """Sum the latents that are equal modulo `width`, such as the orientations of an atom."""
        members, batch, _ = self.shape
        flat = self.values.new_zeros(self.pattern.height * width)
        places = self.pattern.rows * width + self.pattern.columns % width
        return flat.scatter_add(0, places, self.values).view(members, batch, width)

    def sums(
        self, directions: Float[Tensor, "member latents dim"]
    ) -> Float[Tensor, "member batch dim"]:
        """Return sum_i z_i D_i, shape [member, batch, dim]."""
        members, batch, _ = self.shape
        sums: Tensor = _Sums.apply(self.values, directions.flatten(0, 1), self.pattern)  # type: ignore[no-untyped-call]
        return sums.unflatten(0, (members, batch))

    def fired(self) -> Float[Tensor, "member latents"]:
        """Return the number of samples for which each latent is positive, [member, latents]."""
        members, _, latents = self.shape
        counts = column_sums(self.pattern, (self.values > 0).to(self.values.dtype))
        return counts.view(members, latents)


def selected(
    found: Float[Tensor, " entries"],
    features: Float[Tensor, "rows dim"],
    vectors: Float[Tensor, "columns dim"],
    biases: Float[Tensor, " columns"],
    pattern: Pattern,
) -> Float[Tensor, " entries"]:
    """Give the values found by a search the gradient of <features of row, vector of column> + bias.

    The gradient costs as much as there are entries.
    """
    return _Selected.apply(found, features, vectors, biases, pattern)  # type: ignore[no-untyped-call]


def at_columns(
    per_column: Float[Tensor, " columns"], pattern: Pattern
) -> Float[Tensor, " entries"]:
    """Return the number of each entry's column; its gradient is the sum over the column."""
    return _AtColumns.apply(per_column, pattern)  # type: ignore[no-untyped-call]


def shifted(
    biases: Float[Tensor, "member latents"],
    vectors: Float[Tensor, "member latents dim"],
    centre: Float[Tensor, "member dim"],
) -> Float[Tensor, "member latents"]:
    """Give biases the gradient by the centre of <x - centre, vector> + bias.

    If their gradient is g, that of the centre is -sum_i g_i vector_i.
    """
    return _Shifted.apply(biases, vectors.detach(), centre)  # type: ignore[no-untyped-call]


class _AtColumns(torch.autograd.Function):
    """One number of each column, differentiated in an order that depends on the pattern alone."""

    @staticmethod
    def forward(ctx: Any, per_column: Tensor, pattern: Pattern) -> Tensor:
        ctx.pattern = pattern
        return per_column.index_select(0, pattern.columns)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return column_sums(ctx.pattern, grad.contiguous()), None


class _Shifted(torch.autograd.Function):
    """Biases, differentiated by themselves and by the centre."""

    @staticmethod
    def forward(ctx: Any, biases: Tensor, vectors: Tensor, centre: Tensor) -> Tensor:
        del centre
        ctx.save_for_backward(vectors)
        return biases.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (vectors,) = ctx.saved_tensors
        return grad, None, -torch.einsum("ml,mld->md", grad, vectors)


class _Sums(torch.autograd.Function):
    """S W, differentiated by the entries of S and by W."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, vectors: Tensor, pattern: Pattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(values, vectors)
        return weighted_sums(pattern, values, vectors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, vectors = ctx.saved_tensors
        by_values, by_vectors, _ = ctx.needs_input_grad
        return (
            entry_products(ctx.pattern, grad, vectors) if by_values else None,
            gathered_sums(ctx.pattern, values, grad.contiguous()) if by_vectors else None,
            None,
        )


class _Selected(torch.autograd.Function):
    """X W^T + b at the entries, differentiated by X, W and b."""

    @staticmethod
    def forward(
        ctx: Any, found: Tensor, features: Tensor, vectors: Tensor, biases: Tensor, pattern: Pattern
    ) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(features, vectors)
        return found.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        features, vectors = ctx.saved_tensors
        _, by_features, by_vectors, by_biases, _ = ctx.needs_input_grad
        pattern = ctx.pattern
        return (
            None,
            weighted_sums(pattern, grad, vectors) if by_features else None,
            gathered_sums(pattern, grad, features) if by_vectors else None,
            column_sums(pattern, grad) if by_biases else None,
            None,
        )
