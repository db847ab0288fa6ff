"""Thirty instances at the doors of the library, beyond the cases that were reported.

    python benchmarks/reliability/doors.py

Ten are about state that is changed for the time of a call, ten about arrays at the door, ten about
`encode`.
"""

import copy
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from outcomes import outcome

import orbitlens as ol
from orbitlens import metrics, probe, transport
from orbitlens.sae import batch_topk_sae, crosscoder_sae, orbit_sae, topk_sae

TOY = ol.data.toy(n_features=8, orbit_size=4, n_samples=600, seed=0)
ORBITS = np.asarray(TOY.orbits, dtype=np.float32) * 50 + 7
STORE = ol.store_from_array(ORBITS, group=TOY.group)
RHO = ol.fit_transport(STORE, "exact")
X = STORE.orbits().flatten(0, 1)


class StopError(Exception):
    """An end that nobody planned."""


def stopping(after: int) -> Callable[[int, int, float], None]:
    """Return a progress callback that ends a training after so many epochs."""

    def report(epoch: int, epochs: int, loss: float) -> None:
        if epoch == after:
            raise StopError

    return report


def equal(left: ol.SAE, right: ol.SAE) -> bool:
    """Whether two SAEs have the same weights and thresholds, to the bit."""
    own, other = left.state_dict(), right.state_dict()
    return all(torch.equal(own[name], other[name]) for name in own)


def stopped(build: Callable[[], ol.SAE], **settings: object) -> bool:
    """Whether a training that was stopped after three epochs left those of three epochs."""
    whole, part = build(), build()
    ol.fit(whole, STORE, epochs=3, **settings)
    try:
        ol.fit(part, STORE, epochs=9, progress=stopping(3), **settings)
    except StopError:
        return equal(whole, part) and part.training
    return False


