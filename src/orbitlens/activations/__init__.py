"""Activations over whole orbits, on disk: the layer that everything later reads.

harvest           runs a network over the orbits of its inputs and stores one layer
store_from_array  a store from activations that exist already
open_store        a store on disk
ActivationStore   the record all readers use: orbits, chunks, split
split_samples     which samples are fitted on and which are held out
"""

from orbitlens.activations.array import store_from_array
from orbitlens.activations.harvest import harvest
from orbitlens.activations.reader import open_store
from orbitlens.activations.store import ActivationStore, split_samples

__all__ = ["ActivationStore", "harvest", "open_store", "split_samples", "store_from_array"]
