"""Encoding for a step of training: a search through all latents, and entries to learn from.

The matrix of pre-activations, batch x latents, is by far the largest of a step, and all but k of
its numbers per sample are thrown away. Here a block of it is made, searched while it is in cache,
and overwritten by the next; what was found becomes `SparseCodes`, and the gradient goes through
these entries alone.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple, Protocol, final

import torch

from orbitlens.sae.largest import RunningLargest, largest
from orbitlens.sae.model import SAE
from orbitlens.sae.sparse_codes import SparseCodes, selected
from orbitlens.sae.sparse_products import Pattern, entry_products, starts_of
from orbitlens.typing import Bool, Float, Tensor

_BLOCK = 2**23
"""Pre-activations of a block, 32 MiB in float32, the size of a last cache."""
_WIDEST = 2**13
"""Latents of a block. Fewer make the search slower, more the product, which packs their weights."""
_FEWEST_ROWS = 64
"""Below, a matrix product reads its weights too often."""

Found = tuple[Float[Tensor, " entries"], Pattern]


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
        >>> from orbitlens.stack import stack_saes
        >>> sae, y = topk_sae(4, 8, 2), torch.randn(3, 4)
        >>> codes, _ = sparse_codes(stack_saes([sae]), y[None])
        >>> torch.allclose(codes.dense()[0], sae.encode(y), atol=1e-6)
        True
    """
    layer = _LastLayer(
        sae.encoder.features(y - sae.dictionary.centre.unsqueeze(-2)),
        sae.encoder.vectors,
        sae.encoder.biases,
    )
    (members, batch), k, rule = y.shape[:2], sae.sparsity.k, sae.sparsity
    # Seen from several sides, the entries of a sample come side after side.
    per_sample = partial(_PerSample, k, sae.d_sae, ordered=layer.features.ndim > 3)
    search: _Search = per_sample()
    if rule.shared:
        sized = y.is_cuda
        search = (_PerBatchSized if sized else _PerBatch)(k, members, batch, sae.d_sae)
    among_dead = None if dead is None else per_sample()
    with torch.no_grad():
        for block in _blocks(sae, layer, half=half):
            if among_dead is not None and dead is not None:
                living = ~dead[:, None, block.latent : block.latent + block.pre.shape[-1]]
                among_dead.add(block._replace(pre=block.pre.masked_fill(living, -torch.inf)))
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


class _Block(NamedTuple):
    """Pre-activations of some samples for some latents, and the first of either."""

    pre: Float[Tensor, "member rows columns"]
    sample: int
    latent: int


