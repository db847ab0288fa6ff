"""In which basis the weights of an orbit SAE are, where its file does not say so.

Files of earlier versions have the coordinates T and not the matrices of the irreps in them. Those
depended on the machine: the same file gave other codes on another one. The transport of the SAE has
them, T^-1 rho(g) T.
"""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import torch

from orbitlens.errors import OrbitLensError
from orbitlens.io._transports import read_transport
from orbitlens.reps import irreps, polar
from orbitlens.sae import OrbitDictionary
from orbitlens.transport import Transport
from orbitlens.typing import Float, Tensor

IRREPS = "irreps"
"""The name of the tensor in a file."""
_AGREES = 1e-3
_NAMES = ("exact", "transport")
_LEVELS = 3  # RUN/saes/NAME/sae lies beside RUN/exact and RUN/transport


def irreps_of_earlier(
    folder: Path,
    dictionary: OrbitDictionary,
    tensors: Mapping[str, Tensor],
    transport: Transport | None,
) -> Float[Tensor, "entries generator"]:
    """Return the matrices of the generators in the coordinates of a file that lacks them.

    Raises:
        OrbitLensError: If no transport at hand has these coordinates.
    """
    tied = dictionary.tied
    if all(irrep.dim == 1 for irrep in irreps(tied.group)):
        return tied.generators  # a number is the same in every basis
    for candidate in [transport] if transport is not None else _beside(folder):
        found = _in_coordinates(dictionary, tensors, candidate)
        if found is not None:
            return found
    if transport is not None:
        return tied.generators  # the check against the transport says what is wrong with it
    raise OrbitLensError(
        str(folder),
        expected="the irreps of its coordinates, which versions before this one did not write",
        received="neither these nor the transport that it was built on",
        remedy="give that transport: load(path, transport=...), or put its folder beside the SAE "
        "as exact/",
    )


def _beside(folder: Path) -> Iterator[Transport]:
    """Yield the transports in the folder of a run, or of a training."""
    for place in folder.absolute().parents[:_LEVELS]:
        for name in _NAMES:
            if (place / name / "transport.json").is_file():
                yield read_transport(place / name)


def _in_coordinates(
    dictionary: OrbitDictionary, tensors: Mapping[str, Tensor], transport: Transport
) -> Float[Tensor, "entries generator"] | None:
    """Return the irreps of a transport in some coordinates; None if these are not its own."""
    group, multiplicities = dictionary.tied.group, dictionary.tied.multiplicities
    T, T_inverse = (tensors.get(name) for name in ("T", "T_inverse"))
    if T is None or T_inverse is None or transport.dim != dictionary.d_in:
        return None
    if dictionary.source not in ("", transport.source):
        return None
    try:
        matrices = transport.under(group)[list(group.generators)].double()
    except OrbitLensError:
        return None
    moved = T_inverse.double() @ matrices @ T.double()
    rows, wanted = [], torch.zeros_like(moved)
    kinds = [(r.dim, m) for r, m in zip(irreps(group), multiplicities, strict=True) if m]
    starts = accumulate((dim * m for dim, m in kinds), initial=0)
    for (dim, copies), start in zip(kinds, starts, strict=False):
        own = slice(start, start + dim * copies)
        block = moved[:, own, own].unflatten(2, (dim, copies)).unflatten(1, (dim, copies))
        mean = polar(torch.einsum("gajbj->gab", block) / copies)
        rows.append(mean.flatten(1).T)
        copy = torch.eye(copies, dtype=mean.dtype)
        wanted[:, own, own] = torch.stack([torch.kron(each, copy) for each in mean])
    if (moved - wanted).norm() > _AGREES * wanted.norm():
        return None
    return torch.cat(rows).to(dictionary.tied.kernel)
