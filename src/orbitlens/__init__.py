"""Sparse autoencoders that know the symmetries of the data.

The code follows the data, in one direction:

    data, models      inputs with a symmetry, and networks to look into
    groups, reps      the group as data, its representations as algebra
    actions           how the group moves inputs
    activations       orbits of activations: harvest, store, read          harvest, open_store
    transport         the learned representation, psi(gx) ~ rho(g) psi(x)  fit_transport,
                      and what a group does to each layer of a network     measure_network,
                                                                           choose_group
    sae, objectives   sparse autoencoders as parts, and what they minimise OrbitSAE
    fit               the one training loop                                fit
    attribution       what features of one layer do to those of a later one
    metrics           reconstruction, recovery, detection, equivariance
    io, files         cfg.json and safetensors, whole or not there         save, load

Optional, imported by name only: `orbitlens.probe`, `orbitlens.report`, `orbitlens.pipeline` and
`orbitlens.cli`.
"""

from orbitlens import (
    actions,
    attribution,
    data,
    groups,
    metrics,
    models,
    objectives,
    reps,
    sae,
    transport,
)
from orbitlens.activations import ActivationStore, harvest, open_store, store_from_array
from orbitlens.errors import OrbitLensError
from orbitlens.io import load, save
from orbitlens.sae import SAE
from orbitlens.sae import orbit_sae as OrbitSAE  # noqa: N812  # it builds what the name says
from orbitlens.training.fit import FitResult, fit
from orbitlens.transport import Transport, choose_group, fit_transport, measure_network

__version__ = "0.1.0"

__all__ = [
    "SAE",
    "ActivationStore",
    "FitResult",
    "OrbitLensError",
    "OrbitSAE",
    "Transport",
    "actions",
    "attribution",
    "choose_group",
    "data",
    "fit",
    "fit_transport",
    "groups",
    "harvest",
    "load",
    "measure_network",
    "metrics",
    "models",
    "objectives",
    "open_store",
    "reps",
    "sae",
    "save",
    "store_from_array",
    "transport",
]
