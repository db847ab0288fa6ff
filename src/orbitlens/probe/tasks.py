"""The probing protocol of the Shapes experiment: many binary tasks, few latents, boosted trees.

Source: Erdogan & Lucic, arXiv 2511.09432. For each task the latents are ranked on the training
samples, the t best are kept, the truncated reconstruction is moved to each sample's orientation,
and a boosted probe is fitted to it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.checks import as_axes, as_count, as_seed, as_texts
from orbitlens.errors import OrbitLensError, unknown_name
from orbitlens.probe._boosted import LARGEST_SEED, boosted_f1_by_task
from orbitlens.probe._probe_set import ProbeSet, as_counts, as_probe_set
from orbitlens.probe._selection import as_kept_count, rank_latents
from orbitlens.probe.orientation import infer_orientation
from orbitlens.probe.truncation import truncated_reconstruction

Orientation = Literal["oracle", "inferred", "none"]


@dataclass(frozen=True, eq=False)
class ProbeScores:
    """The scores of all tasks at all numbers of kept latents.

    Args:
        f1: F1 of the positive class on the test samples, shape [tasks, truncations], float64.
        t: Numbers of latents kept, one per column of `f1`.
        families: The family of each task, one per row of `f1`.
        kept: The latents of each task, the best first, shape [tasks, max(t)].
        orientation_accuracy: Share of test samples whose inferred orientation is the true one;
            None if none was inferred or the truth was not given. A sample that some element leaves
            unchanged has several right answers; only one of them counts.
    """

    f1: Float[Tensor, "tasks truncations"]
    t: tuple[int, ...]
    families: tuple[str, ...]
    kept: Int[Tensor, "tasks most"]
    orientation_accuracy: float | None

    @property
    def by_family(self) -> dict[str, dict[int, float]]:
        """Mean F1 over the tasks of each family, for each number of kept latents.

        Families come in the order of their first task: `by_family["SO"][4]`.
        """
        means = {}
        for family in dict.fromkeys(self.families):
            tasks = [task for task, name in enumerate(self.families) if name == family]
            means[family] = dict(zip(self.t, self.f1[tasks].mean(dim=0).tolist(), strict=True))
        return means


def probe_tasks(
    train: ProbeSet,
    test: ProbeSet,
    *,
    families: Sequence[str],
    W_dec: Float[Tensor, "latents dim"] | None,
    matrices: Float[Tensor, "group dim dim"] | None = None,
    orientation: Orientation = "none",
    t: Sequence[int] = (1, 2, 4, 8, 16),
    stride: int = 1,
    seed: int = 0,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> ProbeScores:
    """Score an SAE's latents on many binary tasks by the paper's protocol.

    An SAE without a transport is probed with `matrices=None` and orientation "none". With a
    transport there are two protocols; report both. The paper's, "oracle", moves each truncated
    reconstruction by the sample's true element. "inferred" needs no oracle: it moves by
    argmin_g ||x - rho(g) x_hat||.

    Args:
        train: Samples that rank the latents and fit the probes.
        test: Samples that score them.
        families: The family of each task, such as "S", "SO", "SP" or "SPO".
        W_dec: Dictionary, shape [latents, dim]; None shows the kept codes themselves to the probes,
            as for codes that are pooled over the group.
        matrices: rho(g) for every g, shape [group, dim, dim]; None without a transport.
        orientation: "oracle", "inferred" or "none".
        t: Numbers of latents to keep.
        stride: Probes see every stride-th coordinate of a reconstruction, default every one. Fewer
            coordinates are enough to tell its few latents apart, and take less time.
        seed: Seed of the probes.
        threads: Threads that fit probes side by side, each on one core, default 2. The scores do
            not depend on it.
        progress: Called with (tasks done, tasks in all) after each task. Tasks that keep the same
            latents share their features and are done together.

    Returns:
        F1 for each task and each t. A task whose training labels are all equal scores 0.

    Raises:
        OrbitLensError: If arguments do not fit together or a set lacks what the orientation needs.
        MissingExtraError: If xgboost is not installed.

    Example:
        >>> codes = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
        >>> samples = ProbeSet(codes, labels=codes[:, 1:2] > 0.5)
        >>> scores = probe_tasks(samples, samples, families=["S"], W_dec=torch.eye(3), t=[1])
        >>> scores.kept.tolist(), scores.by_family
        ([[1]], {'S': {1: 1.0}})
    """
    train, test = as_probe_set(train, "train"), as_probe_set(test, "test")
    families, threads = list(as_texts("families", families)), as_count("threads", threads)
    t = as_counts(t)
    seed, stride = as_seed(seed, most=LARGEST_SEED), as_count("stride", stride)
    _check_tasks(train, test, families)
    _check_budget(t, train.codes.shape[1])
    W_dec, matrices = _weights(train.codes.shape[1], W_dec, matrices)
    _check_orientation(train, test, W_dec, matrices, orientation)
    true_elements = test.elements
    if orientation == "inferred" and matrices is not None:
        train, test = _inferred(train, matrices), _inferred(test, matrices)
    kept = rank_latents(train.codes, train.labels)[:, : max(t)]

    jobs = _jobs(kept, t)
    f1 = torch.zeros(len(families), len(t), dtype=torch.float64)
    columns_left = [len(t)] * len(families)
    with ThreadPoolExecutor(threads) as pool:
        score = partial(_score, train, test, W_dec, matrices, stride, seed)
        for cells, scores in zip(jobs.values(), pool.map(score, jobs.items()), strict=True):
            for (task, columns), value in zip(cells.items(), scores, strict=True):
                f1[task, columns] = value
                columns_left[task] -= len(columns)
                if progress is not None and columns_left[task] == 0:
                    progress(columns_left.count(0), len(families))
    accuracy = None
    if orientation == "inferred" and true_elements is not None and test.elements is not None:
        accuracy = (test.elements == true_elements).double().mean().item()
    return ProbeScores(f1, tuple(t), tuple(families), kept, accuracy)


_Kept = tuple[int, ...]
_Cells = dict[int, list[int]]


def _jobs(kept: Int[Tensor, "tasks most"], t: Sequence[int]) -> dict[_Kept, _Cells]:
    """Group the cells of the table of scores, task by columns, by the latents that they keep."""
    jobs: dict[_Kept, _Cells] = {}
    # Task by task, so that the first tasks are done, and reported, within minutes.
    for task, ranking in enumerate(kept.tolist()):
        for column, count in enumerate(t):
            cells = jobs.setdefault(tuple(sorted(ranking[:count])), {})
            cells.setdefault(task, []).append(column)
    return jobs


# Gradient mode belongs to a thread: the caller's no_grad does not reach the workers.
@torch.no_grad()
def _score(
    train: ProbeSet,
    test: ProbeSet,
    W_dec: Float[Tensor, "latents dim"] | None,
    matrices: Float[Tensor, "group dim dim"] | None,
    stride: int,
    seed: int,
    job: tuple[_Kept, _Cells],
) -> list[float]:
    """Return the F1 of each task of a job."""
    kept, tasks = torch.tensor(job[0]), list(job[1])
    if W_dec is not None and matrices is None and len(kept) == 1:
        W_dec = W_dec[:, _one_of_each_sign(W_dec[kept[0]])]
    step = 1 if W_dec is None or W_dec.shape[1] < stride else stride
    return boosted_f1_by_task(
        _features(train, W_dec, matrices, kept)[:, ::step],
        train.labels[:, tasks],
        _features(test, W_dec, matrices, kept)[:, ::step],
        test.labels[:, tasks],
        seed=seed,
    )


def _one_of_each_sign(row: Float[Tensor, " dim"]) -> Int[Tensor, " columns"]:
    """Return the column of the largest size of each sign.

    Without transport a single latent gives the columns z D_1, z D_2, ... Columns of one sign put
    the samples in the same order, so into the same bins, and give the same splits. A probe of one
    column per sign is the probe of all. XGBoost cannot tell apart values below 1e-6, so the largest
    stands for its sign.
    """
    signs = row.sign()
    return torch.stack([(row.abs() * (signs == sign)).argmax() for sign in signs.unique()])


def _inferred(samples: ProbeSet, matrices: Float[Tensor, "group dim dim"]) -> ProbeSet:
    """Replace the true orientations by inferred ones."""
    if samples.x is None or samples.x_hat is None:
        raise _incomplete("`x` and `x_hat`", "inferred")
    return replace(samples, elements=infer_orientation(samples.x, samples.x_hat, matrices))


def _features(
    samples: ProbeSet,
    W_dec: Float[Tensor, "latents dim"] | None,
    matrices: Float[Tensor, "group dim dim"] | None,
    kept: Int[Tensor, " t"],
) -> Float[Tensor, "n width"]:
    """Return the features of a probe: the kept codes, or their truncated reconstruction."""
    if W_dec is None:
        return samples.codes[:, kept]
    elements = None if matrices is None else samples.elements
    return truncated_reconstruction(
        samples.codes, W_dec, kept, matrices=matrices, elements=elements
    )


def _weights(
    latents: int, W_dec: Tensor | None, matrices: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Return a dictionary and matrices at the door."""
    if W_dec is not None:
        W_dec = as_axes("W_dec", W_dec, "latents dim", sizes={"latents": latents}).detach()
    if matrices is not None:
        matrices = as_axes("matrices", matrices, "group dim dim", least=1).detach()
    return W_dec, matrices


