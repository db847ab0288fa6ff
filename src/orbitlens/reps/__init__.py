"""Representations as algebra: element -> matrix.

Representation        the record: group, matrices, character
regular               the group permutes its own elements
permutation           the group permutes points
irreps                all real irreducible representations
real_type             "real", "complex" or "quaternionic"; as a number, character_norm: 1, 2 or 4
direct_sum            blocks of representations
tensor_product        on pairs of coordinates
dual                  on linear functions
restrict              seen by a subgroup
irrep_label           what a feature in it does, in plain words
multiplicities        how often a representation holds each irrep
isotypic_projections  onto the copies of each irrep
isotypic_basis        coordinates in which it is block-diagonal -> IsotypicBasis
exactify              the orthogonal representation near matrices that nearly are one
polar                 the nearest orthogonal matrix
homomorphism_errors   how far a family of matrices is from a representation
"""

from orbitlens.reps.base import Representation, homomorphism_errors
from orbitlens.reps.basis import IsotypicBasis, isotypic_basis
from orbitlens.reps.combine import direct_sum, dual, restrict, tensor_product
from orbitlens.reps.exactify import exactify, polar
from orbitlens.reps.irreps import character_norm, irreps, real_type
from orbitlens.reps.isotypic import isotypic_projections, multiplicities
from orbitlens.reps.labels import irrep_label
from orbitlens.reps.permutation import permutation
from orbitlens.reps.regular import regular

__all__ = [
    "IsotypicBasis",
    "Representation",
    "character_norm",
    "direct_sum",
    "dual",
    "exactify",
    "homomorphism_errors",
    "irrep_label",
    "irreps",
    "isotypic_basis",
    "isotypic_projections",
    "multiplicities",
    "permutation",
    "polar",
    "real_type",
    "regular",
    "restrict",
    "tensor_product",
]
