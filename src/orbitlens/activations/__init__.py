"""Activations over whole orbits, on disk: later rooms read nothing else of a network.

harvest             run a network over the orbits of its inputs and store one layer
harvest_layers      store many layers in one pass: a LayerHarvest, with a TakenLayer for each layer
layer_outputs       the whole outputs of many layers, in one forward pass
store_from_array    a store from activations that exist already
import_activations  a store from a cache of SAELens, saev or NumPy
open_store          open a store on disk
ActivationStore     the record that all readers use: orbits, chunks, split
OrbitBatches        shuffled batches of orbits from a store that is larger than memory
split_samples       the samples to fit on and the samples to measure on

Three rooms, one way: `harvest` and `importers` fill what `store` keeps.
"""

from orbitlens.activations.harvest import (
    LayerHarvest,
    TakenLayer,
    harvest,
    harvest_layers,
    layer_outputs,
)
from orbitlens.activations.importers import import_activations
from orbitlens.activations.store import (
    ActivationStore,
    OrbitBatches,
    open_store,
    split_samples,
    store_from_array,
)

__all__ = [
    "ActivationStore",
    "LayerHarvest",
    "OrbitBatches",
    "TakenLayer",
    "harvest",
    "harvest_layers",
    "import_activations",
    "layer_outputs",
    "open_store",
    "split_samples",
    "store_from_array",
]
