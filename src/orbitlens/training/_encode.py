"""Encoding in a training step: a search through all latents, and the entries that learn.

The matrix of pre-activations, batch x latents, is by far the largest of a step, and all but k of
its numbers per sample are dropped; with a rule without a k, all but those that fire. Here a block
of it is computed, searched while it is in cache, and overwritten by the next. The numbers found
become `SparseCodes`; the gradient flows through these entries alone.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch

from orbitlens.errors import unknown_name
from orbitlens.kernels import (
    Block,
    Found,
    Pattern,
    SparseCodes,
    branches,
    empty,
    entry_products,
    every_positive,
    multiply,
    per_batch,
    per_sample,
    selected,
    shifted,
    spread,
    starts_of,
)
from orbitlens.sae.model import SAE
from orbitlens.typing import Bool, Float, Tensor

PRECISIONS = ("auto", "float32", "bfloat16")

_BLOCK = 2**23
"""Pre-activations of a block: 32 MiB in float32, the size of a last cache."""
_WIDEST = 2**13
"""Latents of a block. Fewer slow the search, more slow the product, which packs their weights."""
_FEWEST_ROWS = 64
"""Samples of a block, below which a matrix product reads its weights too often."""
_LARGE = 2**21
"""Weights of the last layer, from which on its product takes most of a step."""


def sparse_codes(
    sae: SAE,
    y: Float[Tensor, "member batch dim"],
    *,
    dead: Bool[Tensor, "member latents"] | None = None,
    half: bool = False,
) -> tuple[SparseCodes, SparseCodes | None]:
    """Return a stack's codes of y, in its dictionary's coordinates, and the k largest dead latents.

    The pre-activations of `dead` latents, which have not fired for long, are of either sign. With
    `half` the search runs in bfloat16, and codes are computed again in full precision.
    """
    pre, dying = selected_entries(sae, y, dead=dead, half=half)
    return codes_of(sae, pre), dying


def codes_of(sae: SAE, pre: SparseCodes) -> SparseCodes:
    """Return the codes of selected pre-activations."""
    return SparseCodes(sae.sparsity.of_entries(pre), pre.pattern, pre.shape)


def selected_entries(
    sae: SAE,
    y: Float[Tensor, "member batch dim"],
    *,
    dead: Bool[Tensor, "member latents"] | None = None,
    half: bool = False,
) -> tuple[SparseCodes, SparseCodes | None]:
    """Return the pre-activations that become codes, and those of dead latents; see above."""
    layer, shape, rule = _last_layer(sae, y), (*y.shape[:2], sae.d_sae), sae.sparsity
    among = partial(
        per_sample,
        *(y, shape),
        k=rule.k,
        width=sae.d_sae if _compares(sae, layer) else min(sae.d_sae, _WIDEST),
        # The encoder sees a sample from several sides; its entries must come side after side.
        ordered=layer.features.ndim > 3,
    )
    if rule.every:
        search = every_positive(shape)
    else:
        search = per_batch(y, shape, k=rule.k) if rule.shared else among()
    among_dead = None if dead is None else among()
    bare = search.adds_biases and (among_dead is None or among_dead.adds_biases)
    with torch.no_grad():
        for block in _blocks(sae, layer, bare=bare, half=half):
            if among_dead is not None and dead is not None:
                among_dead.add(block.among(dead))
            search.add(block._replace(pre=rule.eligible(sae.dictionary.admitted(block.pre))))
    living, *dying = layer.uses(1 if among_dead is None else 2)
    codes = living.entries(search.finish(), sae.d_sae, half=half)
    if among_dead is None:
        return codes, None
    reviving = dying[0].entries(among_dead.finish(), sae.d_sae, half=half)
    values = reviving.values
    # In a member with fewer than k dead latents the search fills up with living ones at -inf.
    values = torch.where(values.isfinite(), values, torch.zeros_like(values))
    return codes, SparseCodes(values, reviving.pattern, reviving.shape)


class _LastLayer(NamedTuple):
    """Inputs and weights of an encoder's last layer; a sample may have inputs of several sides."""

    features: Float[Tensor, "member batch *axes"]
    vectors: Float[Tensor, "member vectors width"]
    biases: Float[Tensor, "member vectors"]

    def uses(self, count: int) -> list["_LastLayer"]:
        """Return the layer for each of so many uses."""
        return [self._replace(vectors=own) for own in branches(self.vectors, count)]

    def entries(self, found: Found, latents: int, *, half: bool) -> SparseCodes:
        """Give the values found a gradient by features and weights."""
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
        """Return the pattern with a row for each side of each sample; columns are then atoms."""
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
    # Only the sum of the samples' gradients is used, and it costs one product with a vector.
    return _LastLayer(centred.detach(), vectors, shifted(biases, vectors, centre))


def _blocks(sae: SAE, layer: _LastLayer, *, bare: bool, half: bool) -> Iterator[Block]:
    """Yield all pre-activations, block by block, in the same memory if possible.

    A rule that compares latents, such as the orientations of an atom, gets all of them at once.
    """
    features, vectors, biases = layer
    (members, batch), latents = features.shape[:2], sae.d_sae
    if _compares(sae, layer):
        rows = max(_FEWEST_ROWS, _BLOCK // (members * latents))
        for sample in range(0, batch, rows):
            yield Block(sae.encoder.answers(features[:, sample : sample + rows]), sample, 0)
        return
    kind = torch.bfloat16 if half else features.dtype
    if half:
        features = features.to(kind)
        with spread():
            vectors = empty(*vectors.shape, like=features).copy_(vectors)
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
            plus = None if bare else bias.to(kind).unsqueeze(-2)
            multiply(seen, weights, pre, plus=plus)
            yield Block(pre, sample, latent, bias.contiguous() if bare else None)


def _compares(sae: SAE, layer: _LastLayer) -> bool:
    """Whether latents, or the sides of a sample, are compared, or must be told apart."""
    rule = sae.sparsity
    compares = sae.dictionary.compares or rule.compares or rule.per_latent
    return bool(compares or layer.features.ndim > 3)


def searches_in_bfloat16(precision: str, sae: SAE) -> bool:
    """Say whether to search an SAE, on its device, in bfloat16.

    "auto" does so for large SAEs on hardware with matrix units for it: the tensor cores of a GPU or
    the tiles (AMX) of a CPU.
    """
    if precision not in PRECISIONS:
        raise unknown_name("`precision`", precision, PRECISIONS)
    if precision != "auto":
        return precision == "bfloat16"
    return sae.encoder.vectors.numel() >= _LARGE and _has_matrix_units(sae.b_dec.device)


def _has_matrix_units(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()
