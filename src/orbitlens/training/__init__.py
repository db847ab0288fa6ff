"""What happens inside `fit`, from activations to steps of Adam.

HeldData, StreamedData   the orbits to train on: in memory, or read as they are needed
TrainingData             their interface
Statistics               means and scale of activations that are seen once
unit_scale               the factor that brings activations to unit variance
Member, History          one SAE among those that train together, and what happened to it
Feed, feed_of            the batches of a stack
StackTraining            members that train as one SAE, step by step
Schedule, train          how long, and the loop
searches_in_bfloat16     in which precision the largest latents are searched
Checkpoint               the file from which a training that was stopped goes on
parts_of, identity_of    what it knows an SAE and a store by
described, fingerprint   what it knows an objective and samples by
"""

from orbitlens.training._checkpoint import Checkpoint
from orbitlens.training._data import (
    HeldData,
    Statistics,
    StreamedData,
    TrainingData,
    unit_scale,
)
from orbitlens.training._feed import Feed, feed_of
from orbitlens.training._identity import described, fingerprint, identity_of, parts_of
from orbitlens.training._loop import Schedule, train
from orbitlens.training._precision import searches_in_bfloat16
from orbitlens.training._steps import StackTraining
from orbitlens.training.member import History, Member

__all__ = [
    "Checkpoint",
    "Feed",
    "HeldData",
    "History",
    "Member",
    "Schedule",
    "StackTraining",
    "Statistics",
    "StreamedData",
    "TrainingData",
    "described",
    "feed_of",
    "fingerprint",
    "identity_of",
    "parts_of",
    "searches_in_bfloat16",
    "train",
    "unit_scale",
]
