"""The table of an SAE's features, one line each: written in a run, and read for its page."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orbitlens.activations import ActivationStore
from orbitlens.errors import DamageError
from orbitlens.files import digest_of_file, write_table
from orbitlens.metrics import Turning, feature_turning
from orbitlens.report import FeatureCard
from orbitlens.training import FitResult
from orbitlens.transport import Transport
from orbitlens.typing import Orbits

_FILE = "features.csv"
_COUNTS = ("turning_features", "invariant_features", "other_features", "rare_features")
_DIGEST = "features_digest"


def write_features(
    result: FitResult, store: ActivationStore, orbits: Orbits, transport: Transport, place: Path
) -> dict[str, Any]:
    """Write features.csv of a trained SAE to a folder; return its counts and its digest.

    The orbits are some of the store's. The counts, JSON-ready, are turning_features,
    invariant_features, other_features and rare_features, see `metrics.feature_turning`. An SAE
    whose training diverged has none.
    """
    if result.status != "completed":
        return dict.fromkeys((*_COUNTS, _DIGEST))
    known: dict[str, Any] = {"positions": store.positions, "action": store.action}
    turning = feature_turning(result.sae, orbits, transport, **known)
    write_table(turning.rows, place / _FILE)
    return {**counts_of(turning), _DIGEST: digest_of_file(place / _FILE)}


def counts_of(turning: Turning) -> dict[str, int]:
    """Return the number of features with each word, by its name in metrics.json."""
    return dict(zip(_COUNTS, turning.counts.values(), strict=True))


def read_features(place: Path, figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read features.csv in the folder of an SAE; empty in a run of an earlier version.

    `figures` is the entry of the SAE in metrics.json.

    Raises:
        DamageError: If the table is not the one that the figures are of.
    """
    wanted, path = figures.get(_DIGEST), place / _FILE
    if wanted is None:
        return []
    if digest_of_file(path) != wanted:
        raise DamageError(
            str(path),
            expected="the features of the SAE beside it, as they were measured",
            received="another table",
            remedy="restore it from a copy, or train the SAE again",
        )
    with open(path, newline="", encoding="utf-8") as file:
        return [_parsed(row) for row in csv.DictReader(file)]


def with_turning(
    cards: Sequence[FeatureCard], features: Sequence[Mapping[str, Any]]
) -> list[FeatureCard]:
    """Give each card the row of its feature, if there are rows."""
    if not features:
        return list(cards)
    return [replace(card, turning=features[card.latent]) for card in cards]


def _parsed(row: Mapping[str, str]) -> dict[str, Any]:
    whole = {name: int(row[name]) for name in ("feature", "inputs")}
    shares = {
        name: float(cell) if cell else None
        for name, cell in row.items()
        if name not in (*whole, "word")
    }
    return {**shares, **whole, "word": row["word"]}
