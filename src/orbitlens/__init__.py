"""Sparse autoencoders that know the symmetries of the data.

The code follows the data, in one direction:

    data, models      inputs with a symmetry, and networks to look into
    groups, reps      the group as data, its representations as algebra
    actions           how the group moves inputs
    activations       orbits of activations: harvest, store, read          harvest, open_store,
                                                                           store_from_array
    transport         the learned representation, psi(gx) ~ rho(g) psi(x)  fit_transport,
                      how a group moves each layer of a network, and       measure_network,
                      orbits whose elements lie in another order           choose_group, reorder
    sae, objectives   sparse autoencoders as parts, and their losses       SAE, OrbitSAE
    training          the training step and the loop around it             fit
    metrics           reconstruction, recovery, detection, equivariance
    attribution       effects of the features of one layer on a later one
    io                cfg.json and safetensors                             save, load
    pipeline          pages and lists of features, and the main job        show, top_images,
                                                                           active_features

Rooms with one job, imported by name:

    checks            arguments at the door, converted or refused
    processes         signals, standard streams, and children that end with their parent
    kernels           fast sparse products, searches and buffers; they know no SAE
    probe, report     probes of features, and pages to look at
    plan              disk, memory and time that a run would need
    cli               the command line of the main job
    reproduce         code that the recipes share
    testing           contract classes and `assert_equivariant` for your own parts

`errors`, `files` and `typing` hold the errors, whole files and the names of axes. Nothing loads
before it is used: `import orbitlens` alone does not import torch.
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names

if TYPE_CHECKING:
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
    from orbitlens.pipeline import active_features, show, top_images
    from orbitlens.sae import SAE
    from orbitlens.sae import orbit_sae as OrbitSAE  # noqa: N812  # it builds what the name says
    from orbitlens.training.fit import FitResult, fit
    from orbitlens.transport import (
        Transport,
        choose_group,
        fit_transport,
        measure_network,
        reorder,
    )
else:
    __getattr__, __dir__ = lazy_names(__name__)

__version__ = "0.1.0"

__all__ = [
    "SAE",
    "ActivationStore",
    "FitResult",
    "OrbitLensError",
    "OrbitSAE",
    "Transport",
    "actions",
    "active_features",
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
    "reorder",
    "reps",
    "sae",
    "save",
    "show",
    "store_from_array",
    "top_images",
    "transport",
]
