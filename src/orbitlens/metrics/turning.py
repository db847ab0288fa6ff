"""Turning: whether the codes of each feature move with the inputs, stay, or do neither.

A hypothesis predicts the codes of a moved input from those of the input,

    z_hat(hkx)[p_h(i)] = z(kx)[i],

for all elements k of the orbit of x and all moves h != e. Its share is the part of the strength of
the codes that is where it is predicted,

    share = 2 sum min(z_hat, z) / sum (z_hat + z),

1 if codes move exactly as predicted, 0 if others fire. Two hypotheses are measured:

    turns    p_h(i) is the latent of the direction rho(h) d_i
    stays    p_h(i) = i: the code is invariant
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from orbitlens.checks import as_axes, as_count, as_text, check_kind, usual_torch
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.metrics._orbit_overlap import Pairs, intervals
from orbitlens.metrics._turning_words import INVARIANT, NEITHER, TURNS, UNKNOWN, moving_word
from orbitlens.metrics.labels import orientation_codes
from orbitlens.sae.dictionaries.orbit import OrbitDictionary
from orbitlens.sae.model import SAE
from orbitlens.transport import Transport
from orbitlens.typing import Numbers

_FEWEST = 10
_HALF, _SURE = 0.5, 0.8
_APART = 0.01
_STILL = 1e-4
_PARTNER = 0.5
_NUMBERS = 2**22


@dataclass(frozen=True, eq=False)
class Turning:
    """What each feature does when its inputs move; a column for each figure.

    Args:
        words: "turns with the image", "invariant", "neither" or "too few to tell"; for inputs that
            are no images, the first is "moves with the input".
        turns: Share of the codes that turn as predicted, shape [features]; NaN where none fires.
        stays: Share of the codes that stay as they are, shape [features].
        intervals: Lower and upper ends of the 95% intervals of both, under resampling of the
            inputs, shape [2 hypotheses, 2 ends, features].
        by_chance: Both shares with the codes of another input in place of the moved one, shape
            [2 hypotheses, features].
        inputs: Number of inputs on whose orbits the feature fires, shape [features].
        firing_rates: Share of activations along the orbits on which it fires, shape [features].
        moving: Which of both is the first word.
    """

    words: tuple[str, ...]
    turns: Float[Tensor, " features"]
    stays: Float[Tensor, " features"]
    intervals: Float[Tensor, "2 2 features"]
    by_chance: Float[Tensor, "2 features"]
    inputs: Int[Tensor, " features"]
    firing_rates: Float[Tensor, " features"]
    moving: str = TURNS

    @property
    def counts(self) -> dict[str, int]:
        """Number of features with each word, also those that no feature has."""
        found = Counter(self.words)
        return {word: found[word] for word in (self.moving, INVARIANT, NEITHER, UNKNOWN)}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One record per feature, for a table.

        `share`, its interval `low` to `high` and `by_chance` are those of the hypothesis that the
        word names, and of the better one where it names none; None where too few inputs tell.
        """
        return [self._row(i) for i in range(len(self.words))]

    def _row(self, i: int) -> dict[str, Any]:
        word, both = self.words[i], (self.turns[i].item(), self.stays[i].item())
        known = word != UNKNOWN
        which = {self.moving: 0, INVARIANT: 1}.get(word, int(both[1] > both[0]))
        low, high = self.intervals[which, :, i].tolist()
        shares = {
            "share": both[which],
            "low": low,
            "high": high,
            "turns": both[0],
            "stays": both[1],
            "by_chance": self.by_chance[which, i].item(),
        }
        return {
            "feature": i,
            "word": word,
            **{name: value if known else None for name, value in shares.items()},
            "inputs": int(self.inputs[i]),
            "firing_rate": self.firing_rates[i].item(),
        }


@usual_torch()
@torch.no_grad()
def feature_turning(
    sae: SAE,
    orbits: Numbers,
    transport: Transport | None = None,
    *,
    positions: int = 1,
    action: str = "images",
) -> Turning:
    """Measure for each feature which share of its codes moves with the inputs, or stays.

    The shares are those of the module. A feature is an atom of an orbit SAE, in all its
    orientations, or a latent of another SAE. The partner of an atom's orientation follows from the
    group, p_h(g, c) = (hg, c). The partner of a latent is the latent whose direction is nearest,

        p_h(i) = argmax_j cos(d_j, rho(h) d_i),

    if this cosine is at least 0.5; a latent without one is predicted to turn into silence.

    The word follows from the shares and the 95% interval of each, and of their difference, under
    resampling of the inputs: the orbits of one input are not independent, the inputs are.

    - "turns with the image", or "moves with the input" for inputs of another kind: the share that
      turns holds, and is larger than the one that stays.
    - "invariant": the share that stays holds, and the one that turns is not larger. So is an atom
      that the whole group leaves unchanged, whose hypotheses are one.
    - "neither": no share holds.
    - "too few to tell": it fires on the orbits of fewer than 10 inputs.

    A share holds if its interval is above 0.5, and above the share with another input in place of
    the moved one; from 0.8 on, the first is enough: such codes hardly vary at all. One share is
    larger if the interval of the difference is above 0.01.

    An input that is symmetric proves nothing. Pairs of activations that are equal, up to 1e-4 of
    the variance, are not counted, unless no activation moves: codes of an invariant layer stay.

    Args:
        sae: The SAE.
        orbits: Held-out activations along orbits, such as `store.orbits(samples)`, shape
            [n * positions, |G|, dim].
        transport: The transport of its layer, for an SAE that is no orbit SAE; default None.
        positions: Rows of each input, which stand together; default 1.
        action: What moves the inputs, such as `store.action`, for the word; default "images".

    Returns:
        One entry per atom or latent.

    Raises:
        OrbitLensError: If the orbits are of another group or width, or no whole inputs; or if an
            SAE that is no orbit SAE comes without a transport of its width.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import isotypic_basis, regular
        >>> from orbitlens.sae import OrbitDictionary, TopK, compose
        >>> sae = compose(TopK(1), OrbitDictionary(1, isotypic_basis(regular(cyclic(4)))))
        >>> x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
        >>> orbits = torch.einsum("gij,nj->ngi", regular(cyclic(4)).matrices.float(), x)
        >>> feature_turning(sae, orbits).words
        ('turns with the image',)
    """
    check_kind("sae", sae, SAE, "give the SAE itself, not its weights")
    group, features, partners = _prediction(sae, transport)
    sizes = {"group": group.order, "dim": sae.d_in}
    orbits = as_axes("orbits", orbits, "rows group dim", sizes=sizes, least=1)
    positions, action = as_count("positions", positions), as_text("action", action)
    if len(orbits) % positions:
        raise OrbitLensError(
            "`orbits`",
            expected=f"{positions} rows for each input",
            received=f"{len(orbits)} rows",
            remedy="give whole inputs, and the `positions` of their store",
        )
    orbits = orbits.float().cpu()
    codes = sae.encode(orbits).cpu()
    if isinstance(sae.dictionary, OrbitDictionary):
        codes = orientation_codes(sae, codes).flatten(-2)
    pairs = Pairs(group, _moved(orbits, group), features, positions)
    return _judged(codes, partners, pairs, moving_word(action))


