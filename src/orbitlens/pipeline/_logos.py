"""The letters of DNA around the places where features fire, counted for sequence logos."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import pad

from orbitlens.activations import ActivationStore
from orbitlens.metrics import orientation_codes
from orbitlens.pipeline._drawings import MovedImages
from orbitlens.report import FeatureCard
from orbitlens.sae import SAE
from orbitlens.typing import Float, Int, Tensor

_WIDTH = 15
_MOST_INPUTS, _FEWEST_INPUTS = 50, 5
_LEVELS = 1e5  # of strengths that are told apart


def with_logos(
    cards: Sequence[FeatureCard],
    codes: Float[Tensor, "n position moved latents"],
    sae: SAE,
    store: ActivationStore,
    images_of: MovedImages | None,
) -> list[FeatureCard]:
    """Give each card the letters around the places where its feature is strongest.

    A row counts those of the 50 moved inputs on which the feature is strongest, each at its
    strongest place; of all on which it fires, if they are fewer, and of none below 5. `codes` are
    z(mx) as the store aligns them: position p of mx is where p of x goes. Only cards of DNA change,
    of a store whose positions are places along the sequence.
    """
    if not cards or images_of is None or images_of.action.name != "reverse_complement":
        return list(cards)
    # The other strand has the places from the last to the first; tokens before them would stay.
    places = np.arange(store.positions)
    if store.moves is None or not np.array_equal(store.moves[1], places[::-1]):
        return list(cards)
    starts, width = windows(images_of.images.shape[2], store.positions)
    # A store's orbits stand by the place in the unmoved input.
    starts = starts[torch.from_numpy(store.moves)]
    codes = codes.cpu()
    by_orientation = None if sae.dictionary.group is None else orientation_codes(sae, codes)
    return [
        replace(
            card,
            letters=torch.stack(
                [
                    _count_letters(strengths, images_of, starts, width)
                    for strengths in _rows_of(card, codes, by_orientation)
                ]
            ),
        )
        for card in cards
    ]


def windows(length: int, places: int) -> tuple[Int[Tensor, " place"], int]:
    """Return the first letter of the window of each place of a layer, and the windows' width.

    Neighbouring places are a whole number of letters apart, and all places lie in the middle of the
    sequence, as those of convolutions do:

        centre(p) = length / 2 + step (p - (places - 1) / 2)

    The width is 15, or what the sequence has, less 1 where only an even number of letters has its
    middle at a centre. So windows of mirrored places are mirrored, and may begin before the
    sequence.
    """
    step = min(round(length / places), (length - 1) // max(1, places - 1))
    twice_first = length - step * (places - 1)
    width = min(_WIDTH, length)
    width -= (width - twice_first) % 2
    return (twice_first - width) // 2 + step * torch.arange(places), width


def _rows_of(
    card: FeatureCard,
    codes: Float[Tensor, "n position moved latents"],
    by_orientation: Float[Tensor, "n position moved group atoms"] | None,
) -> Iterator[Float[Tensor, "n position moved"]]:
    """Yield the strength of a feature in each row of its card, 0 for moves of other rows."""
    if by_orientation is not None and card.orientations is not None:
        for orientation in card.orientations:
            yield by_orientation[..., orientation, card.latent]
        return
    for element in range(codes.shape[2]):
        alone = torch.zeros_like(codes[..., card.latent])
        alone[:, :, element] = codes[:, :, element, card.latent]
        yield alone


def _count_letters(
    strengths: Float[Tensor, "n position moved"],
    images_of: MovedImages,
    starts: Int[Tensor, "moved position"],
    width: int,
) -> Float[Tensor, "4 column"]:
    counts = torch.zeros(4, width)
    # Rounding of the network must not choose among equal places: the strands would differ.
    levels = (strengths / strengths.max().clamp_min(1e-30) * _LEVELS).round().flatten(1)
    best, where = levels.amax(1), levels.argmax(1)
    samples = best.sort(descending=True, stable=True).indices
    samples = samples[best[samples] > 0][:_MOST_INPUTS]
    if len(samples) < _FEWEST_INPUTS:
        return counts
    moves, positions = where[samples] % len(starts), where[samples] // len(starts)
    first = starts[moves, positions] + width
    for element in moves.unique().tolist():
        asked = moves == element
        sequences = images_of.moved(samples[asked], element).float().clamp(0, 1)
        columns = first[asked, None, None] + torch.arange(width)
        # Beyond its ends a sequence has no letters.
        counts += pad(sequences, (width, width)).gather(2, columns.expand(-1, 4, -1)).sum(0)
    return counts
