"""Sparse autoencoders, composed of parts.

SAE                 encoder, sparsity rule and dictionary
SAEOutput           pre-activations, codes, reconstruction
topk_sae            TopK with a free dictionary, linear or the paper's two-layer encoder
batch_topk_sae      the same with a budget per batch and a stored threshold
archetypal_sae      TopK with mixtures of data as directions, a baseline
crosscoder_sae      TopK with one block of directions per group element, a baseline
orbit_sae           a dictionary tied over the group, codes over (element, atom)
orbit_dictionary    the dictionary of such an SAE, or an error; `orbits_of` is its former name
dense               an orbit SAE written out as an ordinary one
encode_maps         codes of an orbit SAE at every position of feature maps or tokens
decode_maps         the maps that such codes stand for
move_codes          such codes as they are once the input has moved
BUILDERS            the first two, which need no more than widths and k, by the names of files
SPARSITY_RULES      TopK and BatchTopK by the names of files
encoders            Encoder, LinearEncoder, MLPEncoder, OrbitLinearEncoder, OrbitMLPEncoder
sparsity rules      Sparsity, TopK, BatchTopK, OnePose
dictionaries        Dictionary, FreeDictionary, ArchetypalDictionary, CrosscoderDictionary,
                    OrbitDictionary
Tied                products with every orientation of weights, in isotypic coordinates
kmeans_candidates   the data that archetypal directions are mixtures of
"""

from orbitlens.sae.builders import (
    BUILDERS,
    archetypal_sae,
    batch_topk_sae,
    crosscoder_sae,
    topk_sae,
)
from orbitlens.sae.dictionaries import (
    ArchetypalDictionary,
    CrosscoderDictionary,
    Dictionary,
    FreeDictionary,
    OrbitDictionary,
    kmeans_candidates,
)
from orbitlens.sae.encoders import Encoder, LinearEncoder, MLPEncoder
from orbitlens.sae.model import SAE, SAEOutput, orbit_dictionary
from orbitlens.sae.orbit import orbit_sae
from orbitlens.sae.orbit_dense import dense
from orbitlens.sae.orbit_encoders import OrbitLinearEncoder, OrbitMLPEncoder
from orbitlens.sae.orbit_maps import decode_maps, encode_maps, move_codes
from orbitlens.sae.sparsity import SPARSITY_RULES, BatchTopK, OnePose, Sparsity, TopK
from orbitlens.sae.tied import Tied

orbits_of = orbit_dictionary  # Its former name, kept for one release.

__all__ = [
    "BUILDERS",
    "SAE",
    "SPARSITY_RULES",
    "ArchetypalDictionary",
    "BatchTopK",
    "CrosscoderDictionary",
    "Dictionary",
    "Encoder",
    "FreeDictionary",
    "LinearEncoder",
    "MLPEncoder",
    "OnePose",
    "OrbitDictionary",
    "OrbitLinearEncoder",
    "OrbitMLPEncoder",
    "SAEOutput",
    "Sparsity",
    "Tied",
    "TopK",
    "archetypal_sae",
    "batch_topk_sae",
    "crosscoder_sae",
    "decode_maps",
    "dense",
    "encode_maps",
    "kmeans_candidates",
    "move_codes",
    "orbit_dictionary",
    "orbit_sae",
    "orbits_of",
    "topk_sae",
]
