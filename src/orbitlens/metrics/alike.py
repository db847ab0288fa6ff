"""Atoms that are alike modulo the group: several copies of one feature."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from orbitlens.checks import as_number, check_kind
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.sae.dictionaries.orbit import OrbitDictionary
from orbitlens.sae.model import SAE
from orbitlens.transport import Transport

_NUMBERS = 2**22
"""Numbers that are in memory together."""


@torch.no_grad()
def alike_atoms(sae: SAE, transport: Transport | None = None, *, above: float = 0.99) -> int:
    """Count the pairs of atoms of which one is nearly the other, moved by some element.

    #{i < j : max_g |cos(rho(g) d_i, d_j)| > above}

    The atoms of an orbit SAE are compared in the inner product that its group keeps. The latents of
    another SAE are compared under `transport`, or as they are without one. Directions of length 0
    are like no other.

    Args:
        sae: The SAE.
        transport: The transport of its layer, for an SAE that is no orbit SAE; default None.
        above: The cosine from which two atoms are alike, default 0.99.

    Returns:
        The number of pairs.

    Raises:
        OrbitLensError: If `above` is not from 0 to below 1, or the transport has another width.

    Example:
        >>> from orbitlens.sae import topk_sae
        >>> sae = topk_sae(d_in=4, d_sae=3, k=1)
        >>> with torch.no_grad():
        ...     sae.W_dec[2] = -sae.W_dec[0]
        >>> alike_atoms(sae)
        1
    """
    if not 0 <= as_number("above", above, "from 0 to below 1") < 1:
        raise out_of_range("above", "from 0 to below 1", above)
    check_kind("sae", sae, SAE, "give the SAE itself, not its weights")
    if isinstance(sae.dictionary, OrbitDictionary):
        tied, rows = sae.dictionary.tied, sae.dictionary.atoms.detach()
        return _count(rows, tied.orbits, sae.dictionary.group.order, above)
    rows = sae.W_dec.detach()
    if transport is None:
        return _count(rows, lambda own: own.unsqueeze(0), 1, above)
    check_kind("transport", transport, Transport, "fit one with `fit_transport(store)`")
    if transport.dim != sae.d_in:
        raise OrbitLensError(
            "`transport`",
            expected=f"width {sae.d_in}, that of the SAE",
            received=transport.dim,
            remedy="fit the transport on activations of this layer",
        )
    motion, order = transport.motion.to(rows.dtype), transport.group.order

    def moved(own: Float[Tensor, "some dim"]) -> Float[Tensor, "group some dim"]:
        return torch.stack([motion(own, g) for g in range(order)])

    return _count(rows, moved, order, above)


def _count(
    rows: Float[Tensor, "atoms dim"],
    orbits: Callable[[Tensor], Tensor],
    order: int,
    above: float,
) -> int:
    """Count the pairs i < j, some atoms i at a time; `orbits` moves atoms by every element."""
    atoms, dim = rows.shape
    others = normalize(rows, dim=-1)
    at_once, found = max(1, _NUMBERS // (order * max(atoms, dim))), 0
    for start in range(0, atoms, at_once):
        own = normalize(orbits(rows[start : start + at_once]), dim=-1)
        cosines = (own.flatten(0, 1) @ others[start:].mT).abs()
        alike = (cosines > above).view(order, -1, atoms - start).any(0)
        found += int(alike.triu(1).sum())
    return found
