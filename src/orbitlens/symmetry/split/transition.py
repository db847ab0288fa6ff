"""The equivariant transition: what an action does to the latents of objects that see each other.

Source: Park et al. 2022, arXiv 2204.11371: T, a graph network on all pairs of objects.
"""

from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot

from orbitlens.checks import as_count, as_indices, as_seed, check_weights
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group, check_moves
from orbitlens.models import keeps_settings
from orbitlens.symmetry.split._doors import as_values
from orbitlens.symmetry.split._functions_on_group import OrbitStack, three_linears
from orbitlens.typing import Numbers


@final
@keeps_settings
class ObjectTransition(nn.Module):
    """The change of the latents of objects under an action, exactly equivariant.

        m_i = sum over j != i of edge(z_i, z_j)        T(z, a)_i = node(z_i, a_i, m_i)
        T(g z, g a) = g T(z, a)                        T(p z, p a) = p T(z, a)

    for all g in the group and all permutations p of the objects. a_i is the one-hot action of
    object i, read as functions on the group, and zero for objects that are not acted on. `edge` and
    `node` have the same weights for all objects.

    Source: Park et al. 2022, arXiv 2204.11371, and its code for the layers.

    Args:
        group: A finite group, or its name.
        moves: How it permutes the actions on one object, shape [|G|, actions], such as
            `data.block_moves("C4")`.
        copies: Functions of each latent, default 2.
        hidden: Functions of the hidden layers, default 48.
        seed: Seed of the initial weights.

    Raises:
        OrbitLensError: If the moves are no action of the group, a size is below 1, or the
            weights need more memory than there is.

    Example:
        >>> from orbitlens.data import block_moves
        >>> step = ObjectTransition("C4", block_moves("C4"), hidden=4)
        >>> step(torch.randn(5, 3, 8), torch.tensor([0, 3, 4, 10, 11])).shape
        torch.Size([5, 3, 8])
    """

    moves: Tensor

    def __init__(
        self,
        group: Group | str,
        moves: Numbers,
        *,
        copies: int = 2,
        hidden: int = 48,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.group, self.copies = as_group(group), as_count("copies", copies)
        hidden, table = as_count("hidden", hidden), _as_moves(moves, self.group)
        check_weights(hidden, max(2 * hidden, 2 * self.copies), self.group.order)
        self.register_buffer("moves", torch.from_numpy(table), persistent=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(as_seed(seed))
            self.actions = OrbitStack(table)
            self.edge = three_linears(self.group, 2 * self.copies, hidden, hidden)
            inputs = self.copies + self.actions.features + hidden
            self.node = three_linears(self.group, inputs, hidden, self.copies)

    @property
    def dim(self) -> int:
        """Numbers in the latent of an object."""
        return self.copies * self.group.order

    def forward(
        self, z: Float[Tensor, "n objects dim"], actions: Int[Tensor, " n"]
    ) -> Float[Tensor, "n objects dim"]:
        """Return the change of the latents.

        Args:
            z: Latents, shape [n, objects, copies * |G|].
            actions: Action m on object k is number A k + m, with A actions on one object; shape
                [n].

        Raises:
            OrbitLensError: If the latents have another shape, or an action does not exist.
        """
        z = as_values("z", z, "...", network=self)
        if z.ndim != 3 or z.shape[-1] != self.dim:
            raise OrbitLensError(
                "`z` of a transition",
                expected=f"latents of shape [n, objects, {self.dim}]",
                received=list(z.shape),
                remedy="give those of an embedding with the same group and copies",
            )
        n, objects, _ = z.shape
        count = self.moves.shape[1]
        actions = as_indices("actions", actions, "n", most=count * objects - 1, size=n)
        chosen = one_hot(actions.to(z.device), count * objects).unflatten(-1, (objects, count))
        # Row i holds the objects that object i sees.
        others = torch.arange(objects).repeat(objects, 1)[~torch.eye(objects, dtype=torch.bool)]
        seen = z[:, others.to(z.device)].unflatten(1, (objects, objects - 1))
        pairs = torch.cat([z[:, :, None].expand_as(seen), seen], -1)
        message = self.edge(pairs).sum(2)
        change: Tensor = self.node(torch.cat([z, self.actions(chosen.to(z.dtype)), message], -1))
        return change


def _as_moves(moves: Numbers, group: Group) -> Int[np.ndarray, "group actions"]:
    table = as_indices("moves", moves, "group actions", most=2**31).numpy()
    try:
        if table.shape[1] == 0:
            raise ValueError("no action at all")
        check_moves(table, group)
    except ValueError as error:
        raise OrbitLensError(
            "`moves`",
            expected=f"a permutation of the actions for each element of {group.name}, which "
            "multiply as the elements do",
            received=str(error),
            remedy=f'give for example data.block_moves("{group.name}")',
        ) from None
    return table.copy()  # the caller may change the one that was given
