"""Frames of graphs: a graph network scores the nodes, and the scores sort them.

Source: Kim et al. 2023, arXiv 2306.02866, *Learning Probabilistic Symmetrization for Architecture
Agnostic Equivariance*, for the symmetric group S_n.
"""

from functools import partial
from typing import final

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from orbitlens.checks import as_count, as_seed
from orbitlens.errors import OrbitLensError
from orbitlens.models._building import check_sizes, seeded_weights
from orbitlens.symmetry.symmetrize._doors import as_noise_scale, check_call, check_noise, place_of
from orbitlens.symmetry.symmetrize._gin import GIN, in_double
from orbitlens.symmetry.symmetrize._ranking import Ranking
from orbitlens.symmetry.symmetrize.frames import FrameHead, Frames


@final
class PermutationHead(FrameHead):
    """Draws orders of the nodes of graphs: frames for S_n.

        s = GIN(x + scale z, A) + 1e-6 t      z, t ~ U(0, 1) for each node and sample
        P = hard order of s / |s|, descending, P[node, rank] = 1
        S = Sinkhorn(-|s_i - sorted(s)_j| / tau)
        P with gradient = stopgrad(P - S) + S

    A graph in its frame is P^T x with adjacency P^T A P. With z and t moved along, moved graphs
    have moved frames: P(h x, h z) = h P(x, z). In training the batch norms of the GIN mix the
    inputs of a batch; the equation holds exactly in evaluation mode.

    Without noise the scores of large graphs lie so close that single precision may not tell them
    apart. The GIN then computes in double precision, whatever the type of its weights.

    Source: Kim et al. 2023, arXiv 2306.02866; settings of the authors' code, github.com/jw9730/lps.

    Args:
        features: Columns of features of a node, after the row of the adjacency. With 0 a node's
            feature is its degree, the sum of its row.
        pairs: Whether inputs begin with the adjacency; False for sets of features without edges.
        hidden: Channels of the GIN, default 64.
        layers: Layers of the GIN, default 3.
        tau: Temperature of the soft permutations, above 0, default 0.01.
        sinkhorn_steps: Normalisations of rows and columns, default 20.
        noise_scale: Factor of z, default 1. With 0 and one sample the head is a canonicaliser.
        ties: What orders equal scores: "noise" (t, the default) or the "order" of the nodes, which
            depends on their labels and draws nothing. Scores that only rounding sets apart count as
            tied, but rounding orders them, and it may differ with the number of samples.
        hard: Whether the frames are permutations (the default) or the soft matrices S, which are
            no elements of the group. They show what the hard ones are needed for.
        seed: Seed of the first weights, default 0.

    Raises:
        OrbitLensError: If a number is out of its range, or if there are neither edges nor features.

    Example:
        >>> graph = torch.tensor([[[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]])  # 0 - 1 - 2
        >>> head = PermutationHead(features=0, hidden=8).eval()
        >>> frames = head(graph, n_samples=5, generator=torch.Generator().manual_seed(0))
        >>> frames.elements[0].shape, frames.penalty.shape
        (torch.Size([1, 5, 3, 3]), torch.Size([1]))
        >>> frames.elements[0].sum(-1).unique()  # each node has one rank
        tensor([1.], grad_fn=<Unique2Backward0>)
    """

    def __init__(
        self,
        features: int,
        *,
        pairs: bool = True,
        hidden: int = 64,
        layers: int = 3,
        tau: float = 0.01,
        sinkhorn_steps: int = 20,
        noise_scale: float = 1.0,
        ties: str = "noise",
        hard: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.features, self.pairs = as_count("features", features, least=0 if pairs else 1), pairs
        check_sizes(hidden=hidden, layers=layers)
        self.noise_scale = as_noise_scale(noise_scale)
        self.ranking = Ranking(tau, sinkhorn_steps, ties, hard)
        with seeded_weights(as_seed(seed)):
            self.gin = GIN(max(self.features, 1), hidden, layers)

    def forward(
        self,
        inputs: Shaped[Tensor, "n nodes columns"],
        n_samples: int,
        generator: torch.Generator | None = None,
        noise: Float[Tensor, "n samples nodes noise"] | None = None,
        mask: Bool[Tensor, "n nodes"] | None = None,
    ) -> Frames:
        """Return `n_samples` orders of the nodes of each graph.

        Args:
            inputs: Graphs as `actions.graphs` takes them, shape [n, nodes, nodes + features].
            n_samples: Orders of each graph, at least 1.
            generator: Source of the noise; None (the default) for torch's own.
            noise: z and, as its last column, t, as `draw_noise` gives them; None draws them.
            mask: True at nodes, False at padding, which comes last and keeps its place, shape
                [n, nodes]; None (the default) where nothing is padded.

        Returns:
            The permutations, one factor [n, samples, nodes, nodes], in the type of the weights.

        Raises:
            OrbitLensError: If `n_samples` is below 1, if an input has another shape or no nodes, if
                padding does not come last, or if the scores are not finite.
        """
        mask = check_call(inputs, n_samples, mask)
        states, adjacency = self._parts(inputs, mask)
        if noise is None:
            noise = self.draw_noise(inputs, n_samples, generator)
        check_noise(noise, len(inputs), n_samples, inputs.shape[1], states.shape[2] + 1)
        noise = noise.to(states)
        states = states[:, None] + self.noise_scale * noise[..., :-1]
        # With noise, scores differ by more than rounding.
        gin = self.gin if self.noise_scale else partial(in_double, self.gin)
        scores = gin(states, adjacency, mask)
        valid = None if mask is None else mask.repeat_interleave(n_samples, 0)
        ranks = self.ranking(scores.flatten(0, 1), noise[..., -1].flatten(0, 1), valid)
        permutations, entropy, tied = (each.unflatten(0, scores.shape[:2]) for each in ranks)
        return Frames((permutations.to(states),), entropy.mean(1).to(states), tied.all(1))

    def draw_noise(
        self,
        inputs: Shaped[Tensor, "n nodes columns"],
        n_samples: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "n samples nodes noise"]:
        """Return noise for `forward`: it stays with its node when nodes are relabelled.

        Args:
            inputs: Graphs, shape [n, nodes, columns].
            n_samples: Orders of each graph.
            generator: Source; None (the default) for torch's own.

        Returns:
            U(0, 1), one column for each feature and one for ties.
        """
        shape = (len(inputs), n_samples, inputs.shape[1], max(self.features, 1) + 1)
        return torch.rand(shape, generator=generator, device=place_of(inputs, generator))

    def _parts(
        self, inputs: Shaped[Tensor, "n nodes columns"], mask: Bool[Tensor, "n nodes"] | None
    ) -> tuple[Float[Tensor, "n nodes features"], Float[Tensor, "n nodes nodes"]]:
        """Return features and adjacency in the type of the weights, zero at padding."""
        n, nodes, columns = inputs.shape
        if columns != (nodes if self.pairs else 0) + self.features:
            raise self._other_columns(nodes, columns)
        inputs = inputs.to(self.gin.virtual)
        if mask is not None:
            inputs = inputs.masked_fill(~mask[:, :, None], 0.0)
        if not self.pairs:
            return inputs, inputs.new_zeros(n, nodes, nodes)
        states, adjacency = inputs[..., nodes:], inputs[..., :nodes]
        if mask is not None:
            adjacency = adjacency.masked_fill(~mask[:, None], 0.0)
        degrees = adjacency.sum(-1, keepdim=True)
        return (states if self.features else degrees), adjacency

    def _other_columns(self, nodes: int, columns: int) -> OrbitLensError:
        square = self.pairs and columns < nodes
        return OrbitLensError(
            "`inputs` of PermutationHead",
            expected=f"a square adjacency, {nodes} columns for {nodes} nodes"
            if square
            else f"{f'{nodes} columns of the adjacency, then ' if self.pairs else ''}"
            f"{self.features} of features",
            received=f"{columns} columns",
            remedy="join them with torch.cat([adjacency, features], 2)"
            if square
            else "make the head with the number of features that the nodes have",
        )
