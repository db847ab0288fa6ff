"""Equivariance: the drift of codes along orbits, and the share that moves with the inputs."""

import torch
from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import as_axes
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.metrics.reconstruction import ReconstructionStats


def invariance_error(values: Float[Tensor, "batch group latents"]) -> Float[Tensor, ""]:
    """Return how much a value changes when its input is moved by the group.

    sum ||z(gx) - z(x)||^2 / sum (||z(gx)||^2 + ||z(x)||^2), over samples x and elements g != e

    Args:
        values: z(gx) along the orbit of each sample, codes or reconstructions, shape
            [batch, group, latents]; element 0 is the identity.

    Returns:
        A float64 scalar: 0 for invariant values, 1 if moving the input makes the values orthogonal
        (disjoint sets of latents fire), 2 if it changes their sign. Zeros, and a group of one
        element, give 0.

    Raises:
        OrbitLensError: If there is no sample or no element.

    Example:
        >>> invariance_error(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])).item()
        1.0
    """
    values = _checked_orbits("values", values, "batch group latents")
    still, moved = values[:, :1], values[:, 1:]
    drift = (moved - still).square().sum(dtype=torch.float64)
    power = moved.square().sum(dtype=torch.float64)
    power = power + still.square().sum(dtype=torch.float64) * moved.shape[1]
    return torch.where(power == 0, 0.0, drift / power)


def equivariance_error(
    x_hat: Float[Tensor, "batch group dim"], matrices: Float[Tensor, "group dim dim"]
) -> Float[Tensor, ""]:
    """Return how far reconstructions are from moving with the group.

    sum ||x_hat(gx) - rho(g) x_hat(x)||^2 / sum ||x_hat(gx) - mean||^2, over x and elements g != e

    with the mean over all x_hat(gx) of the sum: the normalised MSE of rho(g) x_hat(x) as a guess of
    x_hat(gx).

    Args:
        x_hat: Reconstruction of each input along its orbit, shape [batch, group, dim]; element 0
            is the identity.
        matrices: rho(g) for every g, shape [group, dim, dim].

    Returns:
        A float64 scalar, 0 for an equivariant map. A group of one element moves nothing and gives
        0; constant reconstructions give 0 where rho fixes them and infinity where it does not.

    Raises:
        OrbitLensError: If there is no sample, or not one matrix for each element.

    Example:
        >>> turn = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
        >>> equivariance_error(torch.tensor([[[1.0, 2.0], [2.0, 1.0]]]), turn).item()
        0.0
    """
    x_hat = _checked_orbits("x_hat", x_hat, "batch group dim")
    size = x_hat.shape[-1]
    matrices = as_axes("matrices", matrices, "group row dim", sizes={"row": size, "dim": size})
    if len(matrices) != x_hat.shape[1]:
        raise OrbitLensError(
            "`matrices`",
            expected=f"one for each of the {x_hat.shape[1]} elements of the orbits",
            received=len(matrices),
            remedy="take orbits and matrices of one group",
        )
    if len(matrices) == 1:
        return torch.zeros((), dtype=torch.float64, device=x_hat.device)
    stats = ReconstructionStats()
    for g in range(1, len(matrices)):
        stats.update(x_hat[:, g], x_hat[:, 0] @ matrices[g].to(x_hat).T)
    return stats.normalised_mse


def moving_share(
    codes: Float[Tensor, "batch group group atoms"], group: Group | str
) -> Float[Tensor, ""]:
    """Return the share of active codes that move as an orbit SAE predicts.

    #{z(hx)[hg, c] > 0 and z(x)[g, c] > 0} / #{z(x)[g, c] > 0}, over samples x and elements h != e

    It counts active codes, not their strength. If an atom is the same in several orientations, one
    of them fires by chance; apply `orientation_codes` to such codes first.

    Args:
        codes: z(hx)[g, c] along the orbit of each sample by element and atom, shape
            [batch, h, g, atoms]; h = 0 is the identity. See `OrbitDictionary.by_element`.
        group: The group.

    Returns:
        A float64 scalar: 1 for equivariant codes, without active codes, or for a group of one
        element. Codes that do not move with the group give about their share of active pairs.

    Raises:
        OrbitLensError: If there is no sample, or the codes are of another group.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> moves = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[None, :, :, None]
        >>> moving_share(moves, cyclic(2)).item(), moving_share(moves[:, [0, 0]], cyclic(2)).item()
        (1.0, 0.0)
    """
    group = as_group(group)
    codes = _checked_orbits("codes", codes, "batch h g atoms")
    if codes.shape[1:3] != (group.order, group.order):
        raise OrbitLensError(
            "`codes`",
            expected=f"orbits of the {group.order} elements of {group.name}",
            received=tuple(codes.shape),
            remedy="take codes and orbits of one group",
        )
    active = codes > 0
    table = torch.from_numpy(group.table.copy()).to(codes.device)
    kept = sum(
        (active[:, 0] & active[:, h][:, table[h]]).sum(dtype=torch.float64)
        for h in range(1, group.order)
    )
    asked = active[:, 0].sum(dtype=torch.float64) * (group.order - 1)
    return torch.where(asked == 0, 1.0, kept / asked)


def _checked_orbits(name: str, orbits: Tensor, axes: str) -> Float[Tensor, "batch group *rest"]:
    orbits = as_axes(name, orbits, axes)
    if orbits.shape[0] == 0 or orbits.shape[1] == 0:
        raise OrbitLensError(
            f"`{name}`",
            expected="at least one sample and one element",
            received=tuple(orbits.shape),
            remedy="pass whole orbits, shape [batch, group, width]",
        )
    return orbits