def _blocks(sae: SAE, layer: _LastLayer, *, half: bool) -> Iterator[_Block]:
    """Yield all pre-activations, block by block in the same memory where that can be.

    A rule that compares latents, such as the orientations of an atom, sees all of them at once.
    """
    features, vectors, biases = layer
    (members, batch), latents = features.shape[:2], sae.d_sae
    if sae.dictionary.compares or sae.sparsity.compares or features.ndim > 3:
        rows = max(_FEWEST_ROWS, _BLOCK // (members * latents))
        for sample in range(0, batch, rows):
            yield _Block(sae.encoder.answers(features[:, sample : sample + rows]), sample, 0)
        return
    if half:
        features, vectors, biases = (part.to(torch.bfloat16) for part in layer)
    width = min(latents, _WIDEST)
    rows = min(batch, max(_FEWEST_ROWS, _BLOCK // (members * width)))
    room = features.new_empty(members * rows * width)
    for sample in range(0, batch, rows):
        seen = features[:, sample : sample + rows]
        for latent in range(0, latents, width):
            own = slice(latent, latent + width)
            shape = (members, seen.shape[1], min(width, latents - latent))
            pre = room[: math.prod(shape)].view(shape)
            weights, bias = vectors[:, own].mT, biases[:, own].unsqueeze(-2)
            if members == 1:
                torch.addmm(bias[0], seen[0], weights[0], out=pre[0])
            else:
                torch.baddbmm(bias, seen, weights, out=pre)
            yield _Block(pre, sample, latent)


class _Search(Protocol):
    """Looks at block after block, and says what it found."""

    def add(self, block: _Block) -> None: ...

    def finish(self) -> Found: ...


@final
class _PerSample:
    """The k largest of every sample; `ordered` says whether by latent within each."""

    def __init__(self, k: int, latents: int, *, ordered: bool) -> None:
        self.k, self.latents, self.ordered = k, latents, ordered
        self._found: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def add(self, block: _Block) -> None:
        values, columns = largest(block.pre, min(self.k, block.pre.shape[-1]))
        self._found.setdefault(block.sample, []).append((values, columns + block.latent))

    def finish(self) -> Found:
        kept = [self._merged(parts) for parts in self._found.values()]
        values, places = (torch.cat(parts, dim=1) for parts in zip(*kept, strict=True))
        if self.ordered:
            places, order = places.sort(-1)
            values = values.gather(-1, order)
        members, batch, k = values.shape
        offset = self.latents * torch.arange(members, device=places.device)
        columns = (places + offset[:, None, None]).flatten()
        starts = torch.arange(0, members * batch * k + 1, k, device=places.device)
        return values.flatten(), Pattern(starts, columns, members * self.latents)

    def _merged(self, parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        if len(parts) == 1:
            return parts[0]
        values, places = (torch.cat(part, dim=-1) for part in zip(*parts, strict=True))
        best, order = largest(values, self.k)
        return best, places.gather(-1, order)


@final
class _PerBatch:
    """The k * batch largest positive ones of every member's whole batch."""

    def __init__(self, k: int, members: int, batch: int, latents: int) -> None:
        self.batch, self.latents = batch, latents
        self._running = [RunningLargest(k * batch) for _ in range(members)]

    def add(self, block: _Block) -> None:
        first = block.sample * self.latents + block.latent
        for own, running in zip(block.pre, self._running, strict=True):
            running.add(own, first=first, stride=self.latents)

    def finish(self) -> Found:
        found = [running.finish() for running in self._running]
        latents, members = self.latents, len(found)
        values = torch.cat([values for values, _ in found])
        rows = torch.cat([m * self.batch + at // latents for m, (_, at) in enumerate(found)])
        columns = torch.cat([m * latents + at % latents for m, (_, at) in enumerate(found)])
        return values, Pattern(starts_of(rows, members * self.batch), columns, members * latents)


@final
class _PerBatchSized:
    """As `_PerBatch`, with numbers that are not positive where too few are.

    How many entries there are is known before, so that the host does not wait for a GPU to say it.
    A CPU, which waits for nobody, has less to do where most blocks are dropped.
    """

    def __init__(self, k: int, members: int, batch: int, latents: int) -> None:
        del members
        self.budget, self.batch, self.latents = k * batch, batch, latents
        self._found: list[tuple[Tensor, Tensor]] = []

    def add(self, block: _Block) -> None:
        width, pre = block.pre.shape[-1], block.pre.flatten(1)
        values, at = largest(pre, min(self.budget, pre.shape[-1]))
        first = block.sample * self.latents + block.latent
        self._found.append((values, first + at // width * self.latents + at % width))
        if len(self._found) > 1:
            values, places = (torch.cat(part, dim=-1) for part in zip(*self._found, strict=True))
            best, order = largest(values, min(self.budget, values.shape[-1]))
            self._found = [(best, places.gather(-1, order))]

    def finish(self) -> Found:
        ((values, places),) = self._found
        places, order = places.sort(-1)
        members, latents = len(places), self.latents
        member = torch.arange(members, device=places.device)[:, None]
        rows = (member * self.batch + places // latents).flatten()
        columns = (member * latents + places % latents).flatten()
        starts = starts_of(rows, members * self.batch)
        return values.gather(-1, order).flatten(), Pattern(starts, columns, members * latents)
