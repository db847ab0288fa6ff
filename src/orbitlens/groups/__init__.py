"""Groups as data: elements, product tables, generators, inverses.

Group       the record all families return
cyclic      C_n, n equal turns
dihedral    D_n, n equal turns and a flip
product     G x H
from_name   "C4", "D4", "C2xC3" -> Group, for configuration files and the command line
"""

from orbitlens.groups.base import Group
from orbitlens.groups.cyclic import cyclic
from orbitlens.groups.dihedral import dihedral
from orbitlens.groups.names import from_name
from orbitlens.groups.product import product

__all__ = ["Group", "cyclic", "dihedral", "from_name", "product"]
