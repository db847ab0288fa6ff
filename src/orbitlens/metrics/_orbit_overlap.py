"""How much of the codes along orbits is where a hypothesis puts it, for each feature and input."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from orbitlens.groups import Group

_NUMBERS = 2**22
"""Codes that are compared together."""

_RESAMPLES = 400
_LEVEL = 0.95
_FEATURES_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Overlap:
    """Sums over the orbit of each input, float64.

    Args:
        shared: 2 sum min(z_hat, z), shape [n, features].
        total: sum (z_hat + z), same shape.
    """

    shared: Float[Tensor, "n features"]
    total: Float[Tensor, "n features"]

    @property
    def shares(self) -> Float[Tensor, " features"]:
        """The share of each feature, sum shared / sum total; NaN where nothing is active."""
        return _ratio(self.shared.sum(0), self.total.sum(0))


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs (kx, hkx) of each orbit that are compared, and the features of the latents.

    Args:
        group: The group.
        counted: Whether the pair of k and h counts, shape [rows, k, h].
        features: The feature of each latent, shape [latents].
        positions: Rows of one input, which stand together.
    """

    group: Group
    counted: Bool[Tensor, "rows group group"]
    features: Int[Tensor, " latents"]
    positions: int

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.features.max()) + 1

    def summed(self, values: Float[Tensor, "rows latents"]) -> Float[Tensor, "n features"]:
        """Sum over the positions of each input and the latents of each feature."""
        by_input = values.double().unflatten(0, (-1, self.positions)).sum(1)
        out = by_input.new_zeros(len(by_input), self.n_features)
        return out.index_add_(1, self.features, by_input)

    def overlap(
        self,
        codes: Float[Tensor, "rows group latents"],
        against: Float[Tensor, "rows group latents"],
        partners: Int[Tensor, "group latents"],
    ) -> Overlap:
        """Compare z(kx)[i] in `codes` with z(hkx)[partners[h, i]] in `against`.

        The partner of a latent that has none is the number of latents; its code is 0.
        """
        at_once = max(1, _NUMBERS // (codes[0].numel() * self.positions)) * self.positions
        chunks = [
            self._of_chunk(codes[part], against[part], partners, self.counted[part])
            for start in range(0, len(codes), at_once)
            for part in [slice(start, start + at_once)]
        ]
        shared, total = (torch.cat(parts) for parts in zip(*chunks, strict=True))
        return Overlap(shared, total)

    def _of_chunk(
        self,
        codes: Float[Tensor, "rows group latents"],
        against: Float[Tensor, "rows group latents"],
        partners: Int[Tensor, "group latents"],
        counted: Bool[Tensor, "rows group group"],
    ) -> tuple[Tensor, Tensor]:
        table = torch.from_numpy(self.group.table.copy())
        against = torch.nn.functional.pad(against, (0, 1))
        rows, k, latents = (codes > 0).nonzero(as_tuple=True)
        values = codes[rows, k, latents].double()
        inputs, features = rows // self.positions, self.features[latents]
        weights = counted.to(codes)
        # The weight of z(hkx) is that of its k.
        back = table[self.group.inverses]
        moved = weights.mT.gather(2, back.expand_as(weights)) @ against
        total = self.summed((weights.sum(2)[:, :, None] * codes).sum(1))
        shared = torch.zeros_like(total)
        for h in range(1, self.group.order):
            there = against[rows, table[h][k], partners[h][latents]]
            least = torch.minimum(values, there.double()) * counted[rows, k, h]
            shared.index_put_((inputs, features), 2 * least, accumulate=True)
            total += self.summed(moved[:, h][:, partners[h]])
        return shared, total


def intervals(
    overlaps: tuple[Overlap, Overlap],
) -> tuple[Float[Tensor, "3 features"], Float[Tensor, "3 features"]]:
    """Return the lower and upper ends of the 95% intervals of two shares and their difference.

    The inputs are drawn again 400 times, the same for both.
    """
    first, second = overlaps
    n, count = first.total.shape
    drawn = torch.randint(n, (_RESAMPLES, n), generator=torch.Generator().manual_seed(0))
    times = torch.zeros(_RESAMPLES, n, dtype=torch.float64)
    times.scatter_add_(1, drawn, torch.ones_like(times))
    tails = torch.tensor([(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], dtype=torch.float64)
    found = []
    for start in range(0, count, _FEATURES_AT_ONCE):
        part = slice(start, start + _FEATURES_AT_ONCE)
        shares = [
            # A draw without an active input says nothing: it is as all inputs are.
            torch.where(total > 0, _ratio(times @ each.shared[:, part], total), whole)
            for each in (first, second)
            for total, whole in [(times @ each.total[:, part], each.shares[part])]
        ]
        drawn_shares = torch.stack([*shares, shares[0] - shares[1]])
        found.append(torch.quantile(drawn_shares, tails, dim=1))
    low, high = torch.cat(found, dim=-1)
    return low, high


def _ratio(shared: Tensor, total: Tensor) -> Tensor:
    """Return shared / total, at most 1 beyond rounding; NaN for 0 / 0."""
    return (shared / total).clamp(max=1)
