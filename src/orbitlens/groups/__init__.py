"""Groups as data: elements, product tables, generators, inverses.

Group               the record all families return
cyclic              C_n, n equal turns
dihedral            D_n, n equal turns and a flip
symmetric           S_n, all permutations of n points
octahedral          the 24 turns of a cube, or with inversion its 48 symmetries
product             G x H
permutation_group   what some permutations generate
permutations        the permutation of every element, given those of the generators
from_table          any group, from its product table
signed_axes         the octahedral group as matrices on the axes
from_name           "C4", "D4", "S3", "O", "C2xC3" -> Group, for configuration files and commands
"""

from orbitlens.groups.base import Group
from orbitlens.groups.cyclic import cyclic
from orbitlens.groups.dihedral import dihedral
from orbitlens.groups.names import from_name
from orbitlens.groups.octahedral import octahedral, signed_axes
from orbitlens.groups.permutation import permutation_group, permutations, symmetric
from orbitlens.groups.product import product
from orbitlens.groups.table import from_table

__all__ = [
    "Group",
    "cyclic",
    "dihedral",
    "from_name",
    "from_table",
    "octahedral",
    "permutation_group",
    "permutations",
    "product",
    "signed_axes",
    "symmetric",
]
