"""Sparse autoencoders, composed of parts.

SAE                 encoder, sparsity rule and dictionary
SAEOutput           pre-activations, codes, reconstruction
topk_sae            TopK with a free dictionary, linear or the paper's two-layer encoder
batch_topk_sae      the same with a budget per batch and a stored threshold
bias_adaptation_sae tied weights, biases steered by how often latents fire
archetypal_sae      TopK with mixtures of data as directions, a baseline
crosscoder_sae      TopK with one block of directions per group element, a baseline
orbit_sae           a dictionary tied over the group, codes over (element, atom)
compose             an SAE of a sparsity rule and a dictionary, with the encoder that fits
dense               an orbit SAE written out as an ordinary one
encode_maps         codes of an orbit SAE at every position of feature maps or tokens
decode_maps         maps from such codes
move_codes          the codes of a moved input from such codes
encoders            Encoder, LinearEncoder, MLPEncoder, OrbitLinearEncoder, OrbitMLPEncoder,
                    TransposedEncoder
sparsity rules      Sparsity, TopK, BatchTopK, OnePose, BiasAdaptation, ReLU, JumpReLU
dictionaries        Dictionary, FreeDictionary, ArchetypalDictionary, CrosscoderDictionary,
                    OrbitDictionary
kmeans_candidates   centroids of data, the candidates of an archetypal dictionary

For the other rooms:

orbit_dictionary    the dictionary of an orbit SAE, or an error; its former name is orbits_of
BUILDERS            topk_sae and batch_topk_sae by their names in files
SPARSITY_RULES      TopK and BatchTopK by their names in files
Tied                products with every orientation of weights, in isotypic coordinates
"""

from orbitlens.sae.bias_adaptation import BiasAdaptation
from orbitlens.sae.builders import (
    BUILDERS,
    archetypal_sae,
    batch_topk_sae,
    bias_adaptation_sae,
    compose,
    crosscoder_sae,
    topk_sae,
)
from orbitlens.sae.dictionaries.archetypal import ArchetypalDictionary, kmeans_candidates
from orbitlens.sae.dictionaries.base import Dictionary, TransposedEncoder
from orbitlens.sae.dictionaries.crosscoder import CrosscoderDictionary
from orbitlens.sae.dictionaries.free import FreeDictionary
from orbitlens.sae.dictionaries.orbit import OrbitDictionary
from orbitlens.sae.encoders import Encoder, LinearEncoder, MLPEncoder
from orbitlens.sae.model import SAE, SAEOutput, orbit_dictionary
from orbitlens.sae.orbit import dense, orbit_sae
from orbitlens.sae.orbit_encoders import OrbitLinearEncoder, OrbitMLPEncoder
from orbitlens.sae.orbit_maps import decode_maps, encode_maps, move_codes
from orbitlens.sae.sparsity import (
    SPARSITY_RULES,
    BatchTopK,
    JumpReLU,
    OnePose,
    ReLU,
    Sparsity,
    TopK,
)
from orbitlens.sae.tied import Tied

orbits_of = orbit_dictionary  # Its former name, kept for one release.

__all__ = [
    "BUILDERS",
    "SAE",
    "SPARSITY_RULES",
    "ArchetypalDictionary",
    "BatchTopK",
    "BiasAdaptation",
    "CrosscoderDictionary",
    "Dictionary",
    "Encoder",
    "FreeDictionary",
    "JumpReLU",
    "LinearEncoder",
    "MLPEncoder",
    "OnePose",
    "OrbitDictionary",
    "OrbitLinearEncoder",
    "OrbitMLPEncoder",
    "ReLU",
    "SAEOutput",
    "Sparsity",
    "Tied",
    "TopK",
    "TransposedEncoder",
    "archetypal_sae",
    "batch_topk_sae",
    "bias_adaptation_sae",
    "compose",
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
