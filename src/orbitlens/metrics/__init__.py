"""Metrics: reconstruction, recovered features, and equivariance of an SAE.

    mse                                   per sample
    explained_variance, normalised_mse    over a whole set, one definition for everyone
    ReconstructionStats                   the same for sets larger than memory
    feature_recovery, Recovery            dictionary rows against true features (MMCS)
    feature_recovery_rate                 share of them with a latent near by (FRR)
    max_cosine_similarity                 nearest latent of another run, for each latent (MCS)
    feature_detection                     F1 of a logistic probe on m latents
    l0, firing_rates, dead_latents        how sparse the codes are
    invariance_error, equivariance_error  how codes and reconstructions move along orbits
    moving_share                          share of an orbit SAE's codes that move as predicted
    lie_derivative_errors                 response of layers to infinitesimal turns and shifts
    symmetry_labels, SymmetryLabel        irrep shares, stabiliser and a sentence for each latent
    atom_labels                           the same for each atom of an orbit SAE
    orientation_codes                     its codes as the strength of each atom per orientation
    alike_atoms                           pairs of atoms that the group moves into one another
    feature_turning, Turning              whether each feature moves with the input or is invariant

Recovery needs scipy, detection scikit-learn (extra "metrics"); both are loaded on first use.

For the other rooms: squared_error, the error of each sample that the objectives train on.
"""

from orbitlens.metrics.alike import alike_atoms
from orbitlens.metrics.detection import feature_detection
from orbitlens.metrics.equivariance import equivariance_error, invariance_error, moving_share
from orbitlens.metrics.labels import (
    SymmetryLabel,
    atom_labels,
    orientation_codes,
    symmetry_labels,
)
from orbitlens.metrics.lie_derivative import lie_derivative_errors
from orbitlens.metrics.reconstruction import (
    ReconstructionStats,
    explained_variance,
    mse,
    normalised_mse,
    squared_error,
)
from orbitlens.metrics.recovery import (
    Recovery,
    feature_recovery,
    feature_recovery_rate,
    max_cosine_similarity,
)
from orbitlens.metrics.sparsity import dead_latents, firing_rates, l0
from orbitlens.metrics.turning import Turning, feature_turning

__all__ = [
    "ReconstructionStats",
    "Recovery",
    "SymmetryLabel",
    "Turning",
    "alike_atoms",
    "atom_labels",
    "dead_latents",
    "equivariance_error",
    "explained_variance",
    "feature_detection",
    "feature_recovery",
    "feature_recovery_rate",
    "feature_turning",
    "firing_rates",
    "invariance_error",
    "l0",
    "lie_derivative_errors",
    "max_cosine_similarity",
    "moving_share",
    "mse",
    "normalised_mse",
    "orientation_codes",
    "squared_error",
    "symmetry_labels",
]
