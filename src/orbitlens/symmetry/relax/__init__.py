"""Relax: how much symmetry does each layer want?

What networks say of themselves:

symmetry_uses   how much the layers of a network use of their parts
SymmetryUse     that of one layer
KnowsUse        the protocol of layers that know theirs
Kind            the words for what was measured

Layers that begin symmetric and may leave it:

RelaxedLiftingLinear     vectors -> functions on the group
RelaxedGroupLinear       functions on the group -> functions on the group
RelaxedLiftingConv2d     images -> functions on the group, at each place
RelaxedGroupConv2d       such functions -> such functions
RelaxedSteerableConv2d   fields under any representations
steerable_basis          the kernels that such a layer mixes
Relaxed                  the abstract parent of all five
relaxation_penalty       the penalty of a network, for its loss
relaxation_spread        max - min over the group, for each bank
group_penalty            the penalty of the weights of a group layer
tap_penalty              the penalty of the weights of a steerable layer

Heads of actors and critics:

InvariantHead          one value, such as Q
PermutedActionsHead    one value for each action that the group permutes
VectorActionsHead      mean and spread of continuous actions
ActionSpread           these two
warn_of_fixed_states   states where an exact actor cannot choose
Squash                 actions within their bounds, by a map that commutes with the group

Sharing of weights, learned from tasks:

SharedLinear        a layer with weights U v: which move together, and what they are
SharedConv2d        the same for convolutions, as a product of three matrices
shared_names        the parameters of a network that all tasks share
KnowsShared         the protocol of layers that know theirs
MetaLearner         a network and the inner loop that adapts v to a task
meta_learn          the outer loop, which learns U from many tasks -> MetaFit
MetaFit             the course of such a training
measure_sharing     the angles of a learned U with known symmetries -> Sharing
Sharing             what was found
Angles              those with one symmetry
orthonormal         an orthonormal basis of the space that columns span
toeplitz            the weights of filters that shift along a line
convolution_basis   the U of the convolution over a finite group
intertwiners        the weights that commute with a group
orbits_under        the outputs of a function on inputs that a representation moves
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names

if TYPE_CHECKING:
    from orbitlens.symmetry.relax.heads import (
        ActionSpread,
        InvariantHead,
        PermutedActionsHead,
        VectorActionsHead,
        warn_of_fixed_states,
    )
    from orbitlens.symmetry.relax.known_sharing import (
        convolution_basis,
        intertwiners,
        orbits_under,
        toeplitz,
    )
    from orbitlens.symmetry.relax.meta import MetaLearner
    from orbitlens.symmetry.relax.meta_learn import MetaFit, meta_learn
    from orbitlens.symmetry.relax.relaxation import (
        Relaxed,
        group_penalty,
        relaxation_penalty,
        relaxation_spread,
        tap_penalty,
    )
    from orbitlens.symmetry.relax.relaxed import RelaxedGroupLinear, RelaxedLiftingLinear
    from orbitlens.symmetry.relax.relaxed_images import RelaxedGroupConv2d, RelaxedLiftingConv2d
    from orbitlens.symmetry.relax.relaxed_steerable import RelaxedSteerableConv2d, steerable_basis
    from orbitlens.symmetry.relax.shared_weights import (
        KnowsShared,
        SharedConv2d,
        SharedLinear,
        shared_names,
    )
    from orbitlens.symmetry.relax.sharing import Angles, Sharing, measure_sharing, orthonormal
    from orbitlens.symmetry.relax.squash import Squash
    from orbitlens.symmetry.relax.use import Kind, KnowsUse, SymmetryUse, symmetry_uses
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "ActionSpread",
    "Angles",
    "InvariantHead",
    "Kind",
    "KnowsShared",
    "KnowsUse",
    "MetaFit",
    "MetaLearner",
    "PermutedActionsHead",
    "Relaxed",
    "RelaxedGroupConv2d",
    "RelaxedGroupLinear",
    "RelaxedLiftingConv2d",
    "RelaxedLiftingLinear",
    "RelaxedSteerableConv2d",
    "SharedConv2d",
    "SharedLinear",
    "Sharing",
    "Squash",
    "SymmetryUse",
    "VectorActionsHead",
    "convolution_basis",
    "group_penalty",
    "intertwiners",
    "measure_sharing",
    "meta_learn",
    "orbits_under",
    "orthonormal",
    "relaxation_penalty",
    "relaxation_spread",
    "shared_names",
    "steerable_basis",
    "symmetry_uses",
    "tap_penalty",
    "toeplitz",
    "warn_of_fixed_states",
]
