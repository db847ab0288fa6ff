"""Bias adaptation: biases that follow how often latents fire, not a gradient.

Chen, Sheen, Xiong, Wang & Yang, arXiv 2506.14002. Groups of latents have target frequencies. A
latent that fires more often than its target gets a lower bias, one that never fires a higher one.
There is no sparsity penalty and no k.

    y_m = <w_m, x - b_dec> + b_m
    x_hat = b_dec + sum_m a_m phi(y_m) w_m,   ||w_m|| = 1

`BiasAdaptation` is phi with the biases b and the output scales a; `TransposedEncoder` makes one w
serve both sides. In an orbit SAE an atom has one bias, one scale and one target for all its
orientations, so that codes stay equivariant.
"""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import nn

from orbitlens.checks import as_count, as_floats, as_number, as_switch, as_text, usual_torch
from orbitlens.errors import OrbitLensError, out_of_range, unknown_name, warn
from orbitlens.kernels import SparseCodes, at_columns
from orbitlens.sae.encoders import Encoder
from orbitlens.sae.sparsity import JumpReLU, ReLU, Sparsity
from orbitlens.typing import Float, StackedCodes, Tensor

_SETTINGS = ("groups", "htf", "ltf", "jump", "samples", "gamma_minus", "gamma_plus", "centre")
_CENTRES = ("auto", "fixed", "trained")


