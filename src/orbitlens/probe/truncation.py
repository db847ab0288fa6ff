"""The truncated reconstruction of activations: the part that a few latents give."""

from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.errors import OrbitLensError


def truncated_reconstruction(
    codes: Float[Tensor, "n latents"],
    W_dec: Float[Tensor, "latents dim"],
    kept: Int[Tensor, " t"],
    *,
    matrices: Float[Tensor, "group dim dim"] | None = None,
    elements: Int[Tensor, " n"] | None = None,
) -> Float[Tensor, "n dim"]:
    """Apply the dictionary to the kept latents only, moved to each sample's orientation.

    x_t[i] = rho(g_i) sum_{j in kept} z_ij D_j

    Without a transport rho(g_i) is the identity. The decoder's bias is left out, so that a probe
    sees the kept latents and nothing else.

    Source: the Shapes probes of Erdogan & Lucic, arXiv 2511.09432.

    Args:
        codes: Codes, shape [n, latents].
        W_dec: Dictionary, one row D_j per latent, shape [latents, dim].
        kept: Indices of the latents to keep, shape [t].
        matrices: rho(g) for every g, shape [group, dim, dim]; None for no transport.
        elements: The orientation g_i of each sample, shape [n]; given if and only if `matrices` is.

    Returns:
        The truncated reconstructions, shape [n, dim].

    Raises:
        OrbitLensError: If only one of `matrices` and `elements` is given, or an element is none of
            the group.

    Example:
        >>> import torch
        >>> turn = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
        >>> truncated_reconstruction(
        ...     torch.tensor([[3.0, 7.0]]),
        ...     torch.eye(2),
        ...     torch.tensor([0]),
        ...     matrices=turn,
        ...     elements=torch.tensor([1]),
        ... ).tolist()
        [[0.0, 3.0]]
    """
    _check(matrices, elements)
    z, dictionary = codes[:, kept], W_dec[kept]
    if matrices is None or elements is None:
        return z @ dictionary
    # Moving t rows once for each element is far cheaper than moving n samples.
    moved = dictionary @ matrices.to(dictionary).mT
    x = dictionary.new_empty(len(codes), dictionary.shape[1])
    for g, rows in enumerate(moved):
        here = elements == g
        x[here] = z[here] @ rows
    return x


def _check(matrices: Tensor | None, elements: Tensor | None) -> None:
    if matrices is None or elements is None:
        if matrices is None and elements is None:
            return
        raise OrbitLensError(
            "`matrices` and `elements`",
            expected="both or neither",
            received=f"`{'elements' if matrices is None else 'matrices'}` alone",
            remedy="pass rho(g) with the orientation of each sample, or leave both out",
        )
    outside = (elements < 0) | (elements >= len(matrices))
    if outside.any():
        raise OrbitLensError(
            "`elements`",
            expected=f"elements 0 to {len(matrices) - 1} of the group",
            received=int(elements[outside][0]),
            remedy="take elements and matrices of one group",
        )
