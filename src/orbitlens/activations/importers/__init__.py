"""Activations that other libraries cached become stores.

import_activations  a store from a cache of SAELens or saev, or from .npy or .safetensors files
"""

from orbitlens.activations.importers.import_activations import import_activations

__all__ = ["import_activations"]
