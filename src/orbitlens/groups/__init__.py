"""Groups as data: elements, product tables, generators, inverses.

Group               a finite group; every function below returns one
cyclic              C_n: n equal turns
dihedral            D_n: n equal turns and a flip
symmetric           S_n: all permutations of n points
octahedral          the 24 turns of a cube, or all of its 48 symmetries
product             the direct product G x H
permutation_group   the group that some permutations generate
permutations        the permutation of every element, given those of the generators
from_table          any group, from its product table
from_name           a group by its name: "C4", "D4", "S3", "O", "C2xC3"
PlaneGroup          shifts of a torus of pixels, with turns and flips: p1, p4, p4m and their like

For the other rooms:

as_group            a group that is given as such or by its name
check_moves         checks that places move by permutations that multiply as the group
cycles              a permutation as its cycles: "(0 1)(2 3)"
isomorphisms        the orders of its elements in which a table is that of a group
signed_axes         the octahedral group as matrices on the axes
turns_of_images     the turns that a group makes of images; refuses one that cannot turn them
EXACT_TURNS         those that move whole pixels
turns_and_flips     recognises C_n and D_n by their product table
plane_group_with    the plane group with given turns and flips
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names
from orbitlens.groups._isomorphisms import isomorphisms
from orbitlens.groups._moves import check_moves
from orbitlens.groups._on_images import EXACT_TURNS, turns_of_images
from orbitlens.groups.base import Group
from orbitlens.groups.from_table import from_table
from orbitlens.groups.names import as_group, from_name, product
from orbitlens.groups.octahedral import octahedral, signed_axes
from orbitlens.groups.permutation import cycles, permutation_group, permutations, symmetric
from orbitlens.groups.turns import cyclic, dihedral, turns_and_flips

# Its elements are tensors, and names of groups are read before torch has loaded.
if TYPE_CHECKING:
    from orbitlens.groups.plane import PlaneGroup, plane_group_with
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "EXACT_TURNS",
    "Group",
    "PlaneGroup",
    "as_group",
    "check_moves",
    "cycles",
    "cyclic",
    "dihedral",
    "from_name",
    "from_table",
    "isomorphisms",
    "octahedral",
    "permutation_group",
    "permutations",
    "plane_group_with",
    "product",
    "signed_axes",
    "symmetric",
    "turns_and_flips",
    "turns_of_images",
]