def _prediction(
    sae: SAE, transport: Transport | None
) -> tuple[Group, Int[Tensor, " latents"], Int[Tensor, "group latents"]]:
    """Return the group, the feature of each latent, and its partner under each element."""
    latents = torch.arange(sae.d_sae)
    if isinstance(sae.dictionary, OrbitDictionary):
        group, atoms = sae.dictionary.group, sae.dictionary.n_atoms
        moved = torch.from_numpy(group.table.copy())[:, latents // atoms]
        return group, latents % atoms, moved * atoms + latents % atoms
    if transport is None:
        raise OrbitLensError(
            "`transport`",
            expected="one, because the latents of this SAE are not tied over a group",
            received=None,
            remedy="fit one with `fit_transport(store)`",
        )
    check_kind("transport", transport, Transport, "fit one with `fit_transport(store)`")
    transport.check_fits(transport.group, sae.d_in)
    return transport.group, latents, _partners(sae.W_dec.detach().cpu(), transport)


def _judged(
    codes: Float[Tensor, "rows group latents"],
    partners: Int[Tensor, "group latents"],
    pairs: Pairs,
    moving: str,
) -> Turning:
    inputs, order = len(codes) // pairs.positions, codes.shape[1]
    same = torch.arange(codes.shape[-1]).expand_as(partners)
    turns, stays = (pairs.overlap(codes, codes, each) for each in (partners, same))
    # Half the set away, because neighbours may be of one class.
    others = codes.roll(inputs // 2 * pairs.positions, dims=0)
    chance = torch.stack([pairs.overlap(codes, others, each).shares for each in (partners, same)])
    low, high = intervals((turns, stays))
    fired = (stays.total > 0).sum(0)
    holds = (low[:2] > _HALF) & ((low[:2] > chance) | (low[:2] >= _SURE))
    larger = low[2] > _APART
    words = [
        UNKNOWN
        if count < _FEWEST
        else moving
        if turned and apart
        else INVARIANT
        if stayed and not apart
        else NEITHER
        for count, turned, stayed, apart in zip(
            fired.tolist(), *holds.tolist(), larger.tolist(), strict=True
        )
    ]
    fires = codes.new_zeros(len(codes), order, pairs.n_features)
    fires.index_add_(2, pairs.features, (codes > 0).to(codes))
    return Turning(
        words=tuple(words),
        turns=turns.shares,
        stays=stays.shares,
        intervals=torch.stack([low[:2], high[:2]], dim=1),
        by_chance=chance,
        inputs=fired,
        firing_rates=(fires > 0).double().mean((0, 1)),
        moving=moving,
    )


def _moved(
    orbits: Float[Tensor, "rows group dim"], group: Group
) -> Bool[Tensor, "rows group group"]:
    """Return whether psi(hkx) differs from psi(kx), shape [rows, k, h]; all do if none does."""
    centred = orbits - orbits.mean((0, 1))
    spread = centred.square().sum(-1).mean()
    apart = torch.cdist(centred, centred).square() > _STILL * spread
    products = torch.from_numpy(group.table.copy()).T.expand(len(orbits), -1, -1)
    moved = apart.gather(2, products)
    return moved if bool(moved.any()) else torch.ones_like(moved)


def _partners(
    rows: Float[Tensor, "latents dim"], transport: Transport
) -> Int[Tensor, "group latents"]:
    """Return the latent nearest to each moved direction; the number of latents if none is near."""
    latents = len(rows)
    unit, at_once = normalize(rows, dim=-1), max(1, _NUMBERS // latents)
    motion, found = transport.motion.to(rows.dtype), []
    for g in range(transport.group.order):
        moved = normalize(motion(rows, g), dim=-1)
        cosines, nearest = zip(
            *((part @ unit.T).max(dim=-1) for part in moved.split(at_once)), strict=True
        )
        near = torch.cat(cosines) >= _PARTNER
        found.append(torch.where(near, torch.cat(nearest), latents))
    return torch.stack(found)
