"""The truncated reconstruction of activations: the part that a few latents give."""

from jaxtyping import Float
from torch import Tensor

from orbitlens.checks import as_axes, as_indices
from orbitlens.errors import OrbitLensError
from orbitlens.typing import Numbers


def truncated_reconstruction(
    codes: Numbers,
    W_dec: Numbers,
    kept: Numbers,
    *,
    matrices: Numbers | None = None,
    elements: Numbers | None = None,
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
    # Many probes share their codes: NaN is not looked for, it shows in the result.
    codes = as_axes("codes", codes, "n latents", finite=False)
    latents = {"latents": codes.shape[1]}
    W_dec = as_axes("W_dec", W_dec, "latents dim", sizes=latents, finite=False).to(codes)
    kept = as_indices("kept", kept, "t", most=codes.shape[1] - 1)
    if matrices is not None:
        dim = {"dim": W_dec.shape[1]}
        matrices = as_axes("matrices", matrices, "group dim dim", sizes=dim, finite=False)
        most = len(matrices) - 1
        elements = as_indices("elements", elements, "n", most=most, size=len(codes))
        elements = elements.to(codes.device)
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


def _check(matrices: Numbers | None, elements: Numbers | None) -> None:
    if matrices is None or elements is None:
        if matrices is None and elements is None:
            return
        raise OrbitLensError(
            "`matrices` and `elements`",
            expected="both or neither",
            received=f"`{'elements' if matrices is None else 'matrices'}` alone",
            remedy="pass rho(g) with the orientation of each sample, or leave both out",
        )
