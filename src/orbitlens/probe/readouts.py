"""The readouts of an SAE: each is a way to turn codes into the features of a probe.

An SAE without a transport has one readout, the reconstruction from the kept latents. One with a
transport has two: that reconstruction moved by the true orientation, or by the inferred one. An
orbit SAE has two that need no orientation:

invariant   codes summed over the group, one number for each atom: what is there
oriented    the reconstruction from pairs (element, atom): what is there, and how it stands
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from orbitlens.checks import as_axes, as_seed, check_kind
from orbitlens.errors import OrbitLensError
from orbitlens.probe._boosted import LARGEST_SEED
from orbitlens.probe._probe_set import ProbeSet, as_counts, as_probe_set
from orbitlens.probe.tasks import Orientation, ProbeScores, probe_tasks
from orbitlens.sae import SAE
from orbitlens.typing import Numbers


def invariant_readout(sae: SAE, codes: Numbers) -> Float[Tensor, "n readout"]:
    """Return the part of the codes that does not depend on the orientation of the input.

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
    check_kind("sae", sae, SAE, "the codes come after it")
    codes = as_axes("codes", codes, "n latents", sizes={"latents": sae.d_sae})
    return sae.dictionary.pooled(codes)


def score_readouts(
    train: ProbeSet,
    test: ProbeSet,
    sae: SAE,
    matrices: Float[Tensor, "group dim dim"] | None = None,
    *,
    families: Sequence[str],
    t: Sequence[int] | Mapping[Orientation, Sequence[int]],
    stride: int = 1,
    seed: int = 0,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[str, Orientation, ProbeScores]]:
    """Score every readout of an SAE on many binary tasks, one after the other.

    Args:
        train: Samples that rank the latents and fit the probes.
        test: Samples that score them.
        sae: The SAE that encoded both.
        matrices: rho(g) of an SAE with a transport, shape [group, dim, dim]; None without one.
        families: The family of each task.
        t: Numbers of latents to keep, for all readouts or by orientation. A readout with fewer
            latents is probed with all of them.
        stride: Probes see every stride-th coordinate.
        seed: Seed of the probes.
        threads: Threads that fit probes side by side.
        progress: Takes (tasks done, tasks in all), for each readout.

    Yields:
        The name of the readout ("invariant" or "oriented" of an orbit SAE, else ""), the
        orientation ("oracle" or "inferred" with a transport, else "none"), and the scores.

    Example:
        >>> from orbitlens.sae import topk_sae
        >>> codes = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
        >>> samples = ProbeSet(codes, labels=codes[:, 1:2] > 0.5)
        >>> [(name, orientation, scores)] = score_readouts(
        ...     samples, samples, topk_sae(4, 3, 1), families=["S"], t=[1, 16]
        ... )
        >>> name, orientation, scores.t, scores.kept.tolist()
        ('', 'none', (1, 3), [[1, 2, 0]])
    """
    train, test = as_probe_set(train, "train"), as_probe_set(test, "test")
    check_kind("sae", sae, SAE, "the probe sets come before it")
    for name, orientation in _names(sae, matrices):
        pooled = name == "invariant"
        fitted, scored = (_pool(sae, each) if pooled else each for each in (train, test))
        width = fitted.codes.shape[1]
        counts = as_counts(t.get(orientation, ()) if isinstance(t, Mapping) else t)
        scores = probe_tasks(
            fitted,
            scored,
            families=families,
            W_dec=None if pooled else sae.W_dec,
            matrices=None if orientation == "none" else matrices,
            orientation=orientation,
            t=[min(count, width) for count in counts],
            stride=stride,
            seed=seed,
            threads=threads,
            progress=progress,
        )
        yield name, orientation, scores


def _pool(sae: SAE, samples: ProbeSet) -> ProbeSet:
    return replace(samples, codes=invariant_readout(sae, samples.codes))


def _names(sae: SAE, matrices: Tensor | None) -> tuple[tuple[str, Orientation], ...]:
    if sae.dictionary.group is not None:
        return ("invariant", "none"), ("oriented", "none")
    if matrices is not None:
        return ("", "oracle"), ("", "inferred")
    return (("", "none"),)


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
    threads: int = 2,
) -> ReadoutScores:
    """Score both readouts of an orbit SAE on many binary tasks, and choose one for each.

    The rule sees training samples alone. For each task and each number of latents, it fits probes
    to one random half of them and scores them on the other. It takes the readout with the higher
    F1, and the oriented one of equals. No orientation is given or inferred.

    Args:
        train: Samples that rank latents, choose readouts and fit the probes.
        test: Samples that score them.
        sae: The orbit SAE that encoded both.
        families: The family of each task.
        t: Numbers of latents to keep: atoms of the invariant readout, pairs of the oriented one.
        stride: Probes see every stride-th coordinate of a reconstruction, default every one.
        seed: Seed of the halves and of the probes.
        threads: Threads that fit probes side by side.

    Returns:
        The scores.

    Raises:
        OrbitLensError: If the SAE is no orbit SAE, or `probe_tasks` rejects an argument.
    """
    check_kind("sae", sae, SAE, "the probe sets come before it")
    if sae.dictionary.group is None:
        raise OrbitLensError(
            "`sae`",
            expected="an orbit SAE, which has two readouts",
            received=f"one with a {type(sae.dictionary).__name__}",
            remedy="use `score_readouts` or `probe_tasks`",
        )

    def both(fitted: ProbeSet, scored: ProbeSet) -> list[Float[Tensor, "tasks truncations"]]:
        readouts = score_readouts(
            fitted, scored, sae, families=families, t=t, stride=stride, seed=seed, threads=threads
        )
        return [scores.f1 for _, _, scores in readouts]

    train, test = as_probe_set(train, "train"), as_probe_set(test, "test")
    seed = as_seed(seed, most=LARGEST_SEED)
    order = torch.randperm(len(train.codes), generator=torch.Generator().manual_seed(seed))
    half = len(order) // 2
    tried_invariant, tried_oriented = both(_part(train, order[:half]), _part(train, order[half:]))
    invariant, oriented = both(train, test)
    chosen = tried_oriented >= tried_invariant
    return ReadoutScores(invariant, oriented, chosen, tuple(families))


def _part(samples: ProbeSet, rows: Int[Tensor, " part"]) -> ProbeSet:
    return ProbeSet(samples.codes[rows], samples.labels[rows])
