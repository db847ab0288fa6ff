"""Dictionaries: the directions that a sparse autoencoder adds up.

Dictionary             the interface
FreeDictionary         learned directions of unit length
ArchetypalDictionary   mixtures of data, a baseline of the paper (Fel et al. 2025)
CrosscoderDictionary   one block of directions per group element, another (Gorton 2024)
OrbitDictionary        one direction per atom, moved into every orientation by the transport
kmeans_candidates      the data that archetypal directions are mixtures of
"""

from orbitlens.sae.dictionaries.archetypal import ArchetypalDictionary, kmeans_candidates
from orbitlens.sae.dictionaries.base import Dictionary
from orbitlens.sae.dictionaries.crosscoder import CrosscoderDictionary
from orbitlens.sae.dictionaries.free import FreeDictionary
from orbitlens.sae.dictionaries.orbit import OrbitDictionary

__all__ = [
    "ArchetypalDictionary",
    "CrosscoderDictionary",
    "Dictionary",
    "FreeDictionary",
    "OrbitDictionary",
    "kmeans_candidates",
]
