"""Activations that other libraries cached become stores.

import_activations  a store from a cache of SAELens or saev, or from .npy or .safetensors files
KINDS               the kinds of caches that it reads
"""

from orbitlens.activations.importers.import_activations import KINDS, import_activations

__all__ = ["KINDS", "import_activations"]
