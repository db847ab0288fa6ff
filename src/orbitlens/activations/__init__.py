"""Activations over whole orbits, on disk: the layer that everything later reads.

harvest             runs a network over the orbits of its inputs and stores one layer
harvest_layers      stores many layers on the way: LayerHarvest, and of each layer a TakenLayer
layer_outputs       what many layers put out, whole, in one forward pass
store_from_array    a store from activations that exist already
import_activations  a store from what SAELens, saev or NumPy cached
open_store          a store on disk
ActivationStore     the record all readers use: orbits, chunks, split
OrbitBatches        shuffled batches of orbits from a store that is larger than memory
split_samples       which samples are fitted on and which are held out
"""

from orbitlens.activations.harvest.hooks import layer_outputs
from orbitlens.activations.harvest.many_layers import LayerHarvest, TakenLayer, harvest_layers
from orbitlens.activations.harvest.one_layer import harvest
from orbitlens.activations.importers.import_activations import import_activations
from orbitlens.activations.store.activation_store import ActivationStore, split_samples
from orbitlens.activations.store.from_array import store_from_array
from orbitlens.activations.store.open_store import open_store
from orbitlens.activations.store.shuffled_batches import OrbitBatches

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
