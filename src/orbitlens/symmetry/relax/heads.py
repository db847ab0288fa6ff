"""Heads of relaxed networks: from functions on the group to values and actions.

    InvariantHead         one value for all moved inputs, such as the Q of a critic
    PermutedActionsHead   a value for each of several actions that the group permutes
    VectorActionsHead     mean and spread of actions that the group moves by matrices

Each begins with a relaxed group layer, so heads can leave the symmetry as other layers can. A
critic of continuous actions lifts state and action together, with direct_sum(rho_S, rho_A), and
ends with an InvariantHead.

Source: heads for the agents of Park et al. 2025, arXiv 2411.04225, *Approximate Equivariance in
Reinforcement Learning*, which leaves them open.
"""

from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from orbitlens.checks import as_axes, check_kind
from orbitlens.errors import OrbitLensError, warn
from orbitlens.groups import Group
from orbitlens.models import keeps_settings
from orbitlens.reps import Representation, check_multiplies
from orbitlens.symmetry.relax._fixed import KeepsNumbers
from orbitlens.symmetry.relax._signed import are_signed_permutations
from orbitlens.symmetry.relax.relaxed import RelaxedGroupLinear
from orbitlens.typing import Numbers

_STILL = 1e-5  # a move by less of the size of its coordinate is rounding in float32
_NOISE = 1e-12  # of the largest number is what float64 leaves, such as sin(pi)


@final
@keeps_settings
class InvariantHead(nn.Module):
    """Values that the group keeps: the mean of functions on the group.

        y[v] = mean over g of h[v, g],    h a relaxed group layer of the features

    Args:
        group: Any finite group, or its name.
        in_features: Features of the input, which has in_features * |G| values.
        out_features: Values v; default 1.
        banks: Filter banks of the layer; default 2.
        frozen: True for the exact layer; default False.

    Raises:
        OrbitLensError: If a number is below 1.

    Example:
        >>> InvariantHead("C4", 3)(torch.rand(5, 12)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        group: Group | str,
        in_features: int,
        out_features: int = 1,
        *,
        banks: int = 2,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.layer = RelaxedGroupLinear(
            group, in_features, out_features, banks=banks, frozen=frozen
        )

    def forward(self, features: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Return the values, [..., out_features]."""
        return self.layer(features).unflatten(-1, (-1, self.layer.group.order)).mean(-1)


