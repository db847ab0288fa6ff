"""Heads of pretext tasks: one that moves its logits with the input, and one that cannot."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from orbitlens.checks import as_count, check_kind
from orbitlens.errors import OrbitLensError
from orbitlens.groups import Group, as_group
from orbitlens.symmetry.pretext._functions import rows_for
from orbitlens.symmetry.pretext.frozen import frozen_features
from orbitlens.symmetry.pretext.labels import LabelAction
from orbitlens.symmetry.pretext.projector import GroupMLP


@final
class EquivariantHead(nn.Module):
    """Logits of labels that move with the input, one function on the group for each orbit.

        logits(g y_i) = mean over h in H_i of u_i[g h]        logits(gx)[g y] = logits(x)[y]

    with y_i the representative of orbit i, H_i its stabiliser, and u = `GroupMLP` of the features.

    Source: derived, for the labels of Mukuta & Harada 2023, arXiv 2303.04427.

    Args:
        group: The group of the features, or its name.
        labels: How it moves the labels, such as `Jigsaw(group).labels`.
        features: Functions of the input, which has features * |G| values.
        hidden: Functions of the hidden layer; default 64.

    Raises:
        OrbitLensError: If the labels have another group, or a number is below 1.

    Example:
        >>> from orbitlens.symmetry.pretext import Jigsaw
        >>> EquivariantHead("C4", Jigsaw("C4").labels, features=3)(torch.rand(5, 12)).shape
        torch.Size([5, 24])
    """

    spread: Tensor

    def __init__(
        self, group: Group | str, labels: LabelAction, features: int, hidden: int = 64
    ) -> None:
        super().__init__()
        self.group, self.labels = as_group(group), _of_the_group(labels, as_group(group))
        self.mlp = GroupMLP(self.group, features, hidden, len(labels.orbits))
        self.register_buffer("spread", _spread(labels), persistent=False)

    def forward(self, x: Float[Tensor, "n in"]) -> Float[Tensor, "n labels"]:
        """Return a logit for each label."""
        u: Tensor = self.mlp(x)
        return u @ self.spread.to(u.dtype)


@final
class InvariantHead(nn.Module):
    """The head that contradicts equivariance: a classifier of what stays under the group.

        logits(x) = linear_2(relu(linear_1([max_g z, mean_g z])))        logits(gx) = logits(x)

    It gives all labels of an orbit their logits for x and gx alike. So on inputs whose distribution
    the group keeps, its accuracy is at most `labels.cap`. A baseline.

    Args:
        group: The group of the features, or its name.
        labels: How it moves the labels.
        features: Functions of the input, which has features * |G| values.
        hidden: Values of the hidden layer; default 64.

    Raises:
        OrbitLensError: If the labels have another group, or a number is below 1.

    Example:
        >>> from orbitlens.symmetry.pretext import Jigsaw
        >>> InvariantHead("C4", Jigsaw("C4").labels, features=3)(torch.rand(5, 12)).shape
        torch.Size([5, 24])
    """

    def __init__(
        self, group: Group | str, labels: LabelAction, features: int, hidden: int = 64
    ) -> None:
        super().__init__()
        self.group, self.labels = as_group(group), _of_the_group(labels, as_group(group))
        # Linear layers of the trivial group are ordinary ones, with the same initial spread.
        self.features = as_count("features", features)
        self.mlp = GroupMLP("C1", 2 * self.features, hidden, labels.n)

    def forward(self, x: Float[Tensor, "n in"]) -> Float[Tensor, "n labels"]:
        """Return a logit for each label."""
        rows = rows_for("x", x, self.group, self.features, self.mlp.hidden.tied)
        logits: Tensor = self.mlp(frozen_features(rows, self.group))
        return logits


def _of_the_group(labels: LabelAction, group: Group) -> LabelAction:
    check_kind("labels", labels, LabelAction, "give those of a task, such as Jigsaw(group).labels")
    if labels.group != group:
        raise OrbitLensError(
            "`labels` of a head",
            expected=f"labels that {group.name} moves, as the features do",
            received=f"labels of {labels.group.name}",
            remedy="build encoder, task and head with one group",
        )
    return labels


def _spread(labels: LabelAction) -> Float[Tensor, "functions labels"]:
    """Return the share of u_i[a] in the logit of y: 1 / |H_i| where a y_i = y, else 0."""
    moved, order = labels.moved, labels.group.order
    shares = torch.zeros(len(labels.orbits), order, labels.n)
    for number, (orbit, stabiliser) in enumerate(
        zip(labels.orbits, labels.stabilisers, strict=True)
    ):
        shares[number, range(order), moved[:, orbit[0]].tolist()] = 1 / len(stabiliser)
    return shares.flatten(0, 1)
