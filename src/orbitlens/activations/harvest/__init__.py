"""From a network to stores: the activations of its layers over the orbits of all inputs.

harvest         stores one layer
harvest_layers  stores many layers in one pass: a LayerHarvest, with a TakenLayer for each layer
layer_outputs   the whole outputs of many layers for one batch

For the other rooms:

POSITIONS          the choices of tokens, or of places of a map
evaluating         evaluation mode without gradients, for the length of a block
take_outputs       run a network up to the last of some layers and take parts of their outputs
check_called_once  refuse a layer that a forward pass does not call exactly once
only_tensor        the only tensor in an output; kind_of names the type of an output
with_tensor        an output with this tensor replaced
check_inputs       refuse inputs that the group cannot move
layer_dependence   which layers of a network feed which others
find_axes          the layouts of the outputs of layers, from a few_moved inputs
moved_batches      whole orbits of inputs, in batches
telling_inputs     a few inputs that show whether a network mixes inputs, made ready
make_ready         apply the user's `prepare` to inputs
device_of          the device of a network; dtype_of, the type of its numbers
check_function     refuse a network that is no function of its input
rounding           how far batches of other sizes may differ
"""

from orbitlens.activations.harvest._dependence import layer_dependence
from orbitlens.activations.harvest._find_layers import few_moved, find_axes
from orbitlens.activations.harvest._function import check_function, dtype_of, rounding
from orbitlens.activations.harvest._hooks import (
    check_called_once,
    layer_outputs,
    take_outputs,
)
from orbitlens.activations.harvest._inputs import (
    check_inputs,
    device_of,
    make_ready,
    moved_batches,
    telling_inputs,
)
from orbitlens.activations.harvest._outputs import kind_of, only_tensor, with_tensor
from orbitlens.activations.harvest._positions import POSITIONS
from orbitlens.activations.harvest.many_layers import LayerHarvest, TakenLayer, harvest_layers
from orbitlens.activations.harvest.one_layer import harvest
from orbitlens.models import evaluating

__all__ = [
    "POSITIONS",
    "LayerHarvest",
    "TakenLayer",
    "check_called_once",
    "check_function",
    "check_inputs",
    "device_of",
    "dtype_of",
    "evaluating",
    "few_moved",
    "find_axes",
    "harvest",
    "harvest_layers",
    "kind_of",
    "layer_dependence",
    "layer_outputs",
    "make_ready",
    "moved_batches",
    "only_tensor",
    "rounding",
    "take_outputs",
    "telling_inputs",
    "with_tensor",
]
