"""The fast parts of a training step: searches and products with sparse codes.

This room knows no SAE and no training. It imports `errors`, `files` and `typing` alone.

SparseCodes                     codes of a stack of SAEs, stored as their selected entries
Pattern, starts_of              rows and columns of such entries
selected, shifted               gradients of selected pre-activations, and of the centre
entry_products                  inner products at the entries of a pattern
at_columns                      one number of each column at the entries of a pattern
per_sample, per_batch           the two searches for the largest pre-activations
every_positive                  the search for all positive pre-activations
Block, Found                    input and result of a search
RunningLargest                  the largest numbers of a stream
tiled_products, tiled_sums      products with weights in every orientation, tile by tile
Form                            the trilinear form that these two compute
matrix_product, multiply        dense products in pieces that threads share
steady, team, team_size, spread threads whose number changes no bit
branches                        several uses of a tensor, whose gradients threads sum
Memory, empty                   reusable buffers for the large tensors of a step

On a CPU the loops are compiled from `kernels.c`; on a GPU Triton runs them. Where neither is
available, torch does the same work.
"""

from orbitlens.kernels._branches import branches
from orbitlens.kernels._dense import matrix_product, multiply
from orbitlens.kernels._largest import RunningLargest
from orbitlens.kernels._pattern import Pattern, starts_of
from orbitlens.kernels._products import entry_products
from orbitlens.kernels._threads import spread, steady, team, team_size
from orbitlens.kernels._tiles import Form, tiled_products, tiled_sums
from orbitlens.kernels.buffers import Memory, empty
from orbitlens.kernels.search import Block, Found, every_positive, per_batch, per_sample
from orbitlens.kernels.sparse_codes import SparseCodes, at_columns, selected, shifted

__all__ = [
    "Block",
    "Form",
    "Found",
    "Memory",
    "Pattern",
    "RunningLargest",
    "SparseCodes",
    "at_columns",
    "branches",
    "empty",
    "entry_products",
    "every_positive",
    "matrix_product",
    "multiply",
    "per_batch",
    "per_sample",
    "selected",
    "shifted",
    "spread",
    "starts_of",
    "steady",
    "team",
    "team_size",
    "tiled_products",
    "tiled_sums",
]
