"""Split: what an input shows, apart from how it stands.

Split                   the code of inputs: an invariant part and a pose
SplitModel              the protocol of every model that makes such codes
GroupAutoencoder        the exact one, by group equivariant subsampling: p1, p4, p4m
code_spread             how far the codes of a batch differ: 0 after a training that failed

Its parts, for networks of one's own:

subsample               functions on a plane group at a coset pK, as functions on K
upsample                functions on K put on a coset pK, with zeros elsewhere
SubsamplingConv2d       a convolution and subsampling to a fixed grid, in one product
UpsamplingConv2d        upsampling from a fixed grid and a convolution, in one product
index_map               the pose of a map: the element where it is largest -> Pose
Pose                    poses, and which of them are one of several
SubgroupStep            a step from a plane group down to a subgroup K
subgroup_chain          the steps down to the trivial group
default_factors         the strides of such a chain: halves as the source has them, or prime factors
coset_representatives   a pose as one representative for each step
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names

if TYPE_CHECKING:
    from orbitlens.symmetry.split.autoencoder import GroupAutoencoder
    from orbitlens.symmetry.split.base import Split, SplitModel
    from orbitlens.symmetry.split.cosets import (
        SubgroupStep,
        coset_representatives,
        default_factors,
        subgroup_chain,
    )
    from orbitlens.symmetry.split.poses import Pose, index_map
    from orbitlens.symmetry.split.spread import code_spread
    from orbitlens.symmetry.split.subsampling import (
        SubsamplingConv2d,
        UpsamplingConv2d,
        subsample,
        upsample,
    )
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "GroupAutoencoder",
    "Pose",
    "Split",
    "SplitModel",
    "SubgroupStep",
    "SubsamplingConv2d",
    "UpsamplingConv2d",
    "code_spread",
    "coset_representatives",
    "default_factors",
    "index_map",
    "subgroup_chain",
    "subsample",
    "upsample",
]
