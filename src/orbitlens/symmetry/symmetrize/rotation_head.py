"""Frames of point clouds: vector neurons make a matrix, whose columns are made orthonormal.

Source: Kim et al. 2023, arXiv 2306.02866, *Learning Probabilistic Symmetrization for Architecture
Agnostic Equivariance*, for O(3), SO(3) and their products with S_n.
"""

from itertools import pairwise
from typing import final

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import normalize

from orbitlens.checks import as_count, as_number, as_seed, as_switch
from orbitlens.errors import OrbitLensError, out_of_range
from orbitlens.models._building import seeded_weights
from orbitlens.symmetry.symmetrize._doors import as_noise_scale, check_call, check_noise, place_of
from orbitlens.symmetry.symmetrize._orthogonal import (
    first_independent,
    gram_schmidt,
    lacks_rank,
    proper,
)
from orbitlens.symmetry.symmetrize._ranking import Ranking, Ranks, check_finite
from orbitlens.symmetry.symmetrize._vector_neurons import EdgeLayer, VectorMaxPool, vector_linear
from orbitlens.symmetry.symmetrize.frames import FrameHead, Frames


@final
class RotationHead(FrameHead):
    """Draws rotations and reflections of point clouds: frames for O(3), SO(3) and S_n x O(3).

        v_i = x_i + scale z_i                   z ~ N(0, 1) for every vector of every point
        V = layers of vector neurons on (v, s v)
        M = linear(max pool of V)
        k = Gram-Schmidt(M)                     SO(3): the first column times det k

    A cloud in its frame is k^T x. With z moved along, moved clouds have moved frames:
    k(R x, R z) = R k(x, z). In training the batch norms mix the inputs of a batch; the equation
    holds exactly in evaluation mode.

    Points that are alike pool to a matrix M without full rank, such as those of a cube. Then k is
    made of the first independent vectors of this list: the columns of M; the vectors of the points
    in their order, unless the head permutes them; t, three vectors of N(0, 1) summed over the
    points. For SO(3) two vectors are enough, as their cross product turns with them.

    Scalars s of a point, such as its charge, do not turn. They enter as products: beside each
    vector v stands s v for each scalar.

    With `permutes` the points are ordered too. Their scores are inner products of their channels
    with the pooled ones, which no rotation changes, passed through two layers; they are sorted as
    in `PermutationHead`.

    Source: Kim et al. 2023, arXiv 2306.02866; settings of the authors' code, github.com/jw9730/lps.
    Layers: Deng et al. 2021, arXiv 2104.12229, *Vector Neurons*.

    Args:
        vectors: Vectors of a point, the first 3 * vectors columns: its position, then others such
            as its velocity. Positions must be centred, since the head does not see translations as
            such: see `actions.rotations`.
        scalars: Columns after the vectors, default 0.
        special: True for SO(3), rotations alone; False (the default) for O(3).
        permutes: Whether frames order the points too: S_n x O(3) or S_n x SO(3).
        hidden: Channels, default 64, of which each vector takes three.
        neighbours: Nearest points that a point hears of, default 4.
        dropout: Share of vector channels that are dropped in training, below 1, default 0.08.
        tau: Temperature of the soft permutations, above 0, default 0.1.
        sinkhorn_steps: Normalisations of rows and columns, default 20.
        noise_scale: Factor of z, default 1. With 0 and one sample the head is a canonicaliser.
        ties: What decides where the input does not: "noise" (t, and noise on scores, the default),
            or "order": the axes of space instead of t, and the order of the points where scores are
            equal. `Frames.tied` marks such inputs.
        hard: Whether the orders are permutations (the default) or the soft matrices.
        seed: Seed of the first weights, default 0.

    Raises:
        OrbitLensError: If a number is out of its range.

    Example:
        >>> cloud = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0))
        >>> head = RotationHead(vectors=1, hidden=12).eval()
        >>> (k,) = head(cloud, n_samples=2, generator=torch.Generator().manual_seed(0)).elements
        >>> k.shape, torch.allclose(k.mT @ k, torch.eye(3), atol=1e-5)
        (torch.Size([1, 2, 3, 3]), True)
    """

    def __init__(
        self,
        vectors: int,
        scalars: int = 0,
        *,
        special: bool = False,
        permutes: bool = False,
        hidden: int = 64,
        neighbours: int = 4,
        dropout: float = 0.08,
        tau: float = 0.1,
        sinkhorn_steps: int = 20,
        noise_scale: float = 1.0,
        ties: str = "noise",
        hard: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.vectors, self.scalars = (
            as_count("vectors", vectors),
            as_count("scalars", scalars, least=0),
        )
        self.special, self.permutes = as_switch("special", special), as_switch("permutes", permutes)
        if not 0 <= as_number("dropout", dropout) < 1:
            raise out_of_range("dropout", "a share from 0 to below 1", dropout)
        self.noise_scale = as_noise_scale(noise_scale)
        self.ranking = Ranking(tau, sinkhorn_steps, ties, hard)
        channels = as_count("hidden", hidden, least=3) // 3
        widths = (self.vectors * (1 + self.scalars), channels, channels)
        near = as_count("neighbours", neighbours)
        with seeded_weights(as_seed(seed)):
            self.layers = nn.ModuleList(
                EdgeLayer(wide, out, near, dropout, alike=self.noise_scale == 0)
                for wide, out in pairwise(widths)
            )
            self.pool = VectorMaxPool(channels)
            self.frame = vector_linear(channels, 3)
            if permutes:
                self.pooled = vector_linear(channels, channels)
                self.score = nn.Sequential(
                    nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, 1)
                )

    def forward(
        self,
        inputs: Shaped[Tensor, "n points columns"],
        n_samples: int,
        generator: torch.Generator | None = None,
        noise: Float[Tensor, "n samples points noise"] | None = None,
        mask: Bool[Tensor, "n points"] | None = None,
    ) -> Frames:
        """Return `n_samples` rotations or reflections of each cloud, after orders of its points.

        Args:
            inputs: Centred point clouds, shape [n, points, 3 * vectors + scalars].
            n_samples: Frames of each cloud, at least 1.
            generator: Source of the noise and of the dropout; None (the default) for torch's own.
            noise: The noise as `draw_noise` gives it; None draws it.
            mask: True at points, False at padding, which comes last and keeps its place, shape
                [n, points]; None (the default) where nothing is padded.

        Returns:
            With `permutes` the permutations [n, samples, points, points], then the orthogonal
            matrices [n, samples, 3, 3]; in the type of the weights.

        Raises:
            OrbitLensError: If `n_samples` is below 1, if an input has another shape or no points,
                if padding does not come last, or if what is computed is not finite.
        """
        mask = check_call(inputs, n_samples, mask)
        self._check_columns(inputs)
        if noise is None:
            noise = self.draw_noise(inputs, n_samples, generator)
        check_noise(noise, len(inputs), n_samples, inputs.shape[1], self._noise_columns + 1)
        inputs, noise = inputs.to(self.frame.weight), noise.to(self.frame.weight)
        valid = None if mask is None else mask.repeat_interleave(n_samples, 0)
        if mask is not None:
            inputs = inputs.masked_fill(~mask[:, :, None], 0.0)
            noise = noise.masked_fill(~mask[:, None, :, None], 0.0)
        first = v = self._vectors(inputs, noise).flatten(0, 1)
        for layer in self.layers:
            v = layer(v, valid, generator)
        pooled = self.pool(v, valid)
        # The columns of M relative to the largest that they could be, so that rounding shows.
        terms = torch.linalg.vector_norm(v.detach(), dim=-2).amax(1) @ self.frame.weight.abs().mT
        columns = self.frame(pooled) / terms[:, None].clamp(min=torch.finfo(v.dtype).tiny)
        k, tied = self._orthogonal(columns, first[..., : self.vectors], noise.flatten(0, 1))
        elements, penalty = [k], k.new_zeros(len(inputs))
        if self.permutes:
            ranks = self._ranks(v, pooled, noise[..., -1].flatten(0, 1), valid)
            elements.insert(0, ranks.permutations)
            tied = tied | ranks.tied
            penalty = ranks.entropy.unflatten(0, (-1, n_samples)).mean(1)
        split = (len(inputs), n_samples)
        factors = tuple(each.unflatten(0, split) for each in elements)
        return Frames(factors, penalty, tied.unflatten(0, split).all(1))

    def draw_noise(
        self,
        inputs: Shaped[Tensor, "n points columns"],
        n_samples: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "n samples points noise"]:
        """Return noise for `forward`, laid out as inputs are: it moves as they do.

        Args:
            inputs: Point clouds, shape [n, points, columns].
            n_samples: Frames of each cloud.
            generator: Source; None (the default) for torch's own.

        Returns:
            N(0, 1), `vectors` + 3 vectors for each point, of which the last three make t; then
            U(0, 1), one scalar for ties of the scores.
        """
        shape, place = (len(inputs), n_samples, inputs.shape[1]), place_of(inputs, generator)
        turning = torch.randn(*shape, self._noise_columns, generator=generator, device=place)
        return torch.cat([turning, torch.rand(*shape, 1, generator=generator, device=place)], -1)

    @property
    def _noise_columns(self) -> int:
        return 3 * (self.vectors + 3)

    def _vectors(
        self,
        inputs: Float[Tensor, "n points columns"],
        noise: Float[Tensor, "n samples points noise"],
    ) -> Float[Tensor, "n samples points 3 channels"]:
        """Return the noisy vectors, then their products with each scalar."""
        turning = 3 * self.vectors
        x, s = inputs[:, None, :, :turning], inputs[:, None, :, turning:]
        v = (x + self.noise_scale * noise[..., :turning]).unflatten(-1, (self.vectors, 3)).mT
        products = v[..., None] * s[..., None, None, :]
        return torch.cat([v, products.flatten(-2)], dim=-1)

    def _orthogonal(
        self,
        columns: Float[Tensor, "batch 3 3"],
        v: Float[Tensor, "batch points 3 vectors"],
        noise: Float[Tensor, "batch points noise"],
    ) -> tuple[Float[Tensor, "batch 3 3"], Bool[Tensor, " batch"]]:
        """Return orthogonal matrices, and whether something else than the input decided them."""
        check_finite(columns)
        short = lacks_rank(columns.detach())
        if not bool(short.any()):
            k = gram_schmidt(columns)
            return (proper(k) if self.special else k), short
        candidates = torch.cat([columns[short], self._instead(v[short], noise[short])], 2)
        completed, picked = first_independent(candidates, special=self.special)
        # Where M serves, Gram-Schmidt keeps its gradient; a matrix without rank has none.
        k = gram_schmidt(columns.where(~short[:, None, None], torch.eye(3).to(columns)))
        k = (proper(k) if self.special else k).index_put((short,), completed)
        known = 3 if self.permutes else 3 + v.shape[1] * self.vectors
        return k, short.index_put((short,), (picked >= known).any(1))

    def _instead(
        self, v: Float[Tensor, "batch points 3 vectors"], noise: Float[Tensor, "batch points noise"]
    ) -> Float[Tensor, "batch 3 many"]:
        """Return the vectors that complete M, each of length 1 or shorter than the longest."""
        axes = torch.eye(3).to(v).expand(len(v), 3, 3)
        if self.ranking.ties == "noise":
            t = noise[..., 3 * self.vectors : -1].sum(1).unflatten(-1, (3, 3))
            axes = torch.cat([normalize(t, dim=-1).mT, axes], 2)
        if self.permutes:
            return axes
        longest = torch.linalg.vector_norm(v, dim=2).amax(1)[:, None, None]
        ordered = v / longest.clamp(min=torch.finfo(v.dtype).tiny)
        return torch.cat([ordered.transpose(1, 2).flatten(2), axes], 2)

    def _ranks(
        self,
        v: Float[Tensor, "batch points 3 channels"],
        pooled: Float[Tensor, "batch 3 channels"],
        noise: Float[Tensor, "batch points"],
        valid: Bool[Tensor, "batch points"] | None,
    ) -> Ranks:
        """Return the orders of the points by scores that do not turn."""
        invariant = (v * self.pooled(pooled)[:, None]).sum(-2)
        scores: Tensor = self.score(invariant)
        return self.ranking(scores.squeeze(-1), noise, valid)

    def _check_columns(self, inputs: Shaped[Tensor, "n points columns"]) -> None:
        columns = 3 * self.vectors + self.scalars
        if inputs.shape[2] != columns:
            raise OrbitLensError(
                "`inputs` of RotationHead",
                expected=f"{columns} columns: 3 for each of {self.vectors} vectors, then "
                f"{self.scalars} scalars",
                received=f"{inputs.shape[2]} columns",
                remedy="make the head with the numbers of vectors and scalars that points have",
            )
