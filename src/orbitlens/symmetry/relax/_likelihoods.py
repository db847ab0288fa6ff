"""The distributions that targets may have, given the outputs of a network."""

from typing import Literal

Likelihood = Literal["softmax", "gaussian"]
LIKELIHOODS: tuple[Likelihood, ...] = ("softmax", "gaussian")
