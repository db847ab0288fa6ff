"""The transport: a learned representation of the group on activations, psi(gx) ~ rho(g) psi(x).

A transport has one matrix per element, like a representation. It reports how well it predicts
held-out orbits, and how far it is from an exact representation.
"""

import math
from dataclasses import dataclass

import torch

from orbitlens.checks import as_axes, as_count, as_indices, as_number, as_tensor
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group, turns_and_flips
from orbitlens.reps import Representation, restrict
from orbitlens.transport.motion import Motion
from orbitlens.typing import Activations, Float, Int, Matrices, Numbers, Tensor

_DEGREES = 1e-6


@dataclass(frozen=True, eq=False)
class Transport:
    """A fitted motion of activations, with its figures on held-out orbits.

    Args:
        group: The group.
        motion: rho(g) for every element, float32.
        method: The fitting method: "identity", "gradient", "least_squares", "exact", "spatial",
            "low_rank" or "lie".
        r2: Held-out R^2 = 1 - sum ||psi(gx) - rho(g) psi(x)||^2 / sum ||psi(gx) - mean_g||^2. Both
            sums run over all orbits and all elements but the identity, whose prediction is trivial;
            mean_g is the mean of psi(gx) over inputs, for maps and tokens at each position.
        r2_interval: Its 95% interval under resampling of the held-out inputs.
        r2_per_element: The same R^2 for each element, shape [|G|].
        identity_r2: The same R^2 for rho = I: the invariance of the network without any transport.
        identity_r2_per_element: The same for each element, shape [|G|].
        relation_error: max over pairs of ||rho(g) rho(h) - rho(gh)||_F / ||I||_F: the distance of
            the matrices from the product table, before rounding to float32.
        order_errors: ||M^n - I||_F / ||I||_F for each generator, under its name; n is its order.
        condition_number: max over g of the ratio of the largest to the smallest singular value of
            rho(g): the factor by which its inverse can magnify an error. Infinite if a matrix has
            no inverse.
        source: Model and layer of the activations, such as "shapes-mlp:encoder".
    """

    group: Group
    motion: Motion
    method: str
    r2: float
    r2_interval: tuple[float, float]
    r2_per_element: Float[Tensor, " group"]
    identity_r2: float
    identity_r2_per_element: Float[Tensor, " group"]
    relation_error: float
    order_errors: dict[str, float]
    condition_number: float
    source: str

    def __repr__(self) -> str:
        figures = f"R^2 {self.r2:.4g}, relation error {self.relation_error:.2g}"
        return f"Transport({self.method}, {self.group.name}, dim {self.dim}, {figures})"

    @property
    def matrices(self) -> Matrices:
        """rho(g) for every element, shape [|G|, dim, dim], float32.

        For "spatial" these are the matrices of the channels; for "low_rank" each call computes
        them.
        """
        return self.motion.matrices

    @property
    def dim(self) -> int:
        """Width of the activations."""
        return self.motion.dim

    def __call__(self, x: Numbers, elements: Numbers) -> Float[Tensor, "batch *axes"]:
        """Move each sample by its own element, rho(g_i) x_i.

        Args:
            x: Activations, shape [batch, dim]; for "spatial", which also moves positions,
                [batch, positions, dim] or maps [batch, dim, height, width], and those of volumes
                [batch, dim, depth, height, width].
            elements: One group element per sample, shape [batch].

        Returns:
            The moved activations, same shape.

        Raises:
            OrbitLensError: If the activations have another width or other positions, or if there
                is not one element of the group for each sample.
        """
        x = as_tensor("x", x, dtype=None)
        if x.ndim in (4, 5) and self.motion.moves is not None:
            rows = self(x.flatten(2).mT, elements)
            return rows.mT.unflatten(2, x.shape[2:])
        self._check_activations(x)
        elements = _as_elements(elements, self.group.order, len(x)).to(x.device)
        moved = torch.empty_like(x)
        motion = self.motion if x.dtype == self.motion.core.dtype else self.motion.to(x.dtype)
        for g in elements.unique().tolist():
            rows = elements == g
            moved[rows] = motion.move(x[rows], g)
        return moved

    def _check_activations(self, x: Tensor) -> None:
        places = () if self.motion.moves is None else (self.motion.moves.shape[1],)
        if x.ndim == 2 + len(places) and x.shape[1:] == (*places, self.dim):
            return
        shape = ", ".join(map(str, ("batch", *places, self.dim)))
        raise OrbitLensError(
            f"activations for a transport fitted by {self.method}",
            expected=f"shape [{shape}]" + (" or such maps" if places else ""),
            received=list(x.shape),
            remedy="give all positions of each input, as the store holds them"
            if places
            else 'give rows of this layer; for whole maps fit method="spatial"',
        )

    def at(self, degrees: float | int) -> Float[Tensor, "dim dim"]:
        """Return rho for a counter-clockwise turn by an angle.

        With a generator A this is rho(theta) = exp(theta A), for any angle. Without one, the angle
        must be a turn of the group.

        Args:
            degrees: The angle in degrees.

        Returns:
            A matrix, shape [dim, dim], float32.

        Raises:
            OrbitLensError: If the transport does not have this angle.
        """
        degrees = as_number("degrees", degrees, "a number")
        if self.motion.generator is not None:
            angle = math.radians(degrees)
            return torch.linalg.matrix_exp(angle * self.motion.generator).float()
        cyclic = self.group.generators == (1,) and self.group.element_order(1) == self.group.order
        step = 360 / self.group.order
        turns = round(degrees / step)
        if not cyclic or abs(degrees - turns * step) > _DEGREES:
            raise OrbitLensError(
                f"angle of a transport fitted by {self.method} under {self.group.name}",
                expected=f"a multiple of {step:g} degrees" if cyclic else "a group of turns, C_n",
                received=f"{degrees:g} degrees",
                remedy='fit the transport with method="lie" under a group of turns, such as C16',
            )
        return self.matrices[turns % self.group.order]

    def under(self, group: Group | str) -> Matrices:
        """Return rho(g) for the elements of another group that the transport contains.

        Args:
            group: The group of the transport; or a subgroup, which matches turns and flips by their
                angle (C2 of D4 is the half turn) and other elements by their names; or, if the
                transport has a generator, any number of equal turns. Names such as "C4" serve too.

        Returns:
            One matrix per element, shape [|group|, dim, dim], float32.

        Raises:
            OrbitLensError: If the transport does not contain the group.
        """
        group = as_group(group)
        if group == self.group:
            return self.matrices
        turns = turns_and_flips(group)
        if self.motion.generator is not None and turns is not None and not turns[1]:
            return torch.stack([self.at(360 * p / group.order) for p in range(group.order)])
        places = _places(self.group, group)
        if places is not None:
            whole = Representation(self.group, self.matrices, self.method)
            return restrict(whole, group, places).matrices
        raise OrbitLensError(
            "`group`",
            expected=f"{self.group.name} or a subgroup, the group of the transport of "
            f"{self.source}" + (", or equal turns" if self.motion.generator is not None else ""),
            received=group.name,
            remedy=f"fit a transport on orbits under {group.name}",
        )

    def check_fits(self, group: Group | str, dim: int) -> None:
        """Raise an OrbitLensError that names both if the transport has another group or width."""
        group = as_group(group)
        dim = as_count("dim", dim)
        group.check_same_elements(self.group, "`transport`")
        if self.group != group or self.dim != dim:
            raise OrbitLensError(
                "`transport`",
                expected=f"group {group.name} and width {dim}",
                received=f"{self.group.name} and {self.dim} (fitted on {self.source})",
                remedy="fit the transport on activations of this model, layer and group",
            )


