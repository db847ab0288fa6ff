"""The symmetry room: systems that learn symmetry or build it in, by the job that they do.

check/        is this map a symmetry of my data, my network, my environment?

check_symmetry      a function under an action          -> SymmetryCheck
check_environment   a Gymnasium environment under maps  -> EnvironmentCheck

symmetrize/   make any network equivariant without a new design

symmetrize          a network and an action             -> Symmetrized

relax/        how much symmetry does each layer want? layers, agents, evidence and learned
              sharing: see orbitlens.symmetry.relax

split/        what an input shows, apart from how it stands

Split               the code of an input: invariant part and pose
SplitModel          the protocol of every model that makes such codes
GroupAutoencoder    the exact one, by group equivariant subsampling
WorldModel          latents of objects that a group moves, and what actions do to them
TopographicVAE      of sequences, with capsules that roll as the input moves

pretext/      train an equivariant network without labels: see orbitlens.symmetry.pretext

Jigsaw              a task whose labels move with the image
GroupEncoder        images -> functions on a group
EquivariantHead     logits that move with the input
nt_xent             a contrastive loss that each view may be moved under

The room knows groups, representations, actions, data and the layers that models share. It knows no
SAE; but every network that is made here can be looked into by the rest of OrbitLens.
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names

if TYPE_CHECKING:
    from orbitlens.symmetry.check import (
        EnvironmentCheck,
        SymmetryCheck,
        check_environment,
        check_symmetry,
    )
    from orbitlens.symmetry.pretext import EquivariantHead, GroupEncoder, Jigsaw, nt_xent
    from orbitlens.symmetry.split import (
        GroupAutoencoder,
        Split,
        SplitModel,
        TopographicVAE,
        WorldModel,
    )
    from orbitlens.symmetry.symmetrize import Symmetrized, symmetrize
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "EnvironmentCheck",
    "EquivariantHead",
    "GroupAutoencoder",
    "GroupEncoder",
    "Jigsaw",
    "Split",
    "SplitModel",
    "Symmetrized",
    "SymmetryCheck",
    "TopographicVAE",
    "WorldModel",
    "check_environment",
    "check_symmetry",
    "nt_xent",
    "symmetrize",
]
