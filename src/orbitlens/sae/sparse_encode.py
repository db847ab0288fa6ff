"""Encoding for a step of training: a search through all latents, and entries to learn from.

The matrix of pre-activations, batch x latents, is by far the largest of a step, and all but k of
its numbers per sample are thrown away. Here a tile of it is made, searched while it is in cache, and
overwritten by the next; what was found becomes `SparseCodes`, and the gradient goes through these
entries alone.
"""

from collections.abc import Iterator
from typing import Protocol, final

import torch

from orbitlens.sae.largest import RunningLargest, largest
from orbitlens.sae.model import SAE
from orbitlens.sae.sparse_codes import SparseCodes, selected
from orbitlens.sae.sparse_products import Pattern, entry_products
from orbitlens.typing import Float, Int, Tensor

_TILE = 2**21
"""Pre-activations of a tile, 8 MiB in float32, which stay in the last cache."""
_FEWEST_ROWS = 64
"""Below, a matrix product reads its weights too often."""

Features = Float[Tensor, "member batch *axes"]
Found = tuple[Float[Tensor, " entries"], Pattern]


def sparse_codes(
    sae: SAE,
    y: Float[Tensor, "member batch dim"],
    *,
    dead: Int[Tensor, "member most"] | None = None,
    half: bool = False,
) -> tuple[SparseCodes, SparseCodes | None]:
    """Encode a batch of every member of a stack.

    Args:
        sae: The stack, see `orbitlens.stack`.
        y: Activations in the dictionary's coordinates, shape [member, batch, dim].
        dead: Latents that have not fired for long, shape [member, most]; -1 where a member has
            fewer. None for none.
        half: Whether to search in bfloat16. What is found is computed in full precision.

    Returns:
        The codes, and the k largest pre-activations of dead latents, of either sign; None without
        dead latents.
    """
    features = sae.encoder.features(y - sae.dictionary.centre.unsqueeze(-2))
    vectors, biases = sae.encoder.vectors, sae.encoder.biases
    with torch.no_grad():
        k = sae.sparsity.k
        search: _Search = _PerBatch(k, *y.shape[:2]) if sae.sparsity.shared else _PerSample(k)
        among_dead = None if dead is None else _AmongDead(min(k, dead.shape[-1]), dead)
        for pre in _tiles(sae, features, vectors, biases, half=half):
            if among_dead is not None:
                among_dead.add(pre)
            search.add(sae.sparsity.eligible(sae.dictionary.admitted(pre)))

    def entries(found: Found) -> SparseCodes:
        values, pattern = found
        shape = (*y.shape[:2], sae.d_sae)
        own = _by_view(pattern, shape, features)
        rows, columns = features.flatten(0, -2), vectors.flatten(0, 1)
        if half:
            with torch.no_grad():
                exact = entry_products(own, rows, columns) + biases.flatten()[own.columns]
                values = torch.where(values.isfinite(), exact, values)
        return SparseCodes(
            selected(values, rows, columns, biases.flatten(), own), pattern, shape
        )

    codes = entries(search.finish(sae.d_sae))
    living = SparseCodes(torch.relu(codes.values), codes.pattern, codes.shape)
    if among_dead is None:
        return living, None
    values, pattern = among_dead.finish(sae.d_sae)
    reviving = entries((values, pattern))
    shown = torch.where(values.isfinite(), reviving.values, torch.zeros_like(values))
    return living, SparseCodes(shown, pattern, reviving.shape)


def _tiles(
    sae: SAE, features: Features, vectors: Tensor, biases: Tensor, *, half: bool
) -> Iterator[Float[Tensor, "member tile latents"]]:
    """Yield pre-activations of a few samples of every member."""
    members, batch = features.shape[:2]
    rows = max(_FEWEST_ROWS, _TILE // (members * sae.d_sae))
    narrow = vectors.to(torch.bfloat16).mT if half else None
    for tile in features.split(rows, dim=1):
        if narrow is None:
            yield sae.encoder.answers(tile)
        else:
            seen = tile.to(torch.bfloat16).flatten(1, -2) @ narrow
            yield (seen.float() + biases.unsqueeze(-2)).view(members, tile.shape[1], -1)


def _by_view(pattern: Pattern, shape: tuple[int, int, int], features: Features) -> Pattern:
    """The entries by rows of the encoder's last layer, which may see a sample from every side."""
    if features.ndim == 3:
        return pattern
    views = features.shape[2]
    atoms = shape[-1] // views
    member, latent = pattern.columns // shape[-1], pattern.columns % shape[-1]
    rows = pattern.rows * views + latent // atoms
    counts = torch.bincount(rows, minlength=pattern.height * views)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Pattern(starts, member * atoms + latent % atoms, shape[0] * atoms)


class _Search(Protocol):
    """Looks at tile after tile, and says what it found."""

    def add(self, pre: Float[Tensor, "member tile latents"]) -> None: ...

    def finish(self, latents: int) -> Found: ...


@final
class _PerSample:
    """The k largest of every sample, in the order of the latents."""

    def __init__(self, k: int) -> None:
        self.k = k
        self._found: list[tuple[Tensor, Tensor]] = []

    def add(self, pre: Float[Tensor, "member tile latents"]) -> None:
        values, latents = largest(pre, self.k)
        latents, order = latents.sort(-1)
        self._found.append((values.gather(-1, order), latents))

    def finish(self, latents: int) -> Found:
        return _regular(self._found, latents)


@final
class _AmongDead:
    """The k largest of every sample among the dead latents."""

    def __init__(self, k: int, dead: Int[Tensor, "member most"]) -> None:
        self.k, self.missing, self.dead = k, dead < 0, dead.clamp_min(0)
        self._found: list[tuple[Tensor, Tensor]] = []

    def add(self, pre: Float[Tensor, "member tile latents"]) -> None:
        dead = self.dead.unsqueeze(1).expand(-1, pre.shape[1], -1)
        theirs = pre.gather(-1, dead).masked_fill(self.missing.unsqueeze(1), -torch.inf)
        values, places = largest(theirs, self.k)
        latents, order = dead.gather(-1, places).sort(-1)
        self._found.append((values.gather(-1, order), latents))

    def finish(self, latents: int) -> Found:
        return _regular(self._found, latents)


@final
class _PerBatch:
    """The k * batch largest positive ones of every member's whole batch."""

    def __init__(self, k: int, members: int, batch: int) -> None:
        self.batch = batch
        self._running = [RunningLargest(k * batch) for _ in range(members)]

    def add(self, pre: Float[Tensor, "member tile latents"]) -> None:
        for own, running in zip(pre, self._running, strict=True):
            running.add(own.flatten())

    def finish(self, latents: int) -> Found:
        found = [running.finish() for running in self._running]
        rows = torch.cat([m * self.batch + at // latents for m, (_, at) in enumerate(found)])
        columns = torch.cat([m * latents + at % latents for m, (_, at) in enumerate(found)])
        counts = torch.bincount(rows, minlength=len(found) * self.batch)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        values = torch.cat([values for values, _ in found])
        return values, Pattern(starts, columns, len(found) * latents)


def _regular(found: list[tuple[Tensor, Tensor]], latents: int) -> Found:
    """Entries, equally many for every sample."""
    values, places = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
    members, batch, k = values.shape
    offset = latents * torch.arange(members, device=places.device)
    columns = (places + offset[:, None, None]).flatten()
    starts = torch.arange(0, members * batch * k + 1, k, device=places.device)
    return values.flatten(), Pattern(starts, columns, members * latents)
