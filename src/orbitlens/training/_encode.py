"""Encoding for a step of training: a search through all latents, and entries to learn from.

The matrix of pre-activations, batch x latents, is by far the largest of a step, and all but k of
its numbers per sample are thrown away. Here a block of it is made, searched while it is in cache,
and overwritten by the next; what was found becomes `SparseCodes`, and the gradient goes through
these entries alone.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch

from orbitlens.kernels import (
    Block,
    Found,
    Pattern,
    SparseCodes,
    empty,
    entry_products,
    per_batch,
    per_sample,
    selected,
    shifted,
    starts_of,
)
from orbitlens.sae.model import SAE
from orbitlens.typing import Bool, Float, Tensor

_BLOCK = 2**23
"""Pre-activations of a block, 32 MiB in float32, the size of a last cache."""
_WIDEST = 2**13
"""Latents of a block. Fewer make the search slower, more the product, which packs their weights."""
_FEWEST_ROWS = 64
"""Below, a matrix product reads its weights too often."""


def sparse_codes(
    sae: SAE,
    y: Float[Tensor, "member batch dim"],
    *,
    dead: Bool[Tensor, "member latents"] | None = None,
    half: bool = False,
) -> tuple[SparseCodes, SparseCodes | None]:
    """Encode a batch of every member of a stack.

    Args:
        sae: The stack, see `orbitlens.stack`.
        y: Activations in the dictionary's coordinates, shape [member, batch, dim].
        dead: Latents that have not fired for long, shape [member, latents]; None for none.
        half: Whether to search in bfloat16. What is found is computed in full precision.

    Returns:
        The codes, and the k largest pre-activations of dead latents, of either sign; None without
        dead latents.

    Example:
        >>> from orbitlens.sae import topk_sae
        >>> from orbitlens.training._stack import stack_saes
        >>> sae, y = topk_sae(4, 8, 2), torch.randn(3, 4)
        >>> codes, _ = sparse_codes(stack_saes([sae]), y[None])
        >>> torch.allclose(codes.dense()[0], sae.encode(y), atol=1e-6)
        True
    """
    layer, sizes, rule = _last_layer(sae, y), (*y.shape[:2], sae.d_sae), sae.sparsity
    among = partial(
        per_sample,
        *(y, *sizes),
        k=rule.k,
        width=sae.d_sae if _compares(sae, layer) else min(sae.d_sae, _WIDEST),
        # Seen from several sides, the entries of a sample come side after side.
        ordered=layer.features.ndim > 3,
    )
    search = per_batch(y, *sizes, k=rule.k) if rule.shared else among()
    among_dead = None if dead is None else among()
    bare = search.adds_biases and (among_dead is None or among_dead.adds_biases)
    with torch.no_grad():
        for block in _blocks(sae, layer, bare=bare, half=half):
            if among_dead is not None and dead is not None:
                among_dead.add(block.among(dead))
            search.add(block._replace(pre=rule.eligible(sae.dictionary.admitted(block.pre))))
    codes = layer.entries(search.finish(), sae.d_sae, half=half)
    positive = SparseCodes(torch.relu(codes.values), codes.pattern, codes.shape)
    if among_dead is None:
        return positive, None
    reviving = layer.entries(among_dead.finish(), sae.d_sae, half=half)
    values = reviving.values
    # A member with fewer dead latents than k found living ones, at minus infinity.
    values = torch.where(values.isfinite(), values, torch.zeros_like(values))
    return positive, SparseCodes(values, reviving.pattern, reviving.shape)


class _LastLayer(NamedTuple):
    """What an encoder's last layer sees and its weights; it may see a sample from several sides."""

    features: Float[Tensor, "member batch *axes"]
    vectors: Float[Tensor, "member vectors width"]
    biases: Float[Tensor, "member vectors"]

    def entries(self, found: Found, latents: int, *, half: bool) -> SparseCodes:
        """Make what was found depend on features and weights."""
        values, pattern = found
        members, batch = self.features.shape[:2]
        own = self._by_side(pattern, latents)
        rows, columns = self.features.flatten(0, -2), self.vectors.flatten(0, 1).contiguous()
        biases = self.biases.flatten()
        if half:
            with torch.no_grad():
                exact = entry_products(own, rows, columns) + biases[own.columns]
                values = torch.where(values.isfinite(), exact, values.to(exact.dtype))
        values = selected(values, rows, columns, biases, own)
        return SparseCodes(values, pattern, (members, batch, latents))

    def _by_side(self, pattern: Pattern, latents: int) -> Pattern:
        """The same entries, with a row for each side of each sample; columns are then atoms."""
        if self.features.ndim == 3:
            return pattern
        sides, atoms = self.features.shape[2], self.vectors.shape[-2]
        member, latent = pattern.columns // latents, pattern.columns % latents
        starts = starts_of(pattern.rows * sides + latent // atoms, pattern.height * sides)
        return Pattern(starts, member * atoms + latent % atoms, len(self.features) * atoms)


def _last_layer(sae: SAE, y: Float[Tensor, "member batch dim"]) -> _LastLayer:
    """Run the encoder up to its last layer."""
    centre, (vectors, biases) = sae.dictionary.centre, (sae.encoder.vectors, sae.encoder.biases)
    centred = y - centre.unsqueeze(-2)
    features = sae.encoder.features(centred)
    if features is not centred or y.requires_grad:
        return _LastLayer(features, vectors, biases)
    # Of a gradient for every sample only the sum would be used, which costs as much as a product
    # with one vector.
    return _LastLayer(centred.detach(), vectors, shifted(biases, vectors, centre))


def _blocks(sae: SAE, layer: _LastLayer, *, bare: bool, half: bool) -> Iterator[Block]:
    """Yield all pre-activations, block by block in the same memory where that can be.

    A rule that compares latents, such as the orientations of an atom, sees all of them at once.
    """
    features, vectors, biases = layer
    (members, batch), latents = features.shape[:2], sae.d_sae
    if _compares(sae, layer):
        rows = max(_FEWEST_ROWS, _BLOCK // (members * latents))
        for sample in range(0, batch, rows):
            yield Block(sae.encoder.answers(features[:, sample : sample + rows]), sample, 0)
        return
    kind = torch.bfloat16 if half else features.dtype
    features, vectors = features.to(kind), vectors.to(kind)
    width = min(latents, _WIDEST)
    rows = min(batch, max(_FEWEST_ROWS, _BLOCK // (members * width)))
    room = empty(members * rows * width, like=features)
    for sample in range(0, batch, rows):
        seen = features[:, sample : sample + rows]
        for latent in range(0, latents, width):
            own = slice(latent, latent + width)
            shape = (members, seen.shape[1], min(width, latents - latent))
            pre = room[: math.prod(shape)].view(shape)
            weights, bias = vectors[:, own].mT, biases[:, own]
            if bare and members == 1:
                torch.mm(seen[0], weights[0], out=pre[0])
            elif bare:
                torch.bmm(seen, weights, out=pre)
            elif members == 1:
                torch.addmm(bias[0].to(kind), seen[0], weights[0], out=pre[0])
            else:
                torch.baddbmm(bias.to(kind).unsqueeze(-2), seen, weights, out=pre)
            yield Block(pre, sample, latent, bias.contiguous() if bare else None)


def _compares(sae: SAE, layer: _LastLayer) -> bool:
    """Whether latents, or the sides from which a sample is seen, are compared."""
    compares = sae.dictionary.compares or sae.sparsity.compares
    return bool(compares or layer.features.ndim > 3)
