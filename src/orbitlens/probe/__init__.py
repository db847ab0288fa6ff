"""Probes measure what a few latents are good for.

    rank_latents, largest_mean_difference    choose latents for binary tasks
    largest_between_class_variance           choose latents for classes
    truncated_reconstruction                 decodes the chosen latents alone, moved by a transport
    infer_orientation                        the orientation of each sample, without an oracle
    boosted_f1                               XGBoost on a binary task
    logistic_scores, LogisticScores          logistic regression on classes
    logistic_predictions, binary_f1          the steps of these two, on their own
    probe_tasks, ProbeSet, ProbeScores       the Shapes protocol over many tasks
    Orientation                              whose orientation: oracle, inferred or none
    score_readouts                           that protocol for every readout of an SAE
    invariant_readout                        codes of an orbit SAE, summed over the group
    probe_readouts, ReadoutScores            both readouts of an orbit SAE, and one by a rule

The probes need scikit-learn and xgboost (extra "probe"), which are loaded on first use.
"""

from orbitlens.probe._boosted import boosted_f1
from orbitlens.probe._probe_set import ProbeSet
from orbitlens.probe._selection import (
    largest_between_class_variance,
    largest_mean_difference,
    rank_latents,
)
from orbitlens.probe.logistic import LogisticScores, logistic_predictions, logistic_scores
from orbitlens.probe.orientation import infer_orientation
from orbitlens.probe.readouts import (
    ReadoutScores,
    invariant_readout,
    probe_readouts,
    score_readouts,
)
from orbitlens.probe.scores import binary_f1
from orbitlens.probe.tasks import Orientation, ProbeScores, probe_tasks
from orbitlens.probe.truncation import truncated_reconstruction

__all__ = [
    "LogisticScores",
    "Orientation",
    "ProbeScores",
    "ProbeSet",
    "ReadoutScores",
    "binary_f1",
    "boosted_f1",
    "infer_orientation",
    "invariant_readout",
    "largest_between_class_variance",
    "largest_mean_difference",
    "logistic_predictions",
    "logistic_scores",
    "probe_readouts",
    "probe_tasks",
    "rank_latents",
    "score_readouts",
    "truncated_reconstruction",
]
