"""Activations on disk, and how they are read.

A store holds whole orbits: the activations of every moved version of an input lie together.

ActivationStore   the record that all readers use: orbits, chunks, split
open_store        open a store on disk or at a URL
store_from_array  a store from activations that exist already
split_samples     the samples to fit on and the samples to measure on
OrbitBatches      shuffled batches from a store that is larger than memory

For the other rooms:

check_store  refuses what is no store
Place        a batch in the memory of OrbitBatches, not copied; Needs is the memory that it takes
stored_size  the bytes of a store on disk, from its shape
buffer_size  the bytes of the buffers of OrbitBatches, from the shape of a store
DTYPES       the types that activations can have on disk
address_of   a folder as a path, the URL of an object store as it is
inside       the address of something in a folder or under a URL
exists       whether anything is at an address
read_at      the content of a small file at a URL
count_training_samples  the number of training samples of split_samples
"""

from orbitlens.activations.store._address import address_of, exists, inside, read_at
from orbitlens.activations.store._check_store import check_store
from orbitlens.activations.store._on_disk import DTYPES
from orbitlens.activations.store._open_store import open_store
from orbitlens.activations.store._sizes import buffer_size, count_training_samples, stored_size
from orbitlens.activations.store.activation_store import ActivationStore, split_samples
from orbitlens.activations.store.from_array import store_from_array
from orbitlens.activations.store.shuffled_batches import Needs, OrbitBatches, Place

__all__ = [
    "DTYPES",
    "ActivationStore",
    "Needs",
    "OrbitBatches",
    "Place",
    "address_of",
    "buffer_size",
    "check_store",
    "count_training_samples",
    "exists",
    "inside",
    "open_store",
    "read_at",
    "split_samples",
    "store_from_array",
    "stored_size",
]
