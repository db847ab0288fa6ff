"""What an objective computes, as numbers that tell objectives of one name apart.

An objective is evaluated on eight made-up samples, always the same. A checkpoint keeps the values
and the gradients, so that no training goes on from one with another objective.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from orbitlens.sae import SAE
from orbitlens.training._views import VIEWS, Objective, views_of
from orbitlens.typing import Tensor

Values = dict[str, list[float]] | None
_SIZES = 2.0 ** np.arange(-4, 4)
"""How far the views of each sample differ, so that thresholds and branches show."""
_SAME = 1e-5
"""Relative; another processor or another version of torch leaves 1e-6."""


def objective_values(objective: Objective, sae: SAE, order: int) -> Values:
    """Return values and gradients for made-up samples; None if they cannot be computed.

    The objective is copied first, since it may count its calls. One that draws random numbers
    leaves the generator as it was.
    """
    try:
        with _same_generators(sae.b_dec.device) as generators:
            for seeded in (False, True):
                values = []
                for _ in range(2):
                    for generator in generators if seeded else ():
                        generator.manual_seed(0)
                    values.append(_evaluate(objective, sae, order))
                if same_values(*values):
                    return values[0]
    except Exception:  # the first step says what is wrong
        return None
    return None


def same_values(one: Values, other: Values) -> bool:
    """Return whether two objectives computed the same, up to rounding."""
    if one is None or other is None:
        return one is other
    return one.keys() == other.keys() and all(_close(own, other[name]) for name, own in one.items())


def _close(one: list[float], other: list[float]) -> bool:
    if len(one) != len(other):
        return False
    finite = np.abs(one)[np.isfinite(one)]
    least = _SAME * float(finite.max(initial=0)) / 10
    return np.allclose(one, other, rtol=_SAME, atol=least, equal_nan=True)


def _evaluate(objective: Objective, sae: SAE, order: int) -> dict[str, list[float]]:
    names, device = views_of(objective), sae.b_dec.device
    views = {name: view.to(device) for name, view in _made_up(sae, order).items() if name in names}
    leaves = {name: view.requires_grad_() for name, view in views.items()}
    # A leaf would not let an objective write into it, which a view does.
    losses = _copied(objective)(**{name: leaves[name] * 1 for name in names})
    found = {"value": losses.tolist()}
    if losses.requires_grad:
        gradients = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True)
        for name, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                found[name] = _summed(gradient)
    return found


def _made_up(sae: SAE, order: int) -> dict[str, Tensor]:
    """Return every view, [8, ...]: what all have in common, and a difference of each sample's size.

    The numbers are uniform, so that they have the same bits on every machine.
    """
    random, samples = np.random.default_rng(0), len(_SIZES)
    atoms = getattr(sae.dictionary, "n_atoms", sae.d_sae)
    shapes = {"codes": (sae.d_sae,), "pooled": (atoms,), "orbit": (order, sae.d_in)}
    common: dict[tuple[int, ...], Any] = {}
    views = {}
    for name in VIEWS:
        kind = next((kind for kind in shapes if kind in name), "")
        shape = (samples, *shapes.get(kind, (sae.d_in,)))
        if shape not in common:
            common[shape] = random.uniform(-1, 1, shape)
        sizes = _SIZES.reshape(-1, *(1 for _ in shape[1:]))
        view = common[shape] + sizes * random.uniform(-1, 1, shape)
        if kind in ("codes", "pooled"):
            view = np.maximum(view, 0)
        views[name] = torch.from_numpy(view.astype(np.float32))
    return views


def _summed(gradient: Tensor) -> list[float]:
    """Return one number for each sample, a sum of its gradient with random weights."""
    rows = gradient.detach().cpu().double().flatten(1).numpy()
    weights = np.random.default_rng(1).uniform(-1, 1, rows.shape[1])
    return [float(each) for each in rows @ weights]


def _copied(objective: Objective) -> Objective:
    try:
        return copy.deepcopy(objective)
    except Exception:  # of something that cannot be copied
        return objective


@contextmanager
def _same_generators(device: torch.device) -> Iterator[list[torch.Generator]]:
    """Give torch's generators, and put them back if they were used; other threads may use them."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index or 0])
    before = [generator.get_state() for generator in generators]
    try:
        yield generators
    finally:
        for generator, state in zip(generators, before, strict=True):
            if not torch.equal(generator.get_state(), state):
                generator.set_state(state)
