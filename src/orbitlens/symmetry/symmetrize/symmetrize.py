"""Make any network invariant or equivariant: it answers in several frames, and the mean is taken.

Source: Kim et al. 2023, arXiv 2306.02866, *Learning Probabilistic Symmetrization for Architecture
Agnostic Equivariance*; averages and canonical frames are its special cases.
"""

import math
from typing import Any, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from orbitlens.actions import Action, SampledAction, as_prefix_mask
from orbitlens.checks import as_count, as_floats, as_number, as_seed
from orbitlens.errors import OrbitLensError, out_of_range, warn
from orbitlens.models import ShowsViews, check_network, evaluating
from orbitlens.symmetry.symmetrize._choose import choose
from orbitlens.symmetry.symmetrize._methods import Answers, Output
from orbitlens.symmetry.symmetrize._tried import exporting, try_action

_DRAWN = 10  # samples by default, as in the paper
_PILOT = 64  # samples that estimate a variance
_MOST_SAMPLES = 2**53


class Prediction(NamedTuple):
    """What a symmetrized network says, and how sure it is of the mean.

    Attributes:
        mean: The mean over the samples, shape [n, ...].
        penalty: Entropy of the soft permutations of each input, to be added to the loss with a
            small weight (0.1 in the paper), shape [n]; zero where the head permutes nothing.
        variance: Estimated variance of each number of the mean over draws, same shape as the mean;
            zero where nothing is drawn, NaN of a single sample.
    """

    mean: Float[Tensor, "n *out"]
    penalty: Float[Tensor, " n"]
    variance: Float[Tensor, "n *out"]


