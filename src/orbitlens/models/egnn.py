"""A small graph network on point clouds that is equivariant by construction."""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from orbitlens.checks import as_count, as_floats
from orbitlens.errors import OrbitLensError
from orbitlens.models._building import check_sizes, seeded_weights
from orbitlens.models._settings import keeps_settings


@final
@keeps_settings
class EGNN(nn.Module):
    """Message passing between all points of a cloud that turns, mirrors and moves with the cloud.

        m_ij = phi_e(h_i, h_j, |x_i - x_j|^2, s_i s_j)
        x_i <- x_i + phi_v(h_i) v_i + mean_j (x_i - x_j) phi_x(m_ij)
        h_i <- h_i + phi_h(h_i, sum_j m_ij)

    over the other points j, in every layer. h starts as a linear map of the speed |v_i| and the
    scalars s_i. Lengths do not change under O(3), and positions enter as differences, so the output
    x is equivariant under O(3), translations and permutations of the points, up to rounding.

    Source: Satorras, Hoogeboom & Welling 2021, arXiv 2102.09844, *E(n) Equivariant Graph Neural
    Networks*, equations 3 to 7.

    Args:
        scalars: Columns s of each point after its position and velocity.
        hidden: Width of h and of the messages.
        layers: Number of layers.
        seed: Seed of the initial weights.

    Raises:
        OrbitLensError: If a size is below 1 (`scalars`: below 0), or if the inputs have other axes
            or columns.

    Example:
        >>> model, cloud = EGNN(seed=0), torch.randn(2, 5, 7)
        >>> model(cloud).shape
        torch.Size([2, 5, 3])
        >>> mirrored = cloud * torch.tensor([-1, 1, 1, -1, 1, 1, 1])  # x of position and velocity
        >>> there = model(cloud) * torch.tensor([-1, 1, 1])
        >>> torch.allclose(model(mirrored), there, atol=1e-5)
        True
    """

    def __init__(self, scalars: int = 1, hidden: int = 32, layers: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.scalars = as_count("scalars", scalars, least=0)
        check_sizes(hidden=hidden, layers=layers)
        with seeded_weights(seed):
            self.embed = nn.Linear(1 + scalars, hidden)
            self.layers = nn.ModuleList(_Layer(scalars, hidden) for _ in range(layers))

    def forward(
        self, clouds: Float[Tensor, "batch points columns"]
    ) -> Float[Tensor, "batch points 3"]:
        """Return one position for each point: position and velocity in, then the scalars."""
        clouds = as_floats("clouds", clouds)
        if clouds.ndim != 3 or clouds.shape[2] != 6 + self.scalars:
            raise OrbitLensError(
                "clouds of EGNN",
                expected=f"shape [batch, points, columns] with 3 + 3 + {self.scalars} columns: "
                "position, velocity and scalars",
                received=list(clouds.shape),
                remedy="give `scalars` their number, and one axis for the clouds",
            )
        position, velocity, scalars = clouds.tensor_split((3, 6), dim=2)
        speed = torch.linalg.vector_norm(velocity, dim=2, keepdim=True)
        h = self.embed(torch.cat([speed, scalars], 2))
        edges = scalars[:, :, None] * scalars[:, None]
        others = ~torch.eye(clouds.shape[1], dtype=torch.bool, device=clouds.device)
        for layer in self.layers:
            h, position = layer(h, position, velocity, edges, others)
        return position


@final
class _Layer(nn.Module):
    """One round of messages, which moves the points and changes what is known of them."""

    def __init__(self, scalars: int, hidden: int) -> None:
        super().__init__()
        self.phi_e = nn.Sequential(
            nn.Linear(2 * hidden + 1 + scalars, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
        )
        # As in the source's code: other points hardly push at first.
        push = nn.Linear(hidden, 1)
        nn.init.xavier_uniform_(push.weight, gain=1e-3)
        self.phi_x = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), push)
        self.phi_v = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1))
        self.phi_h = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )

    def forward(
        self,
        h: Float[Tensor, "batch points hidden"],
        position: Float[Tensor, "batch points 3"],
        velocity: Float[Tensor, "batch points 3"],
        edges: Float[Tensor, "batch points points scalars"],
        others: Bool[Tensor, "points points"],
    ) -> tuple[Float[Tensor, "batch points hidden"], Float[Tensor, "batch points 3"]]:
        away = position[:, :, None] - position[:, None]
        ends = torch.broadcast_tensors(h[:, :, None], h[:, None])
        messages = self.phi_e(torch.cat([*ends, away.square().sum(3, keepdim=True), edges], 3))
        messages = messages * others[:, :, None]
        # A point's difference to itself is zero, so its own message does not move it.
        push = (away * self.phi_x(messages)).sum(2) / max(1, len(others) - 1)
        h_next = h + self.phi_h(torch.cat([h, messages.sum(2)], 2))
        return h_next, position + self.phi_v(h) * velocity + push
