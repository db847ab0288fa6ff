"""Training: views, encoding, steps, and `fit`.

fit                    train one SAE or many, in memory or from disk, with checkpoints
FitResult, History     the trained SAE, and the figures of every epoch
FitSettings            the keyword settings of `fit`, for type checkers
Objective, VIEWS       a function of views to minimise, and the views that it may name
PRECISIONS             the names of the precisions of the search for the largest latents
unit_scale             the factor that brings activations to unit variance
choose_orbit_weight    choose the weight of invariance on held-out orbits
WeightChoice           its choice, with the figures of every weight
single_bias_adaptation directions that fire with one target frequency, each by itself

For the other rooms:

still_falling          whether more epochs would make the loss clearly smaller
blew_up                whether training ended in numbers that mean nothing
"""

from orbitlens.training._encode import PRECISIONS
from orbitlens.training._member import History
from orbitlens.training._settings import FitSettings
from orbitlens.training._source import unit_scale
from orbitlens.training._views import VIEWS, Objective
from orbitlens.training.curves import blew_up, still_falling
from orbitlens.training.fit import FitResult, fit
from orbitlens.training.orbit_weight import WeightChoice, choose_orbit_weight
from orbitlens.training.single_bias_adaptation import single_bias_adaptation

__all__ = [
    "PRECISIONS",
    "VIEWS",
    "FitResult",
    "FitSettings",
    "History",
    "Objective",
    "WeightChoice",
    "blew_up",
    "choose_orbit_weight",
    "fit",
    "single_bias_adaptation",
    "still_falling",
    "unit_scale",
]
