"""The transport: a learned representation of the group on a network's activations.

psi(g x) ~ rho(g) psi(x). A transport has the interface of a representation, one matrix per element,
and reports how well it predicts held-out orbits and how far it is from a true representation.
"""

from dataclasses import dataclass

import torch

from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.typing import Activations, Elements, Float, Matrices, Tensor


@dataclass(frozen=True, eq=False)
class Transport:
    """One matrix per group element, with what was measured on held-out orbits.

    Args:
        group: The group.
        matrices: rho(g) for every element, shape [|G|, dim, dim], float32.
        method: How it was found: "identity", "gradient", "least_squares" or "exact".
        r2: Held-out R^2 = 1 - sum ||psi(gx) - rho(g) psi(x)||^2 / sum ||psi(gx) - mean_g||^2 with
            both sums over all orbits and all elements but the identity, which is predicted for
            free; mean_g is the per-feature mean of psi(gx).
        r2_per_element: The same for each element, shape [|G|].
        identity_r2: The same R^2 for rho = I: how invariant the network is without any transport.
        identity_r2_per_element: The same for each element, shape [|G|].
        relation_error: max over pairs of ||rho(g) rho(h) - rho(gh)||_F / ||I||_F: how far the
            matrices are from the group's product table, before they were rounded to float32.
        order_errors: ||M^n - I||_F / ||I||_F for each generator, under its name; n is its order.
        source: Model and layer that the activations came from, as in "shapes-mlp:encoder".
    """

    group: Group
    matrices: Matrices
    method: str
    r2: float
    r2_per_element: Float[Tensor, " group"]
    identity_r2: float
    identity_r2_per_element: Float[Tensor, " group"]
    relation_error: float
    order_errors: dict[str, float]
    source: str

    @property
    def dim(self) -> int:
        """Width of the activations that it moves."""
        return self.matrices.shape[-1]

    def __call__(self, x: Activations, elements: Elements) -> Activations:
        """Move each sample by its own element, rho(g_i) x_i.

        Args:
            x: Activations, shape [batch, dim].
            elements: One group element per sample, shape [batch].

        Returns:
            The moved activations, shape [batch, dim].
        """
        return move(x, elements, self.matrices)

    def check_fits(self, group: Group, dim: int) -> None:
        """Raise if the transport is of another group or another width.

        Raises:
            OrbitLensError: Naming both.
        """
        if self.group != group or self.dim != dim:
            raise OrbitLensError(
                "`transport`",
                expected=f"group {group.name} and width {dim}",
                received=f"{self.group.name} and {self.dim} (fitted on {self.source})",
                remedy="fit the transport on activations of this model, layer and group",
            )


def move(x: Activations, elements: Elements, matrices: Matrices) -> Activations:
    """Move each sample by its own element, rho(g_i) x_i.

    Args:
        x: Activations, shape [batch, dim].
        elements: One group element per sample, shape [batch].
        matrices: rho(g) for every element, shape [|G|, dim, dim].

    Returns:
        The moved activations, shape [batch, dim].

    Raises:
        OrbitLensError: If an element is not one of the group.

    Example:
        >>> swap = torch.stack([torch.eye(2), torch.eye(2).flip(0)])
        >>> move(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 1]), swap).tolist()
        [[1.0, 2.0], [4.0, 3.0]]
    """
    if len(elements) and not 0 <= elements.min() <= elements.max() < len(matrices):
        raise OrbitLensError(
            "`elements`",
            expected=f"elements in 0..{len(matrices) - 1}",
            received=f"{int(elements.min())}..{int(elements.max())}",
            remedy="number them as in group.element_names",
        )
    moved = torch.empty_like(x)
    for g in range(len(matrices)):
        rows = elements == g
        moved[rows] = x[rows] @ matrices[g].T
    return moved