@final
class BiasAdaptation(Sparsity):
    """Every latent whose biased pre-activation is positive fires; feedback steers the biases.

        z_m = a_m max(y_m, 0)                     jump=False, ReLU
        z_m = a_m <w_m, x - b_dec> where y_m > 0  jump=True, JumpReLU: b_m does not shrink z_m

    Once `samples` samples are counted, with q_m the share of them for which latent m of group k
    fired, r_m the largest y_m among these, and r_k the mean of the positive r_m of the group:

        q_m > p_k:   b_m <- b_m - gamma_minus r_m
        q_m = 0:     b_m <- min(b_m + gamma_plus r_k, 0)

    Then the counts start again. Source: Algorithms 1 and 2; the printed second rule has max in
    place of min, which would allow positive biases alone.

    The paper gives activations unit length and keeps b_m above -1. Here activations keep their
    length. All else in the rule scales with it, and the bound holds by itself: r_m is at most
    R + b_m with R the largest ||x - b_dec||, so that b_m >= -R stays so. Codes and exports then
    need no lengths, f(c x) = c f(x) once biases are scaled, and a row of zeros is a row like
    others. For the loss of the paper, in which all rows count alike, train on rows of unit length.

    b_dec stays where training begins: as a trained b_dec moves, more latents fire, biases fall, and
    the loss may rise. Which place is right depends on the data. On the paper's toy data, where the
    mean has 5% of the mean square, 95% of the features were found with b_dec at zero, 65% with it
    at the mean and 30% with a trained one (ReLU, lr 1e-2, 942 steps, cosine 0.9, one seed). In a
    network the mean may have most of it, and no latent may fire often enough to say so: on digits,
    with 80%, the explained variance was -0.80 from zero and 0.61 from the mean.

    In an orbit SAE a sample fires an atom if it fires any of its orientations, and r_m is the
    largest over all of them. Both stay the same when the sample moves.

    Args:
        atoms: Latents, or atoms of an orbit SAE; each has a bias and a target.
        groups: Groups K of equally many atoms; atoms of a group come one after the other.
        htf: Target frequency of the first group, between 0 and 1.
        ltf: Target frequency of the last group; those between are geometric, p_k / p_k+1 equal.
            A single group has one target, htf = ltf.
        jump: Whether codes leave the bias out, default True.
        samples: Samples counted before each change of the biases, default 2560: ten steps of 256.
            The paper's language models take 50 steps of 512.
        gamma_minus: Rate of lowering, from 0 to 1, default 0.2. The paper has 0.01 and trains far
            longer: r_m falls to a tenth in 229 changes then, and in 11 with 0.2.
        gamma_plus: Rate of raising, from 0 to 1, default 0.2; the paper has 0.01.
        centre: Where b_dec is. "auto" (default) keeps it where `fit` puts it: at the mean
            activation if that has more than a tenth of the mean square, else at zero. "fixed" keeps
            it where it is, "trained" lets it follow the gradient. One that is not zero is kept.
        scale: Value from which every output scale a starts, default 1; builders take 2 d_in /
            d_sae. Half of all latents fire at first, and with that value the reconstruction starts
            as long as the activation. From 1 it starts far longer in a wide SAE, the first steps
            push all directions together, and on the paper's toy data no feature was found.
        orientations: Latents of each atom, default 1; latent g * atoms + c belongs to atom c.
        features: Features expected in the data, if known; narrower groups are warned about.

    Raises:
        OrbitLensError: If the atoms do not fill equal groups, htf is not above ltf, a target is not
            between 0 and 1 or is less than one firing in `samples`, a rate is out of range, or the
            centre is unknown.

    Warns:
        OrbitLensWarning: If groups are narrower than `features`.

    Example:
        >>> rule = BiasAdaptation(4, groups=2, htf=0.1, ltf=0.01)
        >>> [round(target, 3) for target in rule.targets.tolist()]
        [0.1, 0.1, 0.01, 0.01]
        >>> rule(torch.tensor([[1.0, -1.0, 2.0, 0.0]])).tolist()
        [[1.0, 0.0, 2.0, 0.0]]
    """

    name = "bias-adaptation"
    every = True
    per_latent = True
    ties = True
    steers = True
    biases: Tensor
    targets: Tensor
    seen: Tensor
    fired: Tensor
    largest: Tensor

    @usual_torch()
    def __init__(
        self,
        atoms: int,
        *,
        groups: int,
        htf: float | int,
        ltf: float | int,
        jump: bool = True,
        samples: int = 2560,
        gamma_minus: float | int = 0.2,
        gamma_plus: float | int = 0.2,
        centre: str = "auto",
        scale: float | int = 1.0,
        orientations: int = 1,
        features: int | None = None,
    ) -> None:
        super().__init__()
        self.atoms, self.groups = as_count("atoms", atoms), as_count("groups", groups)
        self.orientations = as_count("orientations", orientations)
        self.d_sae = self.atoms * self.orientations
        self.htf, self.ltf = _share("htf", htf), _share("ltf", ltf)
        self.jump, self.samples = as_switch("jump", jump), as_count("samples", samples)
        self.gamma_minus = _rate("gamma_minus", gamma_minus)
        self.gamma_plus = _rate("gamma_plus", gamma_plus)
        if as_text("centre", centre) not in _CENTRES:
            raise unknown_name("`centre`", centre, _CENTRES)
        self.centre = centre
        _check_groups(self.atoms, self.groups, self.htf, self.ltf, self.samples)
        _warn_of_narrow_groups(self.atoms // self.groups, features)
        start = as_number("scale", scale, "above 0")
        if not start > 0:
            raise out_of_range("scale", "above 0", scale)
        self.scales = nn.Parameter(torch.full((self.atoms,), float(start)))
        self.register_buffer("biases", torch.zeros(self.atoms))
        self.register_buffer("targets", self._targets(), persistent=False)
        # Counts since the last change of the biases: never a buffer of pre-activations.
        self.register_buffer("seen", torch.tensor(0.0), persistent=False)
        self.register_buffer("fired", torch.zeros(self.atoms), persistent=False)
        self.register_buffer("largest", torch.zeros(self.atoms), persistent=False)

    def settings(self) -> dict[str, Any]:
        """Return groups, targets, kind, rates and centre."""
        return {**super().settings(), **{name: getattr(self, name) for name in _SETTINGS}}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "BiasAdaptation":
        """Build the rule from the fields of `cfg.json`."""
        atoms = settings.get("n_atoms", settings["d_sae"])
        own = {name: settings[name] for name in _SETTINGS}
        return cls(atoms, orientations=settings["d_sae"] // atoms, **own)

    @staticmethod
    def starting_scale(d_in: int, d_sae: int) -> float:
        """Return the output scale with which half of the latents give an activation its length."""
        return min(1.0, 2 * d_in / d_sae)

    def _targets(self) -> Float[Tensor, " atoms"]:
        steps = torch.linspace(0, 1, self.groups, dtype=torch.float64)
        targets = self.htf * (self.ltf / self.htf) ** steps
        return targets.float().repeat_interleave(self.atoms // self.groups)

    def _of_latents(self, per_atom: Float[Tensor, "*stack atoms"]) -> Float[Tensor, "*stack all"]:
        """Give every orientation of an atom the number of the atom."""
        shape = (*per_atom.shape[:-1], self.orientations, self.atoms)
        return per_atom.unsqueeze(-2).expand(shape).flatten(-2)

    def eligible(self, pre: StackedCodes) -> StackedCodes:
        """Return the pre-activations <w, x - b_dec> that fire, -inf for the others."""
        biases = self._of_latents(self.biases).unsqueeze(-2)
        return torch.where(pre + biases > 0, pre, -torch.inf)

    def forward(self, pre: StackedCodes) -> StackedCodes:
        """Return codes, as many as fire, shape [batch, d_sae]."""
        pre = as_floats("pre", pre)
        biases = self._of_latents(self.biases).unsqueeze(-2)
        scales = self._of_latents(self.scales).unsqueeze(-2)
        biased = pre + biases
        return scales * torch.where(biased > 0, pre if self.jump else biased, 0.0)

    def of_entries(self, pre: SparseCodes) -> Float[Tensor, " entries"]:
        """Return the codes of the entries that fire."""
        scales = at_columns(self._of_latents(self.scales).flatten(), pre.pattern)
        return scales * (pre.values if self.jump else torch.relu(self._biased(pre)))

    def _biased(self, pre: SparseCodes) -> Float[Tensor, " entries"]:
        """Return y of the entries."""
        return pre.values + self._of_latents(self.biases).flatten()[pre.pattern.columns]

    @torch.no_grad()
    def start_(self) -> None:
        """Forget what an earlier training counted."""
        for counts in (self.seen, self.fired, self.largest):
            counts.zero_()

    @torch.no_grad()
    def observe_(self, pre: SparseCodes) -> None:
        """Count which atoms fire for the samples of a stack, and how strongly."""
        members, batch, latents = pre.shape
        rows, columns = pre.pattern.rows, pre.pattern.columns
        atom = columns % latents % self.atoms
        fires = torch.zeros(pre.pattern.height * self.atoms, dtype=torch.bool, device=rows.device)
        fires[rows * self.atoms + atom] = True
        self.fired += fires.view(members, batch, self.atoms).sum(1).view_as(self.fired)
        self.seen += batch
        places = columns // latents * self.atoms + atom
        self.largest.view(-1).scatter_reduce_(0, places, self._biased(pre), "amax")

    @torch.no_grad()
    def steer_(self) -> None:
        """Change the biases if enough samples are counted, and start to count again."""
        ready = (self.seen >= self.samples).unsqueeze(-1)
        frequency = self.fired / self.seen.clamp_min(1).unsqueeze(-1)
        lowered = self.biases - self.gamma_minus * self.largest
        raised = (self.biases + self.gamma_plus * self._mean_largest()).clamp_max(0)
        changed = torch.where(self.fired == 0, raised, self.biases)
        changed = torch.where(frequency > self.targets, lowered, changed)
        self.biases.copy_(torch.where(ready, changed, self.biases))
        for counts in (self.fired, self.largest):
            counts.masked_fill_(ready, 0)
        self.seen.masked_fill_(ready.squeeze(-1), 0)

    def _mean_largest(self) -> Float[Tensor, "*stack atoms"]:
        """Return the mean of the positive r of each atom's group."""
        by_group = self.largest.unflatten(-1, (self.groups, -1))
        firing = (by_group > 0).sum(-1, keepdim=True)
        # A group in which nothing fires would never come back: it takes the mean of all.
        everything = self.largest.sum(-1) / (self.largest > 0).sum(-1).clamp_min(1)
        mean = by_group.sum(-1, keepdim=True) / firing.clamp_min(1)
        mean = torch.where(firing > 0, mean, everything[..., None, None])
        return mean.expand_as(by_group).flatten(-2)

    @torch.no_grad()
    def project_(self) -> None:
        """Keep the output scales, and with them the codes, at 0 or above."""
        self.scales.clamp_min_(0)

    @torch.no_grad()
    def scale_(self, factor: float) -> None:
        """Scale biases and the largest pre-activations with the unit of the activations."""
        self.biases.mul_(factor)
        self.largest.mul_(factor)

    def check(self) -> None:
        """Refuse biases above 0, with which codes may be negative, and scales below 0."""
        for name, right, span in (
            ("biases", bool((self.biases <= 0).all()), "0 or less"),
            ("scales", bool((self.scales >= 0).all()), "0 or more"),
        ):
            if not right:
                raise OrbitLensError(
                    f"`{name}` of bias adaptation",
                    expected=f"{span}, as training keeps them",
                    received="others, or NaN",
                    remedy="set them in this range",
                )

    def written_out(self, encoder: Encoder) -> Sparsity:
        """Fold scales and biases into a linear encoder; return the rule that is left.

        a_m max(<w, x> + b, 0) = max(<a_m w, x> + a_m b, 0); with the jump the threshold is -a_m b.
        """
        scales, biases = self._of_latents(self.scales), self._of_latents(self.biases)
        encoder.W_enc.mul_(scales)
        if not self.jump:
            encoder.b_enc.copy_(scales * biases)
            return ReLU()
        rule = JumpReLU(len(scales))
        rule.threshold.copy_(-scales * biases)
        return rule


def _share(name: str, value: object) -> float:
    span = "a frequency between 0 and 1"
    share = as_number(name, value, span)
    if not 0 < share < 1:
        raise out_of_range(name, span, value)
    return share


def _rate(name: str, value: object) -> float:
    rate = as_number(name, value, "0 to 1")
    if not 0 <= rate <= 1:
        raise out_of_range(name, "0 to 1", value)
    return rate


def _check_groups(atoms: int, groups: int, htf: float, ltf: float, samples: int) -> None:
    if atoms % groups:
        raise OrbitLensError(
            "`groups`",
            expected=f"a number that divides the {atoms} latents or atoms",
            received=groups,
            remedy="take equal groups, or more latents",
        )
    if htf < ltf or (htf == ltf) != (groups == 1):
        raise OrbitLensError(
            "`htf`",
            expected="above `ltf`; of a single group equal to it",
            received=f"htf {htf}, ltf {ltf} of {groups} groups",
            remedy="give the highest target first; one group has one target, htf = ltf",
        )
    if samples * ltf < 1:
        raise OrbitLensError(
            "`ltf`",
            expected=f"at least one firing in {samples} samples, {1 / samples:.3g}",
            received=ltf,
            remedy="raise `samples` or `ltf`; five firings can be told from none",
        )


def _warn_of_narrow_groups(width: int, features: int | None) -> None:
    if features is not None and width < as_count("features", features):
        warn(
            f"bias adaptation in groups of {width} latents",
            found=f"{features} features are expected, and a group finds one for each latent at "
            "most",
            remedy="take fewer groups or more latents, two for each feature in a group",
        )