def _check_tasks(train: ProbeSet, test: ProbeSet, families: Sequence[str]) -> None:
    latents, tasks = train.codes.shape[1], len(families)
    for name, samples in (("`train`", train), ("`test`", test)):
        found = samples.codes.shape[1], samples.labels.shape[1]
        if found != (latents, tasks) or tasks == 0:
            raise OrbitLensError(
                name,
                expected=f"{latents} latents and a label for each of the {tasks} `families`",
                received=f"{found[0]} latents and {found[1]} tasks",
                remedy="take both sets from one SAE, and name one family per task, at least one",
            )


def _check_budget(t: Sequence[int], latents: int) -> None:
    if not t:
        raise OrbitLensError(
            "`t`", expected="at least one number", received=t, remedy="say how many latents to keep"
        )
    for count in t:
        as_kept_count("`t`", count, latents)


def _check_orientation(
    train: ProbeSet,
    test: ProbeSet,
    W_dec: Tensor | None,
    matrices: Tensor | None,
    orientation: Orientation,
) -> None:
    if orientation not in get_args(Orientation):
        raise unknown_name("`orientation`", orientation, get_args(Orientation))
    needed = orientation != "none"
    if needed != (matrices is not None) or (needed and W_dec is None):
        given = [
            name for name, value in (("matrices", matrices), ("W_dec", W_dec)) if value is not None
        ]
        raise OrbitLensError(
            "`orientation`",
            expected="'none' without `matrices`, another with `matrices` and `W_dec`",
            received=f"{orientation!r} with {' and '.join(given) or 'neither'}",
            remedy="pass the transport's matrices if and only if reconstructions are to be moved",
        )
    if orientation == "oracle" and (train.elements is None or test.elements is None):
        raise _incomplete("`elements`", orientation)


def _incomplete(fields: str, orientation: Orientation) -> OrbitLensError:
    return OrbitLensError(
        f"{fields} of the probe sets",
        expected=f"values for orientation {orientation!r}",
        received=None,
        remedy="fill them in, or choose another orientation",
    )