@final
class Symmetrized(ShowsViews):
    """A network f that has been made invariant or equivariant, see `symmetrize`.

        phi(x) = mean over k of g_k f(g_k^-1 x)

    It is a module like any other: its parameters are those of f and of the head that chooses g. It
    begins in the mode of f, training or evaluation. Its layer "mean" puts out phi(x). The layers of
    f see several views of each input at once, about 16,000 rows at most in one call; look into
    `network` by itself.

    In training every call draws new elements; in evaluation every call starts from the same seed,
    so the same batch gives the same outputs. An input has other draws at another place of a batch.

    A state dict keeps `n_samples` too. Loading takes it over, unless this module was given another
    number: that is refused before anything is loaded. States that have none, of earlier versions,
    leave the module its own.

    Args:
        network: The network f.
        action: How the group moves inputs.
        how: "average", "canonical" or "probabilistic".
        output: How the group moves outputs; None for outputs that stay.
        n_samples: Samples k, or None for the default of `symmetrize`.
        head: What chooses g, or None for the default.
        example: A few inputs, which show the default head their width.
        seed: Seed of the draws and of the head's first weights.
    """

    calls: Tensor

    def __init__(
        self,
        network: nn.Module,
        action: Action | SampledAction,
        how: str = "average",
        output: Output = None,
        *,
        n_samples: int | None = None,
        head: nn.Module | None = None,
        example: Float[Tensor, "n *axes"] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = check_network(network, "`network`")
        self.seed = as_seed(seed)
        self.method = choose(action, how, output, head, example, self.seed)
        self.action, self.how, self.output = action, how, output
        self._samples, self._chosen = self._count(n_samples), n_samples is not None
        self.mean = _Mean()
        self._tried = False
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.train(network.training)

    @property
    def n_samples(self) -> int:
        """Samples k of a call, 1 where nothing is drawn; set it to draw as many."""
        return self._samples

    @n_samples.setter
    def n_samples(self, n_samples: int) -> None:
        self._samples, self._chosen = self._count(n_samples), True

    @property
    def views(self) -> int:
        """Views of each input that the network sees."""
        if isinstance(self.action, SampledAction) or self.how == "canonical":
            return self.n_samples
        return self.action.group.order

    @property
    def draws(self) -> bool:
        """Whether elements are drawn: the mean is then an estimate."""
        return isinstance(self.action, SampledAction) and self.how != "canonical"

    def forward(
        self, inputs: Float[Tensor, "n *axes"], mask: Bool[Tensor, "n points"] | None = None
    ) -> Float[Tensor, "n *out"]:
        """Return the mean over the samples.

        Args:
            inputs: Inputs of the action, shape [n, ...].
            mask: True at the points that are there, False at the padding after them, shape
                [n, points]; None (the default) where nothing is padded. Padding keeps its place,
                and the network sees it.

        Returns:
            Outputs of the network, moved back and averaged, shape [n, ...].

        Raises:
            OrbitLensError: If the action cannot move the inputs, or `output` the outputs; if the
                outputs are no floats; or if they have a row for each node that the action permutes,
                and `output` is None.
        """
        return self.predict(inputs, mask=mask).mean

    def predict(
        self,
        inputs: Float[Tensor, "n *axes"],
        n_samples: int | None = None,
        mask: Bool[Tensor, "n points"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Prediction:
        """Return the mean over the samples, the penalty of the loss, and the variance of the mean.

        In evaluation it warns of inputs that their own symmetry ties, if one frame is chosen;
        `tied` says which they are. In training it does not, since every step would.

        Args:
            inputs: As for `forward`.
            n_samples: Samples k; None (the default) for those of the module.
            mask: As for `forward`.
            generator: Source of the draws, on the device of the inputs; None (the default) for the
                module's own.

        Returns:
            Mean, penalty and variance.

        Raises:
            OrbitLensError: As `forward`, or if the number of samples is below 1.
        """
        k = self.n_samples if n_samples is None else self._count(n_samples)
        answers = self._answers(inputs, k, mask, generator)
        if self.how == "canonical" and not self.training:
            self._warn_of_ties(answers.tied)
        mean: Tensor = self.mean(answers.outputs)
        if not self.draws:
            variance = torch.zeros_like(mean.detach())
        elif k == 1:
            variance = torch.full_like(mean.detach(), math.nan)
        else:
            variance = answers.outputs.detach().var(1) / k
        return Prediction(mean, answers.penalty, variance)

    def samples_for(
        self,
        inputs: Float[Tensor, "n *axes"],
        variance: float,
        mask: Bool[Tensor, "n points"] | None = None,
    ) -> int:
        """Return how many samples give the mean a wanted variance.

            k = sigma^2 / variance   with sigma^2 the variance of one sample

        sigma^2 is estimated with 64 samples of each input, in evaluation mode; it is the mean over
        inputs and over the numbers that `forward` returns. Nothing is set: give the result to
        `predict`, or set `n_samples`.

        Args:
            inputs: Inputs for which the variance is wanted, shape [n, ...].
            variance: Wanted variance of the mean, in the unit of the outputs squared.
            mask: As for `forward`.

        Returns:
            Samples, at least 1; 1 where nothing is drawn.

        Raises:
            OrbitLensError: If the variance is not above 0, or so small that no number of samples
                gives it; if there is no input; or if the outputs are not finite.
        """
        wanted = as_number("variance", variance, "a number above 0")
        if wanted <= 0:
            raise out_of_range("variance", "a number above 0", wanted)
        if not self.draws:
            return 1
        with evaluating(self):
            outputs = self._answers(inputs, _PILOT, mask, None).outputs.detach()
        if outputs.numel() == 0 or not bool(outputs.isfinite().all()):
            raise OrbitLensError(
                "outputs that vary with the draws",
                expected="finite numbers of at least one input",
                received="none" if outputs.numel() == 0 else "NaN or infinity",
                remedy="give a few inputs for which the network puts out finite numbers",
            )
        samples = float(outputs.double().var(1).mean()) / wanted
        if samples > _MOST_SAMPLES:
            raise out_of_range(
                "variance",
                f"one that fewer than 2^53 samples give, here above {wanted * samples / 2**53:.2g}"
                if math.isfinite(samples)
                else "one that fewer than 2^53 samples give",
                wanted,
                "give a larger variance",
            )
        return max(1, math.ceil(samples))

    @torch.no_grad()
    def tied(
        self, inputs: Float[Tensor, "n *axes"], mask: Bool[Tensor, "n points"] | None = None
    ) -> Bool[Tensor, " n"]:
        """Return which inputs do not decide their frame, in evaluation mode.

        Such an input has a symmetry of its own, or looks so to the head. Its canonical frame is
        arbitrary. In an average nothing is chosen, and so nothing is tied.

        Args:
            inputs: As for `forward`.
            mask: As for `forward`.

        Returns:
            True at the tied inputs, shape [n].

        Raises:
            OrbitLensError: As `forward`.
        """
        with evaluating(self):
            return self._answers(inputs, self.n_samples, mask, None).tied

    def get_extra_state(self) -> Tensor:
        """Return what a state dict keeps besides the weights: k, or 0 where nothing is drawn."""
        return torch.tensor(self.n_samples if self.draws else 0)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over the k of a state dict."""
        if self.draws and int(state):
            self._samples = int(state)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *options: Any) -> None:
        # States of earlier versions have no number of samples.
        kept = state_dict.setdefault(f"{prefix}_extra_state", self.get_extra_state())
        if self.draws and self._chosen and int(kept) not in (0, self.n_samples):
            raise OrbitLensError(
                "`n_samples` of the state",
                expected=f"{self.n_samples}, the number that this network was given",
                received=int(kept),
                remedy="leave `n_samples` out to take over that of the state, and set another one "
                "after loading",
            )
        super()._load_from_state_dict(state_dict, prefix, *options)

    def extra_repr(self) -> str:
        """Return what the printed module says besides its parts."""
        return f"{self.action}, how={self.how!r}, n_samples={self.n_samples}"

    def _answers(
        self,
        inputs: Float[Tensor, "n *axes"],
        n_samples: int,
        mask: Bool[Tensor, "n points"] | None,
        generator: torch.Generator | None,
    ) -> Answers:
        inputs = as_floats("inputs", inputs)
        self.action.check(inputs)
        mask = None if mask is None else self._as_mask(mask, inputs)
        if generator is None:
            generator = self._next_generator(inputs.device)
        # What tries an action looks at numbers, which an export does not have.
        tries = not (self._tried or exporting())
        if tries and isinstance(self.action, Action):
            try_action(self.action, inputs)
        answers: Answers = self.method(self.network, inputs, n_samples, generator, mask)
        if tries and isinstance(self.output, Action):
            try_action(self.output, answers.outputs[:, 0])
        self._tried = self._tried or (tries and len(inputs) > 0)
        return answers

    def _as_mask(
        self, mask: Bool[Tensor, "n points"], inputs: Float[Tensor, "n *axes"]
    ) -> Bool[Tensor, "n points"]:
        if isinstance(self.action, SampledAction):
            return as_prefix_mask(mask, *inputs.shape[:2]).to(inputs.device)
        raise OrbitLensError(
            "`mask`",
            expected=f"None, as the elements of {self.action} move all of an input",
            received="a mask of padding",
            remedy="use actions.relabelling or actions.rotations, which know padding",
        )

    def _warn_of_ties(self, tied: Bool[Tensor, " n"]) -> None:
        if not bool(tied.any()):
            return
        action = self.action
        # Without numbers: Python shows the same words once, not at every batch.
        free = isinstance(action, SampledAction) and action.vectors and not action.centred
        warn(
            f"inputs under {action}",
            found="some are tied by their own symmetry, or look so to the head, so that their "
            "canonical frame is arbitrary",
            remedy="ask `tied` which they are; choose "
            'how="average", or "probabilistic" where there is a head for it'
            + ("; far from the origin, build the action with centred=True" if free else ""),
        )

    def _next_generator(self, device: torch.device) -> torch.Generator:
        """Return the generator of this call: a new one in training, the first in evaluation."""
        if self.training:
            self.calls += 1
        key = np.random.SeedSequence(
            self.seed, spawn_key=(int(self.calls) if self.training else 0,)
        )
        return torch.Generator(device).manual_seed(int(key.generate_state(1, np.uint64)[0]))

    def _count(self, n_samples: int | None) -> int:
        if self.draws:
            return _DRAWN if n_samples is None else as_count("n_samples", n_samples)
        if n_samples is None or as_count("n_samples", n_samples) == 1:
            return 1
        raise out_of_range(
            "n_samples",
            "None, as one canonical frame serves each input"
            if self.how == "canonical"
            else f"None, as the mean over all elements of {self.action.group} is exact",
            n_samples,
            'use how="average" or "probabilistic" to draw several'
            if isinstance(self.action, SampledAction)
            else "leave it out",
        )


@final
class _Mean(nn.Module):
    """The mean over the samples as a layer, so that the output can be looked into."""

    def forward(self, outputs: Float[Tensor, "n samples *out"]) -> Float[Tensor, "n *out"]:
        return outputs.mean(1)


def symmetrize(
    network: nn.Module,
    action: Action | SampledAction,
    how: str = "average",
    output: Output = None,
    *,
    n_samples: int | None = None,
    head: nn.Module | None = None,
    example: Float[Tensor, "n *axes"] | None = None,
    seed: int = 0,
) -> Symmetrized:
    """Return a network that is invariant or equivariant, made of any network without a new design.

        phi(x) = mean over k of g_k f(g_k^-1 x),   so that   phi(hx) = h phi(x)

    The three ways differ in the elements g_k:

    - "average": all elements of a finite group; draws of the Haar measure otherwise.
    - "canonical": one element, which an equivariant head chooses by looking at x.
    - "probabilistic": draws of p(g | x), which an equivariant head makes of x and of noise.

    The mean over a finite group is equivariant for every input. A canonical frame is so for each
    input that is not tied: one with a symmetry of its own is, and one that looks so to the head. In
    evaluation a tied input is warned of. Drawn elements make the network equivariant in
    expectation: the variance of an estimate falls as 1 / k. All of this holds for all weights of
    network and head, up to the rounding of floats. An action that interpolates is no exact action
    of its group, and the network is then symmetric only up to the error of the interpolation.

    Source: Kim et al. 2023, arXiv 2306.02866; canonical frames over finite groups as Kaba et al.
    2023, arXiv 2211.06489.

    Args:
        network: Any network f from [n, ...] to one tensor [n, ...].
        action: How the group moves inputs: an action of `orbitlens.actions` with a finite group, or
            `actions.relabelling` (S_n on graphs) or `actions.rotations` (SO(3), O(3), with S_n).
        how: "average" (the default), "canonical" or "probabilistic".
        output: How the group moves outputs. None (the default) for outputs that stay; a
            Representation rho for rho(g) on their last axis; or an action of the same group.
        n_samples: Samples k where elements are drawn, default 10. Otherwise None or 1, because
            nothing is drawn.
        head: What chooses the elements: for finite groups a module that gives scores [n, |G|], see
            `EnergyHead`; otherwise a `FrameHead`, for "canonical" one with noise_scale=0 and
            ties="order". None (the default) builds one:
            `ImageHead` for exact actions on images, `PlaneHead` on a torus, `EnergyHead` for other
            finite groups, `PermutationHead` or `RotationHead` where elements are drawn.
        example: A few inputs, whose shape, type and device the default head takes over. An average
            needs none.
        seed: Seed of the draws and of the head's first weights, default 0.

    Returns:
        The symmetrized network, an ordinary module in the mode of `network`, training or
        evaluation.

    Raises:
        OrbitLensError: If `how`, the action, the output and the head do not go together, if the
            matrices of a representation do not multiply as the group, or if a head needs an
            example. The first call refuses a function of one's own that is no left action; an
            export does not count as a call.

    Warns:
        OrbitLensWarning: At the first call, if the action on inputs or outputs interpolates.

    Example:
        >>> from orbitlens.actions import images
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
        >>> phi, x = symmetrize(net, images("D4")), torch.rand(2, 1, 8, 8)
        >>> torch.allclose(phi(x.rot90(1, (-2, -1))), phi(x), atol=1e-6)
        True
        >>> graphs = torch.rand(2, 12, 12).round()
        >>> from orbitlens.actions import relabelling
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(144, 1))
        >>> phi = symmetrize(net, relabelling(12), how="probabilistic", example=graphs)
        >>> mean, penalty, variance = phi.predict(graphs)
        >>> mean.shape, penalty.shape
        (torch.Size([2, 1]), torch.Size([2]))
    """
    return Symmetrized(
        network,
        action,
        how,
        output,
        n_samples=n_samples,
        head=head,
        example=example,
        seed=seed,
    )
