"""Probes of the samples of a store.

Probes train on training orbits, one random element each, and are scored on held-out orbits in every
orientation.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from orbitlens.activations import ActivationStore
from orbitlens.data import shape_tasks
from orbitlens.probe._probe_set import ProbeSet
from orbitlens.probe._selection import largest_between_class_variance
from orbitlens.probe.logistic import LogisticScores, logistic_scores
from orbitlens.sae import SAE

# Their numbers differ between training and held-out samples.
Samples = Int[np.ndarray, " _"]
Elements = Int[Tensor, " _"]
Oriented = tuple[Samples, Elements]


def oriented_samples(
    train: Samples, held_out: Samples, order: int, generator: np.random.Generator
) -> tuple[Oriented, Oriented]:
    """Give each training sample one random element of a group, and each held-out one every one."""
    drawn = generator.integers(order, size=len(train))
    every = np.tile(np.arange(order), len(held_out))
    return (
        (train, torch.from_numpy(drawn)),
        (np.repeat(held_out, order), torch.from_numpy(every)),
    )


def some_oriented_samples(
    store: ActivationStore, count: int, seed: int
) -> tuple[Oriented, Oriented]:
    """Give orientations to at most `count` random training samples and to all held-out ones."""
    train, held_out = store.split()
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.permutation(train)[:count])
    return oriented_samples(chosen, held_out, store.group.order, generator)


@torch.no_grad()
def shape_probe_sets(
    shape_ids: Int[np.ndarray, "n quadrant"],
    store: ActivationStore,
    sae: SAE,
    *,
    choose: Callable[[Sequence[str]], Sequence[int]],
    count: int,
    seed: int,
) -> tuple[ProbeSet, ProbeSet, list[str]]:
    """Encode training and held-out Shapes, and label them for some of their tasks.

    Args:
        shape_ids: The glyph in each quadrant, shape [n, 4].
        store: Activations of the images.
        sae: The SAE.
        choose: Returns the indices of the tasks to keep, given the family of each.
        count: Training samples, at most.
        seed: Seed of the training samples and of their orientations.

    Returns:
        The training set, the held-out set, and the family of each task.
    """
    sets, families = [], []
    for samples, elements in some_oriented_samples(store, count, seed):
        tasks = shape_tasks(shape_ids[samples], elements.numpy(), store.group)
        kept = list(choose(tasks.families))
        x = _activations(store, samples, elements)
        output = sae(x)
        labels = torch.from_numpy(tasks.labels[:, kept].copy())
        sets.append(ProbeSet(output.codes, labels, elements, x, output.x_hat))
        families = [tasks.families[task] for task in kept]
    train, held_out = sets
    return train, held_out, families


@torch.no_grad()
def probe_classes(
    sae: SAE,
    store: ActivationStore,
    labels: Samples,
    train: Oriented,
    test: Oriented,
    *,
    t: Sequence[int],
    at_once: int,
) -> dict[int, LogisticScores]:
    """Score logistic probes for the classes `labels` on the invariant readout of an SAE.

    Returns the scores by the number of latents that were kept: the numbers `t`, or all latents
    where there are fewer. At most `at_once` activations are in memory.
    """
    train_codes, test_codes = (
        _invariant_codes(sae, store, *each, at_once=at_once) for each in (train, test)
    )
    train_labels, test_labels = (torch.from_numpy(labels[each[0]]) for each in (train, test))
    scores = {}
    for count in dict.fromkeys(min(count, train_codes.shape[1]) for count in t):
        kept = largest_between_class_variance(train_codes, train_labels, count)
        scores[count] = logistic_scores(train_codes, train_labels, test_codes, test_labels, kept)
    return scores


def _invariant_codes(
    sae: SAE, store: ActivationStore, samples: Samples, elements: Elements, *, at_once: int
) -> Float[Tensor, "n readout"]:
    """Encode samples, each in its orientation; average codes over positions.

    A class has no orientation, so the codes of an orbit SAE are summed over the group.
    """
    step = max(1, at_once // store.positions)
    parts = []
    for start in range(0, len(samples), step):
        here = slice(start, start + step)
        codes = sae.encode(_activations(store, samples[here], elements[here]))
        parts.append(sae.dictionary.pooled(codes.unflatten(0, (-1, store.positions)).mean(1)))
    return torch.cat(parts)


def _activations(
    store: ActivationStore, samples: Samples, elements: Elements
) -> Float[Tensor, "rows dim"]:
    """Return the activations of samples, each in its orientation, position by position."""
    unique, inverse = np.unique(samples, return_inverse=True)
    orbits = store.orbits(unique).unflatten(0, (len(unique), store.positions))
    return orbits[torch.from_numpy(inverse), :, elements].flatten(0, 1)
