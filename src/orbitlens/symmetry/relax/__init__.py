"""Relax: how much symmetry does each layer want?

What networks say of themselves:

symmetry_uses   how much the layers of a network use of their parts
SymmetryUse     that of one layer
KnowsUse        the protocol of layers that know theirs
unknown_uses    why layers do not know theirs
GivesReason     the protocol of layers that say why

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

Agents:

q_network            Q of discrete actions: exact, relaxed or plain
actor                the policy of continuous actions
critic               Q of states and continuous actions
QNetwork             the network of Q
Actor                that of a policy
Critic               that of Q of continuous actions
AgentKind            exact, relaxed or plain
GymnasiumTask        environments of Gymnasium, several at once
maps_of_agent        the maps of states and actions, checked
learned_parameters   how many numbers a network learns
train_dqn            double DQN on many environments at once -> DQNRun
DQNRun               the course of such a training
VectorTask           the protocol of its environments
largest_spread       the largest spread of relaxation weights in a network
SymmetryGate         learns where the symmetry holds, so that transitions may be moved there
FourGoalGrid         a grid world that C4 moves, broken by a known amount
Step                 one step of it
make_sac             SAC of stable-baselines3 with these networks
train_sac            its training -> SACRun
SACRun               the course of such a training

Paths, and the evidence that chooses among them:

MixedBlock                    the mean of a symmetric and of free paths
mixed_network                 a network of such blocks
layerwise_network             the network of the paper
FactoredLinear                a free path in two factors
KernelRegression              weights that are read out of anchors
SparseFactoredLinear          a free path by anchors
SparseConv2d                  a convolution by anchors
fit_with_evidence             weights by MAP, precisions by evidence -> EvidenceFit
EvidenceFit                   the course of such a training
TensorUse                     what the data determine of one tensor
negative_log_evidence         -log Z of the Laplace approximation
effective_dimensions          how many parameters the data determine
map_loss                      the loss that the weights descend
kronecker_curvature           the curvature of a network, layer by layer -> Curvature
Curvature                     the eigenvalues of its factors
KroneckerFactors              those of one tensor
fit_linear_gaussian           the exact evidence of signals on a circle -> LinearGaussianFit
LinearGaussianFit             precisions, evidence and error
exact_negative_log_evidence   -log Z itself
circulant                     the matrix of a filter on a circle

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
    from orbitlens.symmetry.relax.agents import (
        Actor,
        AgentKind,
        Critic,
        QNetwork,
        actor,
        critic,
        learned_parameters,
        maps_of_agent,
        q_network,
    )
    from orbitlens.symmetry.relax.dqn import (
        DQNRun,
        GymnasiumTask,
        VectorTask,
        largest_spread,
        train_dqn,
    )
    from orbitlens.symmetry.relax.evidence import EvidenceFit, TensorUse, fit_with_evidence
    from orbitlens.symmetry.relax.factored import FactoredLinear
    from orbitlens.symmetry.relax.gate import SymmetryGate
    from orbitlens.symmetry.relax.grid import FourGoalGrid, Step
    from orbitlens.symmetry.relax.heads import (
        ActionSpread,
        InvariantHead,
        PermutedActionsHead,
        VectorActionsHead,
        warn_of_fixed_states,
    )
    from orbitlens.symmetry.relax.kfac import Curvature, KroneckerFactors, kronecker_curvature
    from orbitlens.symmetry.relax.known_sharing import (
        convolution_basis,
        intertwiners,
        orbits_under,
        toeplitz,
    )
    from orbitlens.symmetry.relax.laplace import (
        effective_dimensions,
        map_loss,
        negative_log_evidence,
    )
    from orbitlens.symmetry.relax.linear_gaussian import (
        LinearGaussianFit,
        circulant,
        exact_negative_log_evidence,
        fit_linear_gaussian,
    )
    from orbitlens.symmetry.relax.meta import MetaLearner
    from orbitlens.symmetry.relax.meta_learn import MetaFit, meta_learn
    from orbitlens.symmetry.relax.mixed import MixedBlock, layerwise_network, mixed_network
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
    from orbitlens.symmetry.relax.sac import SACRun, make_sac, train_sac
    from orbitlens.symmetry.relax.shared_weights import (
        KnowsShared,
        SharedConv2d,
        SharedLinear,
        shared_names,
    )
    from orbitlens.symmetry.relax.sharing import Angles, Sharing, measure_sharing, orthonormal
    from orbitlens.symmetry.relax.sparse import KernelRegression, SparseConv2d, SparseFactoredLinear
    from orbitlens.symmetry.relax.squash import Squash
    from orbitlens.symmetry.relax.use import (
        GivesReason,
        KnowsUse,
        SymmetryUse,
        symmetry_uses,
        unknown_uses,
    )
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "ActionSpread",
    "Actor",
    "AgentKind",
    "Angles",
    "Critic",
    "Curvature",
    "DQNRun",
    "EvidenceFit",
    "FactoredLinear",
    "FourGoalGrid",
    "GivesReason",
    "GymnasiumTask",
    "InvariantHead",
    "KernelRegression",
    "KnowsShared",
    "KnowsUse",
    "KroneckerFactors",
    "LinearGaussianFit",
    "MetaFit",
    "MetaLearner",
    "MixedBlock",
    "PermutedActionsHead",
    "QNetwork",
    "Relaxed",
    "RelaxedGroupConv2d",
    "RelaxedGroupLinear",
    "RelaxedLiftingConv2d",
    "RelaxedLiftingLinear",
    "RelaxedSteerableConv2d",
    "SACRun",
    "SharedConv2d",
    "SharedLinear",
    "Sharing",
    "SparseConv2d",
    "SparseFactoredLinear",
    "Squash",
    "Step",
    "SymmetryGate",
    "SymmetryUse",
    "TensorUse",
    "VectorActionsHead",
    "VectorTask",
    "actor",
    "circulant",
    "convolution_basis",
    "critic",
    "effective_dimensions",
    "exact_negative_log_evidence",
    "fit_linear_gaussian",
    "fit_with_evidence",
    "group_penalty",
    "intertwiners",
    "kronecker_curvature",
    "largest_spread",
    "layerwise_network",
    "learned_parameters",
    "make_sac",
    "map_loss",
    "maps_of_agent",
    "measure_sharing",
    "meta_learn",
    "mixed_network",
    "negative_log_evidence",
    "orbits_under",
    "orthonormal",
    "q_network",
    "relaxation_penalty",
    "relaxation_spread",
    "shared_names",
    "steerable_basis",
    "symmetry_uses",
    "tap_penalty",
    "toeplitz",
    "train_dqn",
    "train_sac",
    "unknown_uses",
    "warn_of_fixed_states",
]
