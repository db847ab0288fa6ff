"""The topographic VAE: capsules that roll by one slot whenever the input makes one step.

Source: Keller & Welling 2021, arXiv 2109.01394, *Topographic VAEs learn Equivariant Capsules*, and
its code (MIT) for the networks, the sign of mu and the window.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from orbitlens.checks import as_count, as_indices, as_number, as_seed, check_weights
from orbitlens.errors import warn
from orbitlens.models import keeps_settings
from orbitlens.symmetry.split._doors import as_values, drawn_on
from orbitlens.symmetry.split._topographic_doors import (
    as_parts,
    as_sequences,
    as_shape,
    as_squares,
    as_windows,
    check_finite,
    check_slots,
)
from orbitlens.symmetry.split.base import Split, SplitModel
from orbitlens.symmetry.split.capsule_metrics import importance_log_likelihood
from orbitlens.symmetry.split.coherence import _sheared, temporal_coherence
from orbitlens.symmetry.split.latents import Elbo, Gaussian, Posterior, _draw, _kl

_Sequences = Float[Tensor, "n frames *shape"]
_Latents = Float[Tensor, "n frames capsules slots"]
_Elements = Int[Tensor, "n 1"]

_EPS = 1e-6  # under the root, as in the source's code
_TIED = 16  # steps of the number type within which two slots count as equally full


@final
@keeps_settings
class TopographicVAE(SplitModel):
    """A VAE of sequences whose capsules share their variances along the steps of the input.

        t[l, j] = (z[l, j] + mu) / sqrt(v[l, j] + 1e-6),    v = `temporal_coherence` of u^2
        ELBO    = log p(x | t) - KL(q(z | x) | N(0, I)) - KL(q(u | x) | N(0, I))

    Every frame is encoded alone, by two networks, and decoded alone, from t; the frames meet in v.
    Pixels are Bernoulli. A frame takes one step of a transformation, and the last leads back to the
    first. What training should bring about is that capsules roll, t[l, j] ~ t[0, j - l].

    As a `SplitModel` it codes a sequence by the capsules of one frame, and decodes the others by
    rolling them. The group is C_S, and element g delays the sequence by g frames:

        t_   = mean_l roll(t[l], -l)          the capsules of frame 0, from all frames
        pose = the frame at which slot 0 is the fullest, summed over the capsules
        code = (roll(t_, pose), pose)         frame l = decoder(roll(code, l - pose))

    encode(g x) = (code, pose + g) and decode(act(g, .)) = g decode(.) hold exactly, trained or not,
    for every coherence, since v commutes with delays. What has to be learned is that the decoded
    sequence is x.

    Source: Keller & Welling 2021, arXiv 2109.01394; its code for the rest. The split is our own.

    Args:
        frames: Frames S of a sequence, at least 2.
        shape: Shape of a frame, such as (1, 16, 16).
        capsules: Number of capsules.
        slots: Latents of a capsule; default S, which shifting coherence needs.
        coherence: "shifting", the topographic VAE; "still", whose window does not move (the
            source's BubbleVAE); or "none", an ordinary VAE with t = z.
        reach: Frames of the window to each side, so 2 reach + 1 in all; None (the default) for all.
        spread: Slots of the window to each side; default 1.
        mu: Initial value of mu, a single number that is learned; default 30.
        seed: Seed of the initial weights.

    Raises:
        OrbitLensError: If a size is too small, a window wider than its axis, the coherence unknown,
            if there is not one slot per frame for shifting coherence, or if the weights need more
            memory than there is.

    Example:
        >>> model = TopographicVAE(8, (1, 4, 4), capsules=2)
        >>> x = torch.rand(3, 8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> g = torch.tensor([[1], [0], [5]])
        >>> code, moved = model.encode(x), model.encode(model.move(g, x))
        >>> torch.equal(moved.pose, model.act(g, code).pose)
        True
        >>> torch.allclose(moved.invariant, code.invariant, atol=1e-3)
        True
    """

    def __init__(
        self,
        frames: int,
        shape: Sequence[int],
        capsules: int = 4,
        *,
        slots: int | None = None,
        coherence: str = "shifting",
        reach: int | None = None,
        spread: int = 1,
        mu: float = 30.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.frames = as_count("frames", frames, least=2)
        self.shape = as_shape(shape)
        self.n_capsules = as_count("capsules", capsules)
        self.slots = self.frames if slots is None else as_count("slots", slots)
        self.coherence, self.reach, self.spread = as_windows(
            self.frames, self.slots, coherence, reach, spread
        )
        pixels, d = prod(self.shape), self.n_capsules * self.slots
        initial = float(as_number("mu", mu))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(as_seed(seed))
            self.z_encoder = _mlp(pixels, 3 * d, 2 * d, 2 * d)
            self.u_encoder = None if coherence == "none" else _mlp(pixels, 3 * d, 2 * d, 2 * d)
            self.decoder = _mlp(d, 2 * d, 3 * d, pixels)
        if coherence != "none":
            self.mu = nn.Parameter(torch.tensor(initial))

    def posterior(self, x: _Sequences) -> Posterior:
        """Return q(z | x) and q(u | x) of sequences [n, frames, *shape] in [0, 1].

        Raises:
            OrbitLensError: If the sequences have another shape, or values outside of [0, 1].
        """
        pixels = as_sequences(x, self.frames, self.shape, self, pixels=True).flatten(2)
        z = self._gaussian(self.z_encoder(pixels))
        u = None if self.u_encoder is None else self._gaussian(self.u_encoder(pixels))
        return Posterior(z, u)

    def topographic(self, z: _Latents, squares: _Latents | None) -> _Latents:
        """Return t of z and of u^2; z itself without coherence.

        Raises:
            OrbitLensError: If the shapes differ, a square is below 0, or squares are missing.
        """
        z = self._latents("z", z)
        return self._tied(z, as_squares(squares, z, self.coherence))

    def _tied(self, z: _Latents, squares: _Latents | None) -> _Latents:
        if squares is None:
            return z
        v = temporal_coherence(
            squares,
            reach=self.reach,
            spread=self.spread,
            shifting=self.coherence == "shifting",
        )
        return (z + self.mu) / (v + _EPS).sqrt()

    def capsules(self, x: _Sequences) -> _Latents:
        """Return t of whole sequences without drawing: z = m_z and u^2 = E[u^2] = m_u^2 + s_u^2.

        m_u^2 alone would be near 0 where u has not been used, and t would explode.

        Raises:
            OrbitLensError: As `posterior`.
        """
        z, u = self.posterior(x)
        squares = None if u is None else u.mean.square() + u.log_variance.exp()
        return self._tied(z.mean, squares)

    def sampled_capsules(self, x: _Sequences, generator: torch.Generator | None = None) -> _Latents:
        """Return t of one sample of z and u.

        Raises:
            OrbitLensError: As `posterior`.
        """
        return self._sample(self.posterior(x), generator)[0]

    def frames_of(self, t: _Latents) -> _Sequences:
        """Return the probabilities of the pixels, frame by frame; any number of frames.

        Raises:
            OrbitLensError: If there are other capsules or slots.
        """
        return torch.sigmoid(self._logits(self._latents("t", t)))

    def elbo(self, x: _Sequences, generator: torch.Generator | None = None) -> Elbo:
        """Return the terms of the bound for each frame, by one sample of z and u.

        Raises:
            OrbitLensError: As `posterior`.
        """
        q = self.posterior(x)
        t, _ = self._sample(q, generator)
        kl_z = _kl(q.z)
        return Elbo(self._log_likelihood(x, t), kl_z, 0 * kl_z if q.u is None else _kl(q.u))

    @torch.no_grad()
    def log_likelihood(
        self, x: _Sequences, samples: int = 10, generator: torch.Generator | None = None
    ) -> Float[Tensor, " n"]:
        """Return the importance-sampled log p(x_1, ..., x_S) / S of each sequence, in nats.

        The weights are those of whole sequences: t of a frame hangs on u of its neighbours, so the
        weights of a frame alone would bound no likelihood. A lower bound in expectation, see
        `importance_log_likelihood`.

        Raises:
            OrbitLensError: As `posterior`, or if there is no sample.
        """
        q, weights = self.posterior(x), []
        for _ in range(as_count("samples", samples)):
            t, log_ratio = self._sample(q, generator)
            weights.append(self._log_likelihood(x, t).sum(1) + log_ratio)
        return importance_log_likelihood(torch.stack(weights)) / self.frames

    def encode(self, x: _Sequences) -> Split:
        """Return the code of each sequence.

        Returns:
            The invariant part, the capsules of the frame that the pose names, shape [n, capsules *
            slots], and the pose, shape [n, 1].

        Raises:
            OrbitLensError: As `posterior`, if there is not one slot per frame, or if capsules are
                not finite.

        Warns:
            OrbitLensWarning: If a pose is not unique.
        """
        check_slots(self.slots, self.frames)
        t = _sheared(self.capsules(x), 1).mean(1)
        check_finite(t)
        full = t.sum(1)
        highest, slot = full.max(-1, keepdim=True)
        margin = _TIED * torch.finfo(full.dtype).eps * full.abs().amax(-1, keepdim=True)
        if bool(((full >= highest - margin).sum(-1) > 1).any()):
            warn(
                "poses of some sequences",
                found="several slots are equally full, as for frames that repeat",
                remedy="the pose is one of them, and so is the code; give sequences that return "
                "only after their last frame",
            )
        return Split(self._roll(t, -slot).flatten(1), -slot % self.frames)

    def decode(self, split: Split) -> _Sequences:
        """Return the sequences of codes: the capsules of one frame, rolled through all.

        Args:
            split: Invariant parts, shape [n, capsules * slots], and poses, shape [n, 1].

        Raises:
            OrbitLensError: If the parts have other shapes, or a pose is no frame.
        """
        check_slots(self.slots, self.frames)
        code, pose = self._parts(split)
        t = code.unflatten(1, (self.n_capsules, self.slots))
        return self.frames_of(
            torch.stack(
                [self._roll(t, frame - pose.to(t.device)) for frame in range(self.frames)], dim=1
            )
        )

    def act(self, element: _Elements, split: Split) -> Split:
        """Return codes of sequences that are delayed by so many frames each, shape [n, 1].

        Raises:
            OrbitLensError: If an element or a pose is no frame, or a part has another shape.
        """
        code, pose = self._parts(split)
        element = self._frames("element", element, len(code)).to(pose.device)
        return Split(code, (pose + element) % self.frames)

    def move(self, element: _Elements, x: _Sequences) -> _Sequences:
        """Return sequences delayed by so many frames each: (g x)[l] = x[l - g].

        Raises:
            OrbitLensError: If the sequences have another shape, or an element is no frame.
        """
        x = as_sequences(x, self.frames, self.shape, self)
        element = self._frames("element", element, len(x)).to(x.device)
        frame = (torch.arange(self.frames, device=x.device) - element) % self.frames
        return x[torch.arange(len(x), device=x.device)[:, None], frame]

    def draw(self, n: int, generator: torch.Generator | None = None) -> _Elements:
        """Draw n delays, all as likely."""
        shape, device = (as_count("n", n), 1), drawn_on(generator, None)
        return torch.randint(self.frames, shape, generator=generator, device=device)

    def product(self, g: _Elements, h: _Elements) -> _Elements:
        """Return the delays g + h.

        Raises:
            OrbitLensError: If an element is no frame.
        """
        second = self._frames("h", h)
        return (self._frames("g", g, len(second)).to(second.device) + second) % self.frames

    def _gaussian(self, output: Float[Tensor, "n frames both"]) -> Gaussian:
        parts = output.unflatten(2, (2, self.n_capsules, self.slots)).unbind(2)
        return Gaussian(*parts)

    def _sample(
        self, q: Posterior, generator: torch.Generator | None
    ) -> tuple[_Latents, Float[Tensor, " n"]]:
        """Return t of a sample, and log p(z) + log p(u) - log q(z) - log q(u)."""
        z, ratio = _draw(q.z, generator)
        if q.u is None:
            return z, ratio
        u, more = _draw(q.u, generator)
        return self._tied(z, u.square()), ratio + more

    def _logits(self, t: _Latents) -> _Sequences:
        logits: Tensor = self.decoder(t.flatten(2))
        return logits.unflatten(2, self.shape)

    def _log_likelihood(self, x: _Sequences, t: _Latents) -> Float[Tensor, "n frames"]:
        logits, x = self._logits(t), as_sequences(x, self.frames, self.shape, self)
        loss = binary_cross_entropy_with_logits(logits, x.to(logits.dtype), reduction="none")
        return -loss.flatten(2).sum(2)

    def _roll(
        self, t: Float[Tensor, "n capsules slots"], steps: Int[Tensor, "n 1"]
    ) -> Float[Tensor, "n capsules slots"]:
        places = (torch.arange(self.slots, device=t.device) - steps) % self.slots
        return t.gather(2, places[:, None].expand_as(t))

    def _latents(self, name: str, value: object) -> _Latents:
        sizes = {"capsules": self.n_capsules, "slots": self.slots}
        return as_values(name, value, "n frames capsules slots", sizes=sizes, network=self)

    def _parts(self, split: object) -> tuple[Float[Tensor, "n latents"], _Elements]:
        invariant, pose = as_parts(split)
        sizes = {"latents": self.n_capsules * self.slots}
        code = as_values("invariant", invariant, "n latents", sizes=sizes)
        return code, self._frames("pose", pose, len(code))

    def _frames(self, name: str, value: object, n: int | None = None) -> _Elements:
        """Return a frame, or a delay, for each sequence."""
        found: Tensor = as_indices(name, value, "n 1", most=self.frames - 1, size=n)
        return found


def _mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        check_weights(after, before)
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