def unscaled_after_step() -> bool:
    """Stop inside the second step, through the objective."""
    steps = []

    def objective(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
        steps.append(1)
        if len(steps) > 1:
            raise StopError
        return (x - x_hat).square().sum(-1)

    sae, once = topk_sae(16, 24, 3), topk_sae(16, 24, 3)
    try:
        ol.fit(sae, STORE, objective=objective, epochs=1)
    except StopError:
        ol.fit(once, STORE, samples=STORE.split()[0][:256], epochs=1)
        error = (sae(X).x_hat - X).square().mean()
        return bool(error < 2 * (once(X).x_hat - X).square().mean())
    return False


def list_of_two_kinds() -> bool:
    """Stop at the first step of the second stack; its SAE must be as it was."""

    def typo(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
        raise StopError

    saes = [orbit_sae(16, 6, 3, RHO), topk_sae(16, 24, 3, seed=1)]
    try:
        ol.fit(saes, STORE, objective=["reconstruction", typo], epochs=2)
    except StopError:
        return equal(saes[1], topk_sae(16, 24, 3, seed=1))
    return False


def disk_full() -> bool:
    """Let the checkpoint fail after an epoch."""
    place = Path(tempfile.mkdtemp()) / "training"
    sae, whole = topk_sae(16, 24, 3), topk_sae(16, 24, 3)
    ol.fit(whole, STORE, epochs=2)

    def block(epoch: int, epochs: int, loss: float) -> None:
        if epoch == 2:
            place.mkdir()  # a file cannot replace a folder

    try:
        ol.fit(sae, STORE, epochs=2, checkpoint=place, progress=block)
    except (OSError, ValueError):
        return equal(sae, whole)
    return False


def frozen() -> bool:
    """Train an encoder on a frozen dictionary of directions that are not of unit length."""
    sae = topk_sae(16, 24, 3)
    with torch.no_grad():
        sae.dictionary.W_dec.mul_(3)
    before = sae.W_dec.clone()
    sae.dictionary.requires_grad_(False)
    ol.fit(sae, STORE, epochs=2)
    return torch.equal(sae.W_dec, before)


def ambient(context: object) -> bool:
    """Whether a training in some state of torch gives the usual bits."""
    usual = ol.fit(topk_sae(16, 24, 3), STORE, epochs=2).sae
    with context:  # type: ignore[attr-defined]
        return equal(ol.fit(topk_sae(16, 24, 3), STORE, epochs=2).sae, usual)


def default_type() -> bool:
    """Whether transport and orbit SAE are the same under another default type."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        rho = ol.fit_transport(STORE, "exact")
        same = torch.equal(rho.matrices, RHO.matrices)
        return same and equal(orbit_sae(16, 6, 3, rho), orbit_sae(16, 6, 3, RHO))
    finally:
        torch.set_default_dtype(torch.float32)


STATE = {
    "BatchTopK, stopped between epochs": lambda: stopped(lambda: batch_topk_sae(16, 24, 3)),
    "orbit SAE with a hidden layer, stopped": lambda: stopped(
        lambda: orbit_sae(16, 6, 3, RHO, hidden=8)
    ),
    "crosscoder, stopped": lambda: stopped(
        lambda: crosscoder_sae(16, 24, 3, 4), objective="orbit_reconstruction"
    ),
    "stopped inside a step": unscaled_after_step,
    "list of two kinds, the second fails first": list_of_two_kinds,
    "checkpoint that cannot be written": disk_full,
    "frozen dictionary of other lengths": frozen,
    "training in inference mode": lambda: ambient(torch.inference_mode()),
    "training under autocast": lambda: ambient(torch.autocast("cpu", dtype=torch.bfloat16)),
    "default type bfloat16": default_type,
}


def one_hot() -> bool:
    """Give one-hot labels where a column of booleans is meant."""
    classes = torch.eye(3)[torch.arange(len(X)) % 3]
    return len(probe.rank_latents(X, classes)) == 3


def scaled(method: Callable[..., float]) -> bool:
    """Give 0 and 255 as booleans."""
    return method(np.array([0, 255, 255]), np.array([False, True, True])) == 1.0


def out_of_order() -> bool:
    """Give orbits of D4 as psi(g^-1 x): the right numbers, in another order."""
    group = ol.groups.dihedral(4)
    matrices = ol.reps.regular(group).matrices.float()
    start = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    orbits = torch.einsum("gij,nj->ngi", matrices[torch.from_numpy(group.inverses)], start)
    ol.fit_transport(ol.store_from_array(orbits, group=group))
    return False


def same_r2(split: tuple[object, object]) -> bool:
    """Measure a transport on a split in other words."""
    train, held_out = STORE.split()
    del train, held_out
    return ol.fit_transport(STORE, split=split).r2 == ol.fit_transport(STORE).r2


def masks() -> tuple[np.ndarray, list[bool]]:
    """Return the usual split as a mask and as a list of booleans."""
    train = np.isin(np.arange(STORE.n), STORE.split()[0])
    return train, (~train).tolist()


ARRAYS = {
    "split by mask and by a list of booleans": lambda: same_r2(masks()),
    "one-hot labels for tasks": one_hot,
    "0 and 255 for booleans": lambda: scaled(probe.binary_f1),
    "orbits under inverse elements": out_of_order,
    "constant activations": lambda: np.isnan(
        ol.fit_transport(ol.store_from_array(np.ones_like(ORBITS), group="C4")).r2
    ),
    "firing rates of no sample": lambda: metrics.firing_rates(torch.zeros(0, 5)).isnan().any(),
    "elements as floats": lambda: transport.move(X[:2], [0.0, 1.5], RHO.matrices) is None,
    "objective that takes the mean": lambda: (
        ol.fit(topk_sae(16, 24, 3), STORE, objective=lambda x, x_hat: (x - x_hat).square().mean())
        is None
    ),
    "learning rate of a million": lambda: (
        ol.fit(topk_sae(16, 24, 3), STORE, epochs=3, lr=1e6).status == "diverged"
    ),
    "seed None": lambda: ol.fit(topk_sae(16, 24, 3), STORE, epochs=1, seed=None) is None,
}

SAES = {
    "topk": topk_sae(16, 24, 3),
    "orbit": orbit_sae(16, 6, 3, RHO),
    "orbit, BatchTopK": orbit_sae(16, 6, 3, RHO, sparsity="batchtopk"),
    "crosscoder": crosscoder_sae(16, 24, 3, 4),
}
for each in SAES.values():
    each.eval()


def every(check: Callable[[ol.SAE], bool]) -> Callable[[], bool]:
    """Ask the same of all kinds of SAEs."""
    return lambda: all(check(sae) for sae in SAES.values())


def rows(sae: ol.SAE) -> torch.Tensor:
    """Return codes of the first rows, the usual way."""
    return sae.encode(X[:12])


def half(sae: ol.SAE) -> bool:
    """Encode with an SAE in bfloat16, from float32."""
    codes = copy.deepcopy(sae).bfloat16().encode(X[:12])
    return codes.dtype == torch.bfloat16 and codes.shape == (12, sae.d_sae)


def inference(sae: ol.SAE) -> bool:
    """Encode, with gradients, rows that were read in inference mode."""
    with torch.inference_mode():
        read = X[:12] * 1
    return torch.equal(sae.encode(read), rows(sae))


def mapped(sae: ol.SAE) -> bool:
    """Encode under vmap, row by row."""
    return torch.allclose(torch.vmap(sae.encode)(X[:12, None])[:, 0], rows(sae), atol=1e-4)


ENCODE = {
    "one activation without axes": every(
        lambda sae: torch.allclose(sae.encode(X[0]), rows(sae)[0], atol=1e-4)
    ),
    "five axes": every(
        lambda sae: torch.allclose(
            sae.encode(X[:12].view(1, 2, 3, 2, 16)).reshape(12, -1), rows(sae), atol=1e-4
        )
    ),
    "no sample": every(lambda sae: sae.encode(X[:0]).shape == (0, sae.d_sae)),
    "NumPy, float64, read-only": every(
        lambda sae: torch.equal(sae.encode(np.broadcast_to(X[:12].double(), (12, 16))), rows(sae))
    ),
    "decode what a list holds": every(
        lambda sae: torch.allclose(sae.decode(rows(sae).tolist()), sae(X[:12]).x_hat, atol=1e-4)
    ),
    "SAE in bfloat16": every(half),
    "rows read in inference mode": every(inference),
    "under vmap": every(mapped),
    "uint8 pixels": every(lambda sae: sae.encode(torch.zeros(3, 16, dtype=torch.uint8)) is None),
    "infinity among activations": every(lambda sae: sae.encode(X[:3] / 0) is None),
}


def main() -> int:
    """Print one table for each kind; return 1 if anything is wrong or crashed."""
    kinds = {
        "State changed for the time of a call": STATE,
        "Arrays at the door": ARRAYS,
        "One contract of encode": ENCODE,
    }
    failed = 0
    for kind, instances in kinds.items():
        print(f"### {kind}\n\n| instance | outcome | words |\n|---|---|---|")
        for name, instance in instances.items():
            word, line = outcome(instance)
            failed += word in ("WRONG", "CRASHED")
            print(f"| {name} | {word} | {' '.join(line.split()).replace('|', '/')} |")
        print()
    return int(failed > 0)


if __name__ == "__main__":
    warnings.simplefilter("always")
    sys.exit(main())