def move(x: Numbers, elements: Numbers, matrices: Numbers) -> Activations:
    """Move each sample by its own element, rho(g_i) x_i.

    Args:
        x: Activations, shape [batch, dim].
        elements: One group element per sample, shape [batch].
        matrices: rho(g) for every element, shape [|G|, dim, dim].

    Returns:
        The moved activations, shape [batch, dim].

    Raises:
        OrbitLensError: If an element is outside the group.

    Example:
        >>> swap = torch.stack([torch.eye(2), torch.eye(2).flip(0)])
        >>> move(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 1]), swap).tolist()
        [[1.0, 2.0], [4.0, 3.0]]
    """
    x = as_axes("x", x, "batch dim")
    sizes = {"dim": x.shape[1]}
    matrices = as_axes("matrices", matrices, "group dim dim", sizes=sizes, least=1).to(x)
    elements = _as_elements(elements, len(matrices), len(x)).to(x.device)
    moved = torch.empty_like(x)
    for g in range(len(matrices)):
        rows = elements == g
        moved[rows] = x[rows] @ matrices[g].T
    return moved


def _places(whole: Group, part: Group) -> list[int] | None:
    """Return the index in the group of each element of a subgroup, None if it has others."""
    ours, theirs = turns_and_flips(whole), turns_and_flips(part)
    if ours is not None and theirs is not None and {whole.name, part.name} <= _named(ours, theirs):
        (n, flips), (m, flipped) = ours, theirs
        if n % m or flipped > flips:
            return None
        turns = [p * (n // m) for p in range(m)]
        return turns + [n + p for p in turns if flipped]
    names = whole.element_names
    if not set(part.element_names) <= set(names):
        return None
    return [names.index(name) for name in part.element_names]


def _named(*families: tuple[int, bool]) -> set[str]:
    """Return the names of groups of turns, with flips or without."""
    return {f"{'D' if flips else 'C'}{n}" for n, flips in families}


def _as_elements(elements: Numbers, order: int, n: int) -> Int[Tensor, " samples"]:
    """Return one element for each of n samples."""
    found = as_indices("elements", elements, "samples", most=order - 1)
    if len(found) != n:
        raise OrbitLensError(
            "`elements`",
            expected=f"one for each of the {n} samples",
            received=len(found),
            remedy="give each sample its own element",
        )
    return found
