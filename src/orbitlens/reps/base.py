"""Representations, one matrix for each group element; the representations by permutations."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.checks import as_axes, as_text, check_memory
from orbitlens.groups import Group, as_group, permutations
from orbitlens.typing import Numbers


@dataclass(frozen=True, eq=False)
class Representation:
    """A map rho from a group to matrices with rho(gh) = rho(g) rho(h).

    Args:
        group: The group.
        matrices: rho(g) for every element g, shape [|G|, dim, dim], float64.
        name: Name of the representation, such as "regular" or "2d#1".

    Raises:
        OrbitLensError: If there is not one square matrix for each element.
    """

    group: Group
    matrices: Float[Tensor, "order dim dim"]
    name: str

    def __post_init__(self) -> None:
        group = as_group(self.group)
        sizes = {"order": group.order}
        matrices = as_axes("matrices", self.matrices, "order dim dim", sizes=sizes, finite=False)
        as_text("name", self.name)
        for part, value in (("group", group), ("matrices", matrices)):
            object.__setattr__(self, part, value)

    @property
    def dim(self) -> int:
        """Dimension of the space that the group acts on."""
        return self.matrices.shape[-1]

    @property
    def character(self) -> Float[Tensor, " order"]:
        """chi(g) = trace rho(g), constant on conjugacy classes."""
        return self.matrices.diagonal(dim1=-2, dim2=-1).sum(-1)


def homomorphism_errors(group: Group | str, matrices: Numbers) -> Float[Tensor, "order order"]:
    """Measure for each pair of elements how far matrices are from a representation.

    error[g, h] = ||rho(g) rho(h) - rho(gh)||_F / ||I||_F

    Args:
        group: The group, or its name, whose product table the matrices should follow.
        matrices: One matrix per element, shape [|G|, dim, dim].

    Returns:
        The relative error of each pair, shape [|G|, |G|]; zero for an exact representation.

    Example:
        >>> from orbitlens.groups import cyclic
        >>> from orbitlens.reps import regular
        >>> homomorphism_errors(cyclic(3), regular(cyclic(3)).matrices).max().item()
        0.0
    """
    group = as_group(group)
    matrices = as_axes(
        "matrices", matrices, "order dim dim", sizes={"order": group.order}, finite=False
    )
    table = torch.from_numpy(group.table.copy()).to(matrices.device)
    scale = max(1, matrices.shape[-1]) ** 0.5
    return torch.stack(
        [
            torch.linalg.matrix_norm(matrices[g] @ matrices - matrices[table[g]]) / scale
            for g in range(group.order)
        ]
    )


def permutation(group: Group | str, generators: Sequence[Sequence[int]]) -> Representation:
    """Return the representation that moves points, rho(g) e_i = e_g(i).

    Args:
        group: Any finite group, or its name.
        generators: One permutation for each generator; `generator[i]` is the image of point i.

    Returns:
        Permutation matrices, shape [|G|, points, points]. The trace counts the fixed points.

    Raises:
        OrbitLensError: If the permutations do not multiply as the product table says.

    Example:
        >>> from orbitlens.groups import symmetric
        >>> permutation(symmetric(3), [(1, 2, 0), (1, 0, 2)]).character[:3].tolist()
        [3.0, 0.0, 1.0]
    """
    group = as_group(group)
    images = torch.from_numpy(permutations(group, generators))
    return Representation(group, _matrices(images), "permutation")


def regular(group: Group | str) -> Representation:
    """Return the left regular representation, rho(g) e_h = e_gh.

    Args:
        group: Any finite group, or its name.

    Returns:
        Permutation matrices of shape [|G|, |G|, |G|].

    Example:
        >>> from orbitlens.groups import cyclic
        >>> regular(cyclic(3)).matrices[1].int().tolist()
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    """
    group = as_group(group)
    return Representation(group, _matrices(torch.from_numpy(group.table.copy())), "regular")


def _matrices(images: Int[Tensor, "order points"]) -> Tensor:
    """Return one permutation matrix per element, from the image of each point."""
    order, points = images.shape
    subject = f"{order} permutation matrices of {points} points"
    check_memory(subject, 8 * order * points**2, "choose a smaller group")
    matrices = torch.zeros(order, points, points, dtype=torch.float64)
    matrices[torch.arange(order)[:, None], images, torch.arange(points)] = 1.0
    return matrices
