"""How a group moves inputs.

Action               the record all factories return: action(inputs, element), action.orbit(inputs)
images               turns and flips of pictures, exact on the pixel grid or interpolated
volumes              turns and mirror images of volumes, the symmetries of a cube
reverse_complement   the two strands of DNA
cyclic_shift         equal shifts along a periodic axis
set_permutation      permutations of the elements of a set
"""

from orbitlens.actions.base import Action
from orbitlens.actions.images import images
from orbitlens.actions.sequences import cyclic_shift, reverse_complement
from orbitlens.actions.sets import set_permutation
from orbitlens.actions.volumes import volumes

__all__ = [
    "Action",
    "cyclic_shift",
    "images",
    "reverse_complement",
    "set_permutation",
    "volumes",
]
