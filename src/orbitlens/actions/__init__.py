"""Actions: how a group moves inputs.

Action               how each element moves inputs; the functions here return one
images               turns and flips of images, exact on the pixel grid or interpolated
volumes              turns and mirror images of volumes: the symmetries of a cube
points               turns and mirror images of point clouds, in the plane or in space
graphs               relabelling of the nodes of graphs
reverse_complement   the two strands of DNA
cyclic_shift         equal shifts along a periodic axis
set_permutation      permutations of the elements of a set
own                  a function of one's own, checked to be an action
describe_elements    what each element does, in plain words
random_rotations     samples of SO(3); rotate_points moves each cloud by its own

For the other rooms:

places_moved         the `grid` of an action that rearranges entries
check_action         refuse a group, or anything else, where an action is meant
check_is_action      compare g(hx) and (gh)x on a few inputs
"""

from orbitlens.actions._checks import check_action, check_is_action
from orbitlens.actions._words import describe_elements
from orbitlens.actions.base import Action, places_moved
from orbitlens.actions.graphs import graphs
from orbitlens.actions.images import images
from orbitlens.actions.own import own
from orbitlens.actions.points import points, random_rotations, rotate_points
from orbitlens.actions.sequences_and_sets import (
    cyclic_shift,
    reverse_complement,
    set_permutation,
)
from orbitlens.actions.volumes import volumes

__all__ = [
    "Action",
    "check_action",
    "check_is_action",
    "cyclic_shift",
    "describe_elements",
    "graphs",
    "images",
    "own",
    "places_moved",
    "points",
    "random_rotations",
    "reverse_complement",
    "rotate_points",
    "set_permutation",
    "volumes",
]
