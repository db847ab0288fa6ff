"""Which samples lie together: shards are written, and lost, as a whole.

A shard holds whole orbits of consecutive samples; it is one file, complete or absent. Inside it
chunks of half a MiB have a checksum each, so that a few rows are read without the rest.
"""

import math
from dataclasses import dataclass
from typing import final

from orbitlens.errors import OrbitLensError

_MIB = 2**20
_SHARD_BYTES = 32 * _MIB
_CHUNK_BYTES = _MIB // 2
# Shards of many layers are filled at the same time.
_TOGETHER_BYTES = 256 * _MIB


@final
@dataclass(frozen=True)
class Shards:
    """The shards of a store.

    Args:
        n: Number of samples.
        samples: Samples per shard; the last may have fewer.

    Example:
        >>> shards = Shards(10, samples=4)
        >>> [shards.span(i) for i in range(shards.count)]
        [(0, 4), (4, 8), (8, 10)]
    """

    n: int
    samples: int

    @property
    def count(self) -> int:
        """Number of shards."""
        return math.ceil(self.n / self.samples)

    def span(self, shard: int) -> tuple[int, int]:
        """Return the first sample of a shard, and the first after it."""
        return shard * self.samples, min(self.n, (shard + 1) * self.samples)


def chunk_samples(shape: tuple[int, ...]) -> int:
    """Return how many samples, of [|G|, (positions,) dim] each, share a checksum: a power of two.

    Example:
        >>> chunk_samples((8, 768))
        16
    """
    return 2 ** (max(1, _CHUNK_BYTES // (4 * math.prod(shape))).bit_length() - 1)


def plan_shards(n: int, shapes: list[tuple[int, ...]], together: int) -> Shards:
    """Choose shards of about 32 MiB, the same for several layers, of whole chunks in each.

    Args:
        n: Number of samples.
        shapes: The shape of an orbit in each layer, [|G|, (positions,) dim].
        together: Samples per forward pass; a shard has at least as many, so that batches, which
            never cross from one shard to the next, are full.

    Raises:
        OrbitLensError: If an axis is empty.

    Example:
        >>> plan_shards(10**6, [(8, 768)], together=32).samples
        1360
    """
    if n == 0 or not all(map(math.prod, shapes)):
        raise OrbitLensError(
            "activations",
            expected="at least one sample, group element, position and dimension",
            received=f"{n} samples of shapes {[list(shape) for shape in shapes]}",
            remedy="choose other inputs or another layer",
        )
    chunks = [chunk_samples(shape) for shape in shapes]
    if n <= min(chunks):
        return Shards(n, n)
    step = max(chunks)
    if n <= step:
        return Shards(n, 2 ** (n - 1).bit_length())
    orbits = [4 * math.prod(shape) for shape in shapes]
    fitting = min(_SHARD_BYTES // max(orbits), _TOGETHER_BYTES // sum(orbits))
    wanted = max(fitting, together)
    return Shards(n, max(1, wanted // step) * step if wanted < n else -(-n // step) * step)
