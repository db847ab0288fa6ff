"""By what a checkpoint knows the training that it belongs to."""

import hashlib
from functools import partial

import numpy as np

from orbitlens.activations import ActivationStore
from orbitlens.sae import SAE
from orbitlens.training.views import Objective
from orbitlens.typing import Int


def parts_of(sae: SAE) -> str:
    """Return the parts of an SAE and their widths.

    Example:
        >>> from orbitlens.sae import topk_sae
        >>> parts_of(topk_sae(4, 8, 2))
        'LinearEncoder, TopK, FreeDictionary, d_in 4, d_sae 8, k 2'
    """
    names = ", ".join(type(part).__name__ for part in sae.children())
    return f"{names}, d_in {sae.d_in}, d_sae {sae.d_sae}, k {sae.sparsity.k}"


def identity_of(store: ActivationStore) -> str:
    """Return what tells a store from others: its shape and where its activations come from."""
    shape = f"{store.n} x {store.positions} x {store.group.name} x {store.dim}"
    return f"{store.model}:{store.layer}, inputs {store.digest}, {shape}"


def described(objective: Objective) -> str:
    """Return the name of an objective and its weights.

    Example:
        >>> from orbitlens import objectives
        >>> described(partial(objectives.latent_invariance, weight=0.5))
        'latent_invariance(weight=0.5)'
    """
    if isinstance(objective, partial):
        weights = ", ".join(f"{name}={value}" for name, value in objective.keywords.items())
        return f"{described(objective.func)}({weights})"
    return getattr(objective, "__name__", type(objective).__name__)


def fingerprint(samples: Int[np.ndarray, " n"] | None) -> str:
    """Return what tells a choice of samples from others.

    Example:
        >>> fingerprint(None)
        'training part'
    """
    if samples is None:
        return "training part"
    return hashlib.sha256(np.asarray(samples, np.int64).tobytes()).hexdigest()[:16]
