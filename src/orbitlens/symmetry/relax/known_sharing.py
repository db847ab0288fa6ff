"""The weights that have a known symmetry, as a matrix with one vec(W) in each column.

Source: Zhou, Knowles & Finn 2021, arXiv 2007.02933, Proposition 1: the weights of a layer that
commutes with a group lie in a space that U can span. That space is Hom(rho_in, rho_out).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from orbitlens.checks import as_axes, as_count, check_kind, check_memory
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.reps import Representation, check_multiplies

_MORE = 8  # random matrices beyond the dimension, for a well-conditioned basis


def toeplitz(out_features: int, in_features: int, width: int) -> Float[Tensor, "weights width"]:
    """Return the weights of a filter that is shifted along a line, one tap in each column.

        W[i, i + t] = 1   in column t

    Args:
        out_features: Places of the output.
        in_features: Places of the input, at least out_features + width - 1.
        width: Width of the filter.

    Returns:
        Zeros and ones, shape [out_features * in_features, width], float64: U of a convolution
        without padding.

    Raises:
        OrbitLensError: If the filter would reach beyond the input.

    Example:
        >>> toeplitz(2, 3, 2).view(2, 3, 2).sum(-1).int().tolist()
        [[1, 1, 0], [0, 1, 1]]
    """
    m, width = as_count("out_features", out_features), as_count("width", width)
    n = as_count("in_features", in_features, least=m + width - 1)
    basis = torch.zeros(m, n, width, dtype=torch.float64)
    rows, taps = torch.arange(m)[:, None], torch.arange(width)
    basis[rows, rows + taps, taps] = 1
    return basis.view(m * n, width)


def convolution_basis(group: Group | str) -> Float[Tensor, "weights order"]:
    """Return the U of the convolution over a finite group, the blocks pi(g) of Proposition 1.

        (f * v)(g) = sum_h f(h) v(h^-1 g),   so W[g, h] = v[h^-1 g]

    W commutes with the left regular representation. It is the transport of v by permutations, one
    for each row of W.

    Source: Zhou et al. 2021, arXiv 2007.02933, Proposition 1.

    Args:
        group: Any finite group, or its name.

    Returns:
        Zeros and ones, shape [|G|^2, |G|], float64.

    Example:
        >>> (convolution_basis("C3") @ torch.tensor([1.0, 2, 3]).double()).view(3, 3).int().tolist()
        [[1, 3, 2], [2, 1, 3], [3, 2, 1]]
    """
    group = as_group(group)
    table = torch.from_numpy(group.table.copy())
    between = table[torch.from_numpy(group.inverses.copy())].T  # [g, h] is h^-1 g
    check_memory(f"U of {group}", 8 * group.order**3, "choose a smaller group")
    return torch.eye(group.order, dtype=torch.float64)[between].flatten(0, 1)


def intertwiners(rho_in: Representation, rho_out: Representation) -> Float[Tensor, "weights dim"]:
    """Return an orthonormal basis of the weights that commute with a group, Hom(rho_in, rho_out).

        rho_out(g) W = W rho_in(g)   for every g,   dim = 1/|G| sum_g chi_out(g) chi_in(g^-1)

    The mean over the group of rho_out(g) W rho_in(g)^-1 is such a matrix for every W. The means of
    dim random matrices span all of them; a few more are taken, for a well-conditioned basis.

    Source: Schur's lemma and the projection onto invariants, as in any text on representations.

    Args:
        rho_in: How the group moves inputs.
        rho_out: How it moves outputs.

    Returns:
        One vec(W) in each column, shape [dim_out * dim_in, dim], float64.

    Raises:
        OrbitLensError: If the two are of different groups, or no representations, or if no matrix
            but zero commutes.

    Example:
        >>> from orbitlens.reps import regular
        >>> intertwiners(regular("S3"), regular("S3")).shape
        torch.Size([36, 6])
    """
    for name, rho in (("rho_in", rho_in), ("rho_out", rho_out)):
        check_kind(name, rho, Representation, 'give for example reps.regular("C4")')
        check_multiplies(rho)
    if rho_in.group != rho_out.group:
        raise OrbitLensError(
            "`rho_out`",
            expected=f"a representation of {rho_in.group}, as `rho_in`",
            received=f"one of {rho_out.group}",
            remedy="give two representations of one group",
        )
    inverses = torch.from_numpy(rho_in.group.inverses.copy())
    first, second = rho_in.matrices.double(), rho_out.matrices.double()
    counted = (rho_out.character.double() * rho_in.character.double()[inverses]).mean()
    dim = round(float(counted))
    if dim == 0:
        raise OrbitLensError(
            f"weights that commute with {rho_in.group}",
            expected="at least one besides zero",
            received="none: the representations have no irrep in common",
            remedy="give outputs that share an irrep with the inputs",
        )
    generator = torch.Generator().manual_seed(0)
    shape = (dim + _MORE, rho_out.dim, rho_in.dim)
    subject = f"{shape[0]} matrices of {rho_out.dim} x {rho_in.dim}"
    check_memory(subject, 16 * shape[0] * rho_out.dim * rho_in.dim, "choose a smaller layer")
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    mean = torch.zeros_like(drawn)
    for g, inverse in enumerate(inverses.tolist()):
        mean += second[g] @ drawn @ first[inverse] / len(inverses)
    left, _, _ = torch.linalg.svd(mean.flatten(1).T, full_matrices=False)
    return left[:, :dim]


@torch.no_grad()
def orbits_under(
    function: Callable[[Tensor], Tensor],
    inputs: Shaped[Tensor, "n dim"],
    representation: Representation,
) -> Float[Tensor, "n group out"]:
    """Return the outputs of a function on inputs that a representation has moved.

        found[i, g] = f(rho(g) x_i)

    `ol.store_from_array` makes a store of them, and `ol.choose_group` ranks the stores of several
    groups. Give the function a nonlinearity after the layer, such as ReLU: every group acts on the
    outputs of a linear layer that loses nothing.

    Args:
        function: A function of a batch, such as an adapted network and the ReLU after it.
        inputs: Inputs, shape [n, dim].
        representation: How the group moves them.

    Raises:
        OrbitLensError: If the inputs have another width.

    Example:
        >>> from orbitlens.reps import regular
        >>> orbits_under(torch.relu, torch.randn(5, 4), regular("C4")).shape
        torch.Size([5, 4, 4])
    """
    check_kind("representation", representation, Representation, "see reps.permutation")
    inputs = as_axes("inputs", inputs, "n dim", sizes={"dim": representation.dim}, least=1)
    matrices = representation.matrices.to(inputs)
    return torch.stack([function(inputs @ matrix.T) for matrix in matrices], dim=1)
