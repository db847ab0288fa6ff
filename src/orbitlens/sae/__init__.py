"""Sparse autoencoders, composed of parts.

SAE                 encoder, sparsity rule and dictionary
SAEOutput           pre-activations, codes, reconstruction
topk_sae            TopK with a free dictionary, linear or the paper's two-layer encoder
batch_topk_sae      the same with a budget per batch and a stored threshold
archetypal_sae      TopK with mixtures of data as directions, a baseline
crosscoder_sae      TopK with one block of directions per group element, a baseline
BUILDERS            the first two, which need no more than widths and k, by the names of files
encoders            Encoder, LinearEncoder, MLPEncoder
sparsity rules      Sparsity, TopK, BatchTopK
dictionaries        Dictionary, FreeDictionary, ArchetypalDictionary, CrosscoderDictionary
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
    kmeans_candidates,
)
from orbitlens.sae.encoders import Encoder, LinearEncoder, MLPEncoder
from orbitlens.sae.model import SAE, SAEOutput
from orbitlens.sae.sparsity import BatchTopK, Sparsity, TopK

__all__ = [
    "BUILDERS",
    "SAE",
    "ArchetypalDictionary",
    "BatchTopK",
    "CrosscoderDictionary",
    "Dictionary",
    "Encoder",
    "FreeDictionary",
    "LinearEncoder",
    "MLPEncoder",
    "SAEOutput",
    "Sparsity",
    "TopK",
    "archetypal_sae",
    "batch_topk_sae",
    "crosscoder_sae",
    "kmeans_candidates",
    "topk_sae",
]