@final
@keeps_settings
class PermutedActionsHead(KeepsNumbers):
    """A value for each action of a set that the group permutes.

        Q[a] = mean over the g with g a_o = a of h[o, g],    h a relaxed group layer

    a_o is the first action of orbit o, and h has one function for each orbit. Where the actions are
    permuted as the elements themselves, Q[a_g] = h[g].

    Args:
        actions: rho_A, of permutation matrices: e_a moves to e_ga. See reps.permutation.
        in_features: Features of the input, which has in_features * |G| values.
        banks: Filter banks of the layer; default 2.
        frozen: True for the exact layer; default False.

    Raises:
        OrbitLensError: If the matrices are no representation, if an action is not moved to an
            action, or if a number is below 1.

    Example:
        >>> from orbitlens.reps import permutation
        >>> swap = permutation("C2", [(2, 1, 0)])  # left, stay, right
        >>> PermutedActionsHead(swap, 3)(torch.rand(5, 6)).shape
        torch.Size([5, 3])
    """

    reads: Tensor

    def __init__(
        self,
        actions: Representation,
        in_features: int,
        *,
        banks: int = 2,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        reads = _reads(_images_of(actions))
        orbits = reads.shape[1] // actions.group.order
        self.layer = RelaxedGroupLinear(
            actions.group, in_features, orbits, banks=banks, frozen=frozen
        )
        self.keep("reads", reads)

    def forward(self, features: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch actions"]:
        """Return the value of each action, [..., actions]."""
        found = self.layer(features)
        return linear(found, self.reads.to(found))


class ActionSpread(NamedTuple):
    """A normal distribution of actions before the squash, a mean and a spread for each action."""

    mean: Float[Tensor, "*batch dim"]
    log_std: Float[Tensor, "*batch dim"]


@final
@keeps_settings
class VectorActionsHead(KeepsNumbers):
    """Mean and spread of actions that the group moves by matrices, both before the squash.

        mean = mean over g of rho_A(g) h[:, g]
        log_std = mean over g of |rho_A(g)| k[:, g]      for signed permutations
        log_std = mean over g of k[g], for all alike     for other matrices

    with h and k a relaxed group layer. So a moved state has the moved density: a signed
    permutation carries the spread of one action to another, and other orthogonal matrices keep
    equal spreads alone. `Squash` brings the drawn actions within bounds.

    Args:
        actions: rho_A, of any finite group.
        in_features: Features of the input, which has in_features * |G| values.
        banks: Filter banks of the layer; default 2.
        frozen: True for the exact layer; default False.

    Raises:
        OrbitLensError: If the matrices are no representation, or a number is below 1.

    Example:
        >>> from orbitlens.reps import irreps
        >>> mean, log_std = VectorActionsHead(irreps("C2")[1], 3)(torch.rand(5, 6))
        >>> mean.shape, log_std.shape
        (torch.Size([5, 1]), torch.Size([5, 1]))
    """

    moves: Tensor
    spreads: Tensor

    def __init__(
        self,
        actions: Representation,
        in_features: int,
        *,
        banks: int = 2,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        _check_actions(actions)
        matrices = actions.matrices
        alike = torch.ones_like(matrices[:, :, :1])
        spreads = matrices.abs() if are_signed_permutations(actions) else alike
        values = actions.dim + spreads.shape[2]
        self.layer = RelaxedGroupLinear(
            actions.group, in_features, values, banks=banks, frozen=frozen
        )
        self.keep("moves", matrices)
        self.keep("spreads", spreads)

    def forward(self, features: Float[Tensor, "*batch in"]) -> ActionSpread:
        """Return mean and logarithm of the standard deviation, [..., dim] each."""
        found = self.layer(features).unflatten(-1, (-1, self.layer.group.order))
        means, stds = found.split([self.moves.shape[2], self.spreads.shape[2]], dim=-2)
        return ActionSpread(_mean_of(self.moves, means), _mean_of(self.spreads, stds))


def warn_of_fixed_states(
    states: Numbers, on_states: Representation, on_actions: Representation
) -> None:
    """Warn of states that no element moves: an exactly equivariant policy cannot choose there.

        rho_S(g) s = s for all g    implies    rho_A(g) pi(s) = pi(s) for all g

    Under flips of sign that action is 0; permuted actions get equal values.

    Args:
        states: States to look at, such as those at which episodes start, shape [n, dim].
        on_states: rho_S.
        on_actions: rho_A, of the same group. If it moves no action, nothing is wrong.

    Raises:
        OrbitLensError: If the representations are none, or have another dimension or group.

    Example:
        >>> from orbitlens.reps import irreps, regular
        >>> warn_of_fixed_states([[1.0, 2.0]], regular("C2"), irreps("C2")[1])  # (2, 1) is another
    """
    for name, rho in (("on_states", on_states), ("on_actions", on_actions)):
        check_kind(name, rho, Representation, "see orbitlens.reps")
        check_multiplies(rho, name)
    group = on_states.group
    if on_actions.group != group:
        raise OrbitLensError(
            "`on_actions`",
            expected=f"a representation of {group.name}, as on_states is",
            received=f"one of {on_actions.group.name}",
            remedy="give the two representations of one symmetry",
        )
    sizes = {"dim": on_states.dim}
    points = as_axes("states", states, "n dim", dtype=torch.float64, sizes=sizes, least=1)
    matrices = on_states.matrices.to(points)
    moved = (torch.einsum("gij,nj->gni", matrices, points) - points).abs().amax(0)
    # The size of a coordinate is the largest number that is moved to it.
    scales = torch.einsum("gij,nj->gni", matrices.abs(), points.abs()).amax((0, 1))
    still = int((moved <= _STILL * scales + _NOISE * scales.max()).all(1).sum())
    unmoved = torch.eye(on_actions.dim).to(on_actions.matrices)
    if still and not torch.allclose(on_actions.matrices, unmoved.expand_as(on_actions.matrices)):
        warn(
            "states under an exactly equivariant policy",
            found=f"{group.name} moves {still} of {len(points)} states nowhere, so that the action "
            "there is one that it does not move either, such as 0",
            remedy="relax the layers, let episodes start elsewhere, or add noise to break the tie",
        )


def _mean_of(
    matrices: Float[Tensor, "group dim channels"], values: Float[Tensor, "*batch channels group"]
) -> Float[Tensor, "*batch dim"]:
    moved = torch.einsum("gij,...jg->...i", matrices.to(values), values)
    return moved / len(matrices)


def _check_actions(actions: Representation) -> None:
    check_kind("actions", actions, Representation, "see orbitlens.reps")
    check_multiplies(actions, "actions")


def _images_of(actions: Representation) -> list[list[int]]:
    """Return where each element moves each action; refuse matrices that permute no actions."""
    _check_actions(actions)
    whole = are_signed_permutations(actions) and bool((actions.matrices > -0.5).all())
    if not whole:
        raise OrbitLensError(
            f"actions {actions.name}",
            expected="a permutation matrix for each element: an action set that is closed, each "
            "action moved to one of the set",
            received="other matrices",
            remedy="add the moved actions to the set, and see reps.permutation; for actions that "
            "are vectors use VectorActionsHead",
        )
    return actions.matrices.argmax(1).tolist()


def _reads(images: list[list[int]]) -> Float[Tensor, "actions values"]:
    """Return the matrix that reads each action from one function on the group for each orbit."""
    columns = list(zip(*images, strict=True))
    firsts = [a for a, orbit in enumerate(columns) if min(orbit) == a]
    reads = torch.zeros(len(columns), len(firsts), len(images), dtype=torch.float64)
    for o, first in enumerate(firsts):
        for g, action in enumerate(columns[first]):
            reads[action, o, g] = 1.0
    return (reads / reads.sum((1, 2), keepdim=True)).flatten(1)
