"""Actions: how a group moves inputs.

Action               how each element moves inputs; the functions here return one
images               turns and flips of images, exact on the pixel grid or interpolated
plane                shifts, turns and flips of images whose opposite sides are joined
move_on_plane        the same with an element for each image, or for each map of a network
volumes              turns and mirror images of volumes: the symmetries of a cube
points               turns and mirror images of point clouds, in the plane or in space
graphs               relabelling of the nodes of graphs
reverse_complement   the two strands of DNA
cyclic_shift         equal shifts along a periodic axis
set_permutation      permutations of the elements of a set
own                  a function of one's own, checked to be an action
describe_elements    what each element does, in plain words
random_rotations     samples of SO(3); rotate_points moves each cloud by its own

Groups without a short list of elements, whose elements are drawn:

SampledAction        how drawn elements move inputs; the two functions here return one
relabelling          relabelling of the nodes of graphs of any size, by S_n
rotations            SO(3) and O(3) on points in space, alone or with S_n

For the other rooms:

places_moved         the `grid` of an action that rearranges entries
check_action         refuse a group, or anything else, where an action is meant
as_prefix_mask       which nodes of padded inputs are there, at the door
check_is_action      compare g(hx) and (gh)x on a few inputs
"""

from orbitlens.actions._checks import check_action, check_is_action
from orbitlens.actions._haar import as_prefix_mask
from orbitlens.actions._words import describe_elements
from orbitlens.actions.base import Action, places_moved
from orbitlens.actions.graphs import graphs
from orbitlens.actions.images import images
from orbitlens.actions.own import own
from orbitlens.actions.plane import move_on_plane, plane
from orbitlens.actions.points import points, random_rotations, rotate_points
from orbitlens.actions.sampled import SampledAction, relabelling, rotations
from orbitlens.actions.sequences_and_sets import (
    cyclic_shift,
    reverse_complement,
    set_permutation,
)
from orbitlens.actions.volumes import volumes

__all__ = [
    "Action",
    "SampledAction",
    "as_prefix_mask",
    "check_action",
    "check_is_action",
    "cyclic_shift",
    "describe_elements",
    "graphs",
    "images",
    "move_on_plane",
    "own",
    "places_moved",
    "plane",
    "points",
    "random_rotations",
    "relabelling",
    "reverse_complement",
    "rotate_points",
    "rotations",
    "set_permutation",
    "volumes",
]
