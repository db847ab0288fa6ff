"""Dictionaries: the directions that a sparse autoencoder adds up.

Dictionary       the interface
FreeDictionary   learned directions of unit length
"""

from orbitlens.sae.dictionaries.base import Dictionary
from orbitlens.sae.dictionaries.free import FreeDictionary

__all__ = ["Dictionary", "FreeDictionary"]
