"""Sparse autoencoders, composed of parts.

SAE              encoder, sparsity rule and dictionary
SAEOutput        pre-activations, codes, reconstruction
topk_sae         TopK with a free dictionary, linear or the paper's two-layer encoder
batch_topk_sae   the same with a budget per batch and a stored threshold
BUILDERS         these two, by the names that files use
encoders         Encoder, LinearEncoder, MLPEncoder
sparsity rules   Sparsity, TopK, BatchTopK
dictionaries     Dictionary, FreeDictionary
"""

from orbitlens.sae.dictionaries import Dictionary, FreeDictionary
from orbitlens.sae.encoders import Encoder, LinearEncoder, MLPEncoder
from orbitlens.sae.model import BUILDERS, SAE, SAEOutput, batch_topk_sae, topk_sae
from orbitlens.sae.sparsity import BatchTopK, Sparsity, TopK

__all__ = [
    "BUILDERS",
    "SAE",
    "BatchTopK",
    "Dictionary",
    "Encoder",
    "FreeDictionary",
    "LinearEncoder",
    "MLPEncoder",
    "SAEOutput",
    "Sparsity",
    "TopK",
    "batch_topk_sae",
    "topk_sae",
]
