"""The motion of activations: one matrix per element, and the structure that it acts on."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int
from numpy import ndarray

from orbitlens.checks import check_memory
from orbitlens.typing import Float, Matrices, Tensor

_Rows = Float[Tensor, "n *position dim"]


@final
@dataclass(frozen=True, eq=False)
class Motion:
    """rho(g) for every element g, as a fitting method returns it before any measurement.

    Args:
        core: R(g) for every element, shape [|G|, rank, rank]. Without a basis it is rho itself.
        variable: Number of directions in which the activations vary; rho is I on the others.
        basis: Orthonormal columns B of a subspace, shape [dim, rank]; then
            rho(g) = I + B (R(g) - I) B^T. None for the whole space.
        tokens: Matrices of the tokens before the places that move (class token, registers), shape
            [tokens, |G|, dim, dim]; None if all positions share `core`.
        moves: `moves[g, p]` is the position to which position p moves under g; None if the
            activations have no positions, or if positions stay.
        mean: The mean map over inputs and elements, shape [positions, dim]. Whole maps then move as
            psi(gx)[gp] = mean[gp] + rho(g) (psi(x)[p] - mean[p]), so that a constant output of the
            layer has no effect. None for linear motions.
        generator: A with rho(theta) = exp(theta A) for a turn by theta radians, shape [dim, dim];
            None unless the transport was fitted by `lie`.

    Example:
        >>> swap = torch.stack([torch.eye(2), torch.eye(2).flip(0)])
        >>> motion = Motion(swap, variable=2, basis=torch.eye(3)[:, :2])
        >>> motion(torch.tensor([[1.0, 2.0, 5.0]]), 1).tolist()
        [[2.0, 1.0, 5.0]]
    """

    core: Float[Tensor, "group rank rank"]
    variable: int
    basis: Float[Tensor, "dim rank"] | None = None
    tokens: Float[Tensor, "tokens group dim dim"] | None = None
    moves: Int[ndarray, "group position"] | None = None
    mean: Float[Tensor, "position dim"] | None = None
    generator: Float[Tensor, "dim dim"] | None = None

    @property
    def dim(self) -> int:
        """Width of the activations."""
        return self.core.shape[-1] if self.basis is None else len(self.basis)

    @property
    def matrices(self) -> Matrices:
        """rho(g) for every element, shape [|G|, dim, dim]; computed at each call if in a basis."""
        if self.basis is None:
            return self.core
        self.check_matrices()
        eye = torch.eye(self.core.shape[-1]).to(self.core)
        return torch.eye(self.dim).to(self.core) + self.basis @ (self.core - eye) @ self.basis.T

    def check_matrices(self) -> None:
        """Raise an OrbitLensError if the `matrices` do not fit into memory."""
        size = len(self.core) * self.dim**2 * self.core.element_size()
        subject = f"the matrices of a transport of {self.dim} dimensions"
        check_memory(subject, size, "keep fewer directions, or only call the transport on samples")

    def to(self, dtype: torch.dtype) -> "Motion":
        """Return the motion in another precision; the generator stays in float64."""
        parts = (self.basis, self.tokens, self.mean)
        basis, tokens, mean = (None if part is None else part.to(dtype) for part in parts)
        core = self.core.to(dtype)
        return Motion(core, self.variable, basis, tokens, self.moves, mean, self.generator)

    def __call__(self, x: _Rows, g: int) -> _Rows:
        """Return rho(g) x without moving positions: entry p of the result belongs at `moves[g, p]`.

        Rows [n, dim] move without the mean; [n, positions, dim] move about it.
        """
        if self.mean is None or x.ndim == 2:
            return self._of_deviations(x, g)
        there = self.mean if self.moves is None else self.mean[torch.from_numpy(self.moves[g])]
        return there + self._of_deviations(x - self.mean, g)

    def move(self, x: _Rows, g: int) -> _Rows:
        """Return rho(g) x, with every position of [n, positions, dim] moved by g as well."""
        if self.moves is None:
            return self(x, g)
        moved = torch.empty_like(x)
        moved[:, torch.from_numpy(self.moves[g]).to(x.device)] = self(x, g)
        return moved

    def _of_deviations(self, x: _Rows, g: int) -> _Rows:
        if self.tokens is None or x.ndim == 2:
            return self._along_channels(x, g)
        first = len(self.tokens)
        stay = torch.einsum("npi,pji->npj", x[:, :first], self.tokens[:, g])
        return torch.cat([stay, self._along_channels(x[:, first:], g)], dim=1)

    def _along_channels(self, x: _Rows, g: int) -> _Rows:
        if self.basis is None:
            return x @ self.core[g].T
        inside = x @ self.basis
        return x + (inside @ self.core[g].T - inside) @ self.basis.T
