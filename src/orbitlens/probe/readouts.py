"""The two readouts of an orbit SAE, and the rule by which a probe takes one of them.

invariant   codes summed over the group, one number for each atom: what is there
oriented    the truncated reconstruction of pairs (element, atom): what is there, and how it stands
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from orbitlens.probe.shapes_probing import ProbeSet, probe_tasks
from orbitlens.sae import SAE


def invariant_readout(sae: SAE, codes: Float[Tensor, "n latents"]) -> Float[Tensor, "n readout"]:
    """Return what an SAE says that does not depend on the orientation of the input.

    Args:
        sae: The SAE.
        codes: Its codes, shape [n, d_sae].

    Returns:
        sum_g z[g, c] of an orbit SAE, shape [n, n_atoms]; the codes of any other.

    Example:
        >>> from orbitlens.sae import topk_sae
        >>> invariant_readout(topk_sae(4, 8, 2), torch.ones(3, 8)).shape
        torch.Size([3, 8])
    """
    return sae.dictionary.pooled(codes)


@dataclass(frozen=True, eq=False)
class ReadoutScores:
    """F1 of the tasks by readout, shape [tasks, truncations], float64.

    Args:
        invariant: Probes on pooled codes.
        oriented: Probes on truncated reconstructions.
        oriented_chosen: Where the rule takes the oriented readout.
        families: The family of each task.
    """

    invariant: Float[Tensor, "tasks truncations"]
    oriented: Float[Tensor, "tasks truncations"]
    oriented_chosen: Bool[Tensor, "tasks truncations"]
    families: tuple[str, ...]

    @property
    def chosen(self) -> Float[Tensor, "tasks truncations"]:
        """F1 with the readout that the rule takes."""
        return torch.where(self.oriented_chosen, self.oriented, self.invariant)


def probe_readouts(
    train: ProbeSet,
    test: ProbeSet,
    sae: SAE,
    *,
    families: Sequence[str],
    t: Sequence[int],
    stride: int = 1,
    seed: int = 0,
    workers: int = 2,
) -> ReadoutScores:
    """Score both readouts of an orbit SAE on many binary tasks, and choose one for each.

    The rule sees training samples alone: for each task and each number of latents, probes are
    fitted to one random half of them and scored on the other, and the readout with the higher F1 is
    taken; of equal ones the oriented. No orientation is given or inferred.

    Args:
        train: Samples that rank latents, choose readouts and fit the probes.
        test: Samples that score them.
        sae: The orbit SAE that encoded both.
        families: The family of each task.
        t: Numbers of latents to keep: atoms of the invariant readout, pairs of the oriented one.
        stride: Probes see every stride-th coordinate of a reconstruction, default every one.
        seed: Seed of the halves and of the probes.
        workers: Threads that fit probes.

    Returns:
        The scores.
    """
    probe = partial(probe_tasks, families=families, seed=seed, workers=workers)
    pooled = partial(_pooled, sae)

    def both(
        fitted: ProbeSet, scored: ProbeSet
    ) -> tuple[Float[Tensor, "tasks truncations"], Float[Tensor, "tasks truncations"]]:
        by_atom = pooled(fitted), pooled(scored)
        atoms = [min(count, by_atom[0].codes.shape[1]) for count in t]
        pairs = [min(count, sae.d_sae) for count in t]
        invariant = probe(*by_atom, W_dec=None, t=atoms)
        oriented = probe(fitted, scored, W_dec=sae.W_dec, t=pairs, stride=stride)
        return invariant.f1, oriented.f1

    order = torch.randperm(len(train.codes), generator=torch.Generator().manual_seed(seed))
    half = len(order) // 2
    tried_invariant, tried_oriented = both(_part(train, order[:half]), _part(train, order[half:]))
    invariant, oriented = both(train, test)
    chosen = tried_oriented >= tried_invariant
    return ReadoutScores(invariant, oriented, chosen, tuple(families))


def _pooled(sae: SAE, samples: ProbeSet) -> ProbeSet:
    return replace(samples, codes=invariant_readout(sae, samples.codes))


def _part(samples: ProbeSet, rows: Int[Tensor, " part"]) -> ProbeSet:
    """Some of the samples, as probes of codes see them."""
    return ProbeSet(samples.codes[rows], samples.labels[rows])
