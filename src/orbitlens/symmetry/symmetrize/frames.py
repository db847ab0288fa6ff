"""What a head returns: elements of a group, drawn for each input, which name its frames."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn


class Frames(NamedTuple):
    """Elements g of a group that a head has drawn for each input x.

    The input in frame g is g^-1 x. A network f sees it there, and g moves the answer back:
    g f(g^-1 x).

    Attributes:
        elements: One tensor [n, samples, d, d] for each factor of the group, in the order of
            `actions.SampledAction`: permutation matrices (P[i, j] = 1 moves place j to node i),
            then rotations or reflections. They are orthogonal: the inverse is the transpose. Their
            gradients reach the weights of the head.
        penalty: Entropy of the soft permutations, nats per node, mean over the samples, shape [n].
            A loss adds it with a small weight. Zero where nothing is permuted.
        tied: Whether the input did not decide its frame in any sample, shape [n]: to the head some
            nodes, points or directions are alike, so the frame is arbitrary. Without noise this is
            so for all inputs with a symmetry of their own. It is so for others too, as the head
            sees less than all: to `PermutationHead` the nodes of every regular graph without
            features are alike, also of one without automorphisms.
    """

    elements: tuple[Float[Tensor, "n samples d d"], ...]
    penalty: Float[Tensor, " n"]
    tied: Bool[Tensor, " n"]


class FrameHead(nn.Module, ABC):
    """A small network that draws frames from an equivariant distribution.

        p(g | h x) = p(h^-1 g | x)   for all g and h of the group

    The head is a function of the input and of noise whose law no element of the group changes.
    Moved input and moved noise give moved frames: g(h x, h z) = h g(x, z). So the equation holds
    for all weights.

    Source: Kim et al. 2023, arXiv 2306.02866, *Learning Probabilistic Symmetrization for
    Architecture Agnostic Equivariance*.
    """

    @abstractmethod
    def forward(
        self,
        inputs: Shaped[Tensor, "n points columns"],
        n_samples: int,
        generator: torch.Generator | None = None,
        noise: Float[Tensor, "n samples points noise"] | None = None,
        mask: Bool[Tensor, "n points"] | None = None,
    ) -> Frames:
        """Return `n_samples` frames for each input.

        Args:
            inputs: Graphs or point clouds, shape [n, points, columns].
            n_samples: Frames for each input, at least 1.
            generator: Source of the noise; None (the default) for torch's own.
            noise: The noise itself, for example to keep it fixed, of the shape that the head's
                `draw_noise` gives; None (the default) draws it.
            mask: True at the points that are there, False at padding, which comes last; None (the
                default) where nothing is padded.
        """
