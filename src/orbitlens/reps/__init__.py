"""Representations as algebra: element -> matrix.

Representation        the record: group, matrices, character
regular               the group permutes its own elements
irreps                all real irreducible representations
character_norm        1, 2 or 4: real, complex or quaternionic type
homomorphism_errors   how far a family of matrices is from a representation
"""

from orbitlens.reps.base import Representation, homomorphism_errors
from orbitlens.reps.irreps import character_norm, irreps
from orbitlens.reps.regular import regular

__all__ = ["Representation", "character_norm", "homomorphism_errors", "irreps", "regular"]
