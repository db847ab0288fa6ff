"""Representations: one matrix for each group element.

Representation        the record: group, matrices, character
regular               the group permutes its own elements
permutation           the group permutes points
irreps                all real irreducible representations
real_type             the type of an irrep: "real", "complex" or "quaternionic"
irrep_label           an irrep in words, such as "turns with r"
direct_sum            a block-diagonal sum of representations
tensor_product        a representation on pairs of coordinates
dual                  a representation on linear functions
restrict              a representation of a subgroup
multiplicities        the number of copies of each irrep
isotypic_projections  projections onto the copies of each irrep
isotypic_basis        coordinates in which a representation is block-diagonal -> IsotypicBasis
exactify              the orthogonal representation near a family of matrices
homomorphism_errors   the distance of a family of matrices from a representation

For the other rooms:

irreps_in_basis       the irreps in the bases that matrices of the generators fix
character_norm        the type of an irrep as a number: 1, 2 or 4
polar                 the nearest orthogonal matrix
check_multiplies      an error where matrices are no representation of their group
"""

from orbitlens.reps._door import check_multiplies
from orbitlens.reps.base import Representation, homomorphism_errors, permutation, regular
from orbitlens.reps.combine import direct_sum, dual, restrict, tensor_product
from orbitlens.reps.exactify import exactify, polar
from orbitlens.reps.irreps import (
    character_norm,
    irrep_label,
    irreps,
    irreps_in_basis,
    real_type,
)
from orbitlens.reps.isotypic import (
    IsotypicBasis,
    isotypic_basis,
    isotypic_projections,
    multiplicities,
)

__all__ = [
    "IsotypicBasis",
    "Representation",
    "character_norm",
    "check_multiplies",
    "direct_sum",
    "dual",
    "exactify",
    "homomorphism_errors",
    "irrep_label",
    "irreps",
    "irreps_in_basis",
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
