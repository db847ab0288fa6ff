"""Symmetrize: make any network invariant or equivariant, without a new design.

symmetrize        a network and an action     -> Symmetrized
Symmetrized       the network, an ordinary module
Prediction        its mean, the penalty of the loss, and the variance of the mean

Heads choose the group elements:

FrameHead         the interface: draws Frames for each input
Frames            group elements, penalty and ties
HaarHead          uniform frames, the head of averages
PermutationHead   frames of graphs, for S_n
RotationHead      frames of point clouds, for SO(3) and O(3), alone or with S_n
EnergyHead        scores of the elements of any finite group, for canonical frames
ImageHead         scores of the turns and flips of images, by a group CNN
PlaneHead         frames of images on a torus: the index map of subsampling
"""

from orbitlens.symmetry.symmetrize.canonical_heads import EnergyHead, ImageHead, PlaneHead
from orbitlens.symmetry.symmetrize.frames import FrameHead, Frames
from orbitlens.symmetry.symmetrize.haar_head import HaarHead
from orbitlens.symmetry.symmetrize.permutation_head import PermutationHead
from orbitlens.symmetry.symmetrize.rotation_head import RotationHead
from orbitlens.symmetry.symmetrize.symmetrize import Prediction, Symmetrized, symmetrize

__all__ = [
    "EnergyHead",
    "FrameHead",
    "Frames",
    "HaarHead",
    "ImageHead",
    "PermutationHead",
    "PlaneHead",
    "Prediction",
    "RotationHead",
    "Symmetrized",
    "symmetrize",
]
