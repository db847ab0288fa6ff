"""Pretext: train an equivariant network without labels.

LabelAction             how a group moves the labels of a task: orbits, stabilisers, cap
PretextTask             the protocol of every task: an input is made of an image and a label
Jigsaw                  in which order were the parts put together?
RelativePosition        which neighbour of the middle is this?
RotationPrediction      by which element was an upright image moved?
distant_permutations    permutations for jigsaws, far from each other, closed under the group

GroupEncoder            images -> functions on the group
GroupMLP                functions on the group -> functions on it, in two layers
EquivariantHead         logits that move with the input; InvariantHead, the rival that cannot

nt_xent                 a contrastive loss that each view may be moved under
barlow_twins            the same without negatives: views agree, functions are not correlated
simsiam                 the older loss without negatives, which collapses here
retrieval               whether the partner of a view is found in its batch
Similarity              what both take: rows, other rows, group -> one number for each pair
max_similarity          in the relative pose that fits best; soft_similarity, its smooth form
pooled_similarity       of the maxima over the group
mean_similarity         over all relative poses, and plain_similarity, the cosine: baselines

frozen_features         what stays under the group, for linear probes
nontrivial_energy       the share of a code outside the trivial representation
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names

if TYPE_CHECKING:
    from orbitlens.symmetry.pretext.barlow import barlow_twins
    from orbitlens.symmetry.pretext.contrastive import Similarity, nt_xent, retrieval, simsiam
    from orbitlens.symmetry.pretext.encoder import GroupEncoder
    from orbitlens.symmetry.pretext.frozen import frozen_features, nontrivial_energy
    from orbitlens.symmetry.pretext.head import EquivariantHead, InvariantHead
    from orbitlens.symmetry.pretext.jigsaw import Jigsaw, distant_permutations
    from orbitlens.symmetry.pretext.labels import LabelAction
    from orbitlens.symmetry.pretext.position import RelativePosition
    from orbitlens.symmetry.pretext.projector import GroupMLP
    from orbitlens.symmetry.pretext.rotation import RotationPrediction
    from orbitlens.symmetry.pretext.similarities import (
        max_similarity,
        mean_similarity,
        plain_similarity,
        pooled_similarity,
        soft_similarity,
    )
    from orbitlens.symmetry.pretext.task import PretextTask
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "EquivariantHead",
    "GroupEncoder",
    "GroupMLP",
    "InvariantHead",
    "Jigsaw",
    "LabelAction",
    "PretextTask",
    "RelativePosition",
    "RotationPrediction",
    "Similarity",
    "barlow_twins",
    "distant_permutations",
    "frozen_features",
    "max_similarity",
    "mean_similarity",
    "nontrivial_energy",
    "nt_xent",
    "plain_similarity",
    "pooled_similarity",
    "retrieval",
    "simsiam",
    "soft_similarity",
]
