"""Equivariant world models: latents that a group moves, and a transition that commutes with it.

Source: Park, Biza, Zhao, van de Meent & Walters 2022, arXiv 2204.11371, *Learning Symmetric
Embeddings for Equivariant World Models*.
"""

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from orbitlens.checks import as_count, as_indices, as_seed
from orbitlens.data import block_moves
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group
from orbitlens.models import keeps_settings
from orbitlens.reps import Representation, direct_sum, regular
from orbitlens.symmetry.split._doors import as_any_indices, as_values
from orbitlens.symmetry.split.embedding import SymmetricEmbedding
from orbitlens.symmetry.split.transition import ObjectTransition
from orbitlens.typing import Numbers

_Latents = Float[Tensor, "n objects dim"]


@final
@keeps_settings
class WorldModel(nn.Module):
    """Predicts, in latents, what actions do to what an image shows.

        z = E(S(x))        z' = z + T(z, a)        with  T(g z, g a) = g T(z, a),  exactly

    for a group that acts on actions in a known way, and on states in a way that images hide, as an
    oblique view does. What was learned for some actions then holds for all that the group takes
    them to.

    Source: Park et al. 2022, arXiv 2204.11371.

    Args:
        group: C1, C2, C4, D1, D2 or D4, or its name. "C1" ties nothing: an ordinary world model.
        moves: How the group permutes the actions on one object, shape [|G|, actions]; by default
            the moves up, right, down, left of `data.block_moves`.
        channels: Channels of the images, default 3.
        side: Height and width of the images, in pixels; default 20.
        objects: Number K of objects, default 2.
        width: Channels of the hidden maps of S, default 16.
        hidden: Functions of the hidden layers of E and T, default 48.
        copies: Functions of the latent of each object, default 2.
        kind: "plain" (the default) or "equivariant": the layers of S, see `SymmetricEmbedding`.
        seed: Seed of the initial weights.

    Raises:
        OrbitLensError: If the group moves pixels off the grid, the moves are no action of it, or a
            size is below 1.

    Example:
        >>> from orbitlens.data import block_episodes, render_blocks
        >>> model = WorldModel("C4", hidden=4).eval()
        >>> episodes = block_episodes(6, steps=3, seed=0)
        >>> model.roll_out(render_blocks(episodes.grids[:, 0]), episodes.actions).shape
        torch.Size([6, 3, 2, 8])
        >>> z, a = torch.randn(1, 2, 8), torch.tensor([5])
        >>> after = model.predict(model.act(1, z), model.move_actions(1, a))
        >>> torch.allclose(after, model.act(1, model.predict(z, a)), atol=1e-5)
        True
    """

    def __init__(
        self,
        group: Group | str,
        moves: Numbers | None = None,
        *,
        channels: int = 3,
        side: int = 20,
        objects: int = 2,
        width: int = 16,
        hidden: int = 48,
        copies: int = 2,
        kind: str = "plain",
        seed: int = 0,
    ) -> None:
        super().__init__()
        # Each part draws its own numbers.
        generator = torch.Generator().manual_seed(as_seed(seed))
        first, second = torch.randint(2**31, (2,), generator=generator).tolist()
        self.embedding = SymmetricEmbedding(
            group,
            channels=channels,
            side=side,
            objects=objects,
            width=width,
            hidden=hidden,
            copies=copies,
            kind=kind,
            seed=first,
        )
        self.transition = ObjectTransition(
            self.embedding.group,
            block_moves(self.embedding.group) if moves is None else moves,
            copies=copies,
            hidden=hidden,
            seed=second,
        )

    @property
    def group(self) -> Group:
        """The group that acts on latents and actions."""
        return self.embedding.group

    @property
    def representation(self) -> Representation:
        """How the group acts on the latents of an image: copies of the regular representation."""
        return direct_sum(*[regular(self.group)] * (self.embedding.objects * self.embedding.copies))

    def forward(self, x: Float[Tensor, "n channels side side"]) -> _Latents:
        """Return the latents of images, see `SymmetricEmbedding.forward`."""
        latents: Tensor = self.embedding(x)
        return latents

    def predict(self, z: _Latents, actions: Int[Tensor, " n"]) -> _Latents:
        """Return the latents after one action each, z + T(z, a).

        Raises:
            OrbitLensError: If the latents have another shape, or an action does not exist.
        """
        z = as_values("z", z, "...", network=self)
        change: Tensor = self.transition(z, actions)
        return z + change

    def roll_out(
        self,
        x: Float[Tensor, "n channels side side"],
        actions: Int[Tensor, "n steps"],
        steps: int | None = None,
    ) -> Float[Tensor, "n done objects dim"]:
        """Return the latents after each of several actions, predicted from the first image alone.

        Args:
            x: Images before the first action.
            actions: Numbers of the actions, shape [n, steps].
            steps: How many of them; default all.

        Raises:
            OrbitLensError: If there are fewer actions than steps, or an input is wrong.
        """
        x = self.embedding.checked(x)
        actions = as_indices("actions", actions, "n steps", most=self._last, size=len(x))
        given = actions.shape[1]
        steps = given if steps is None else as_count("steps", steps)
        if not 1 <= steps <= given:
            raise OrbitLensError(
                "`steps` of a roll-out",
                expected=f"1 to {given}, the number of actions",
                received=steps,
                remedy="give an action for each step",
            )
        z, found = self(x), []
        for step in actions.T[:steps]:
            z = self.predict(z, step)
            found.append(z)
        return torch.stack(found, 1)

    def act(self, element: int, z: Float[Tensor, "*n dim"]) -> Float[Tensor, "*n dim"]:
        """Return latents moved by an element: (k F)[c, g] = F[c, k^-1 g].

        Raises:
            OrbitLensError: If the element does not exist, or the latents have another length.
        """
        z = as_values("z", z, "... dim", sizes={"dim": self.transition.dim})
        order, back = self.group.order, int(self.group.inverses[self.group.index(element)])
        came_from = torch.from_numpy(self.group.table[back].copy()).to(z.device)
        return z.unflatten(-1, (-1, order))[..., came_from].flatten(-2)

    def move_actions(self, element: int, actions: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
        """Return the actions that do to moved states what the given ones do to states.

        Raises:
            OrbitLensError: If the element or an action does not exist.
        """
        moves = self.transition.moves[self.group.index(element)]
        actions = as_any_indices("actions", actions, most=self._last).to(moves.device)
        return actions - actions % len(moves) + moves[actions % len(moves)]

    @property
    def _last(self) -> int:
        """The number of the last action on the last object."""
        return self.transition.moves.shape[1] * self.embedding.objects - 1
