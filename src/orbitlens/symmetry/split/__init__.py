"""Split: what an input shows, apart from how it stands.

Split                   the code of inputs: an invariant part and a pose
SplitModel              the protocol of every model that makes such codes
GroupAutoencoder        the exact one, by group equivariant subsampling: p1, p4, p4m
TopographicVAE          a VAE of sequences whose capsules roll with the input
fit_topographic         trains it -> TopographicFit
WorldModel              latents of objects in images, and what actions do to them
train_world_model       trains it, again where a start is stuck -> WorldModelFit
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
temporal_coherence      the variances that slots share with the next slots of the next frames
Posterior, Gaussian     the latents of sequences, frame by frame
Elbo                    the terms of the bound
check_steps             refuses sequences that do not move by equal steps, or do not come back
SymmetricEmbedding      images to latents: an ordinary network, then an exactly equivariant one
ObjectTransition        what an action does to the latents of objects, equivariant
contrastive_loss        near what follows, far from the unrelated -> ContrastiveLoss
latent_distance         the distance in it

What predictions in latents are worth:

strict_ranks            the rank of each prediction by its target; ties are misses
hits_at_k, mean_reciprocal_rank   of these ranks
distance_invariance_error         what a symmetry changes of distances between states
embedding_error         how far an embedding is from equivariant

What capsules are worth:

rolled                  capsules of one frame, rolled through all
roll_error              how far capsules are from one slot per frame, E_eq
capsule_rolls           by how many slots capsules have rolled
capsule_correlation     its correlation with the truth, CapCorr
roll_decode_error       the error of frames that are decoded from the capsules of another
importance_log_likelihood  the logarithm of the mean of importance weights
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names

if TYPE_CHECKING:
    from orbitlens.symmetry.split.autoencoder import GroupAutoencoder
    from orbitlens.symmetry.split.base import Split, SplitModel
    from orbitlens.symmetry.split.capsule_metrics import (
        capsule_correlation,
        capsule_rolls,
        importance_log_likelihood,
        roll_decode_error,
        roll_error,
        rolled,
    )
    from orbitlens.symmetry.split.coherence import temporal_coherence
    from orbitlens.symmetry.split.contrastive import (
        ContrastiveLoss,
        contrastive_loss,
        latent_distance,
    )
    from orbitlens.symmetry.split.cosets import (
        SubgroupStep,
        coset_representatives,
        default_factors,
        subgroup_chain,
    )
    from orbitlens.symmetry.split.embedding import SymmetricEmbedding
    from orbitlens.symmetry.split.latents import Elbo, Gaussian, Posterior
    from orbitlens.symmetry.split.poses import Pose, index_map
    from orbitlens.symmetry.split.rollouts import (
        distance_invariance_error,
        embedding_error,
        hits_at_k,
        mean_reciprocal_rank,
        strict_ranks,
    )
    from orbitlens.symmetry.split.spread import code_spread
    from orbitlens.symmetry.split.subsampling import (
        SubsamplingConv2d,
        UpsamplingConv2d,
        subsample,
        upsample,
    )
    from orbitlens.symmetry.split.topographic import TopographicVAE
    from orbitlens.symmetry.split.topographic_fit import (
        TopographicFit,
        check_steps,
        fit_topographic,
    )
    from orbitlens.symmetry.split.train_world_model import WorldModelFit, train_world_model
    from orbitlens.symmetry.split.transition import ObjectTransition
    from orbitlens.symmetry.split.world_model import WorldModel
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "ContrastiveLoss",
    "Elbo",
    "Gaussian",
    "GroupAutoencoder",
    "ObjectTransition",
    "Pose",
    "Posterior",
    "Split",
    "SplitModel",
    "SubgroupStep",
    "SubsamplingConv2d",
    "SymmetricEmbedding",
    "TopographicFit",
    "TopographicVAE",
    "UpsamplingConv2d",
    "WorldModel",
    "WorldModelFit",
    "capsule_correlation",
    "capsule_rolls",
    "check_steps",
    "code_spread",
    "contrastive_loss",
    "coset_representatives",
    "default_factors",
    "distance_invariance_error",
    "embedding_error",
    "fit_topographic",
    "hits_at_k",
    "importance_log_likelihood",
    "index_map",
    "latent_distance",
    "mean_reciprocal_rank",
    "roll_decode_error",
    "roll_error",
    "rolled",
    "strict_ranks",
    "subgroup_chain",
    "subsample",
    "temporal_coherence",
    "train_world_model",
    "upsample",
]
