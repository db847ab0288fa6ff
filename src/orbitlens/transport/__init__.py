"""Transports: learned representations of a group on activations, psi(gx) ~ rho(g) psi(x).

Transport          the record: rho, held-out R^2, relation error
Motion             rho itself: one matrix per element and the structure that it acts on
fit_transport      fits one by the name of its method (METHODS) and measures it on held-out orbits
identity           rho(g) = I, as for an invariant network
gradient           the paper's method: one matrix per generator, by Adam
least_squares      closed form, from one pass over the orbits
exact              a representation: whitened, orthogonal, made of irreps
spatial            maps and token grids: places move, one matrix acts on the channels
low_rank           exact on the leading directions of wide activations
fit_exact          the exact transport of a layer that an orbit SAE can be built on
lie                any angle, from a generator; frequencies counts its planes
so3_r2             R^2 under any rotation of space, from generators about two axes
move               rho(g_i) x_i: moves each sample by its own element
transport_scores   R^2 of a motion with its interval -> Scores; chunk by chunk: ScoreSums
transport_r2       R^2 of given matrices on given orbits
measure_layer      every figure of one layer -> LayerEquivariance
measure_network    the figures of every layer of a network -> NetworkEquivariance
choose_group       ranks candidate groups against their controls -> GroupChoice
symmetry_spectrum  share of the variance in each irrep
canonical_scores   equivariance and invariance by canonical correlations
reorder            orbits of one's own whose elements lie in another order
shuffled           a control: orbits with their elements in random order

For the other rooms:

serves_orbit_saes  whether an orbit SAE can be built on a transport
order_errors       ||M^n - I|| of each generator
condition_number   max over g of the ratio of singular values
rank_groups        ranks groups by figures measured before
BANDS              the words for an R^2 with their bounds; bands_of gives those of an interval
OtherMeasurementError  raised where a measurement would go on with another network or other inputs
use_line           how much a layer uses of its parts, in a line of text
representation_line    the copies of the irreps in a layer, in words
cross_moments      sum psi(ghx) psi(hx)^T over orbits -> CrossMoments
"""

import inspect
from collections.abc import Callable

from orbitlens.transport._controls import shuffled
from orbitlens.transport._kept import OtherMeasurementError
from orbitlens.transport._moments import CrossMoments, cross_moments
from orbitlens.transport._representation import representation_line
from orbitlens.transport._use import use_line
from orbitlens.transport.bands import BANDS, bands_of
from orbitlens.transport.base import Transport, move
from orbitlens.transport.choose import GroupChoice, choose_group, rank_groups
from orbitlens.transport.exact import exact
from orbitlens.transport.fit_transport import condition_number, fit_transport, order_errors
from orbitlens.transport.for_orbit_sae import fit_exact, serves_orbit_saes
from orbitlens.transport.gradient import gradient
from orbitlens.transport.identity import identity
from orbitlens.transport.layer import LayerEquivariance, measure_layer
from orbitlens.transport.least_squares import least_squares
from orbitlens.transport.lie import frequencies, lie
from orbitlens.transport.low_rank import low_rank
from orbitlens.transport.motion import Motion
from orbitlens.transport.network import NetworkEquivariance, measure_network
from orbitlens.transport.reorder import reorder
from orbitlens.transport.scores import Scores, ScoreSums, transport_r2, transport_scores
from orbitlens.transport.so3 import so3_r2
from orbitlens.transport.spatial import spatial
from orbitlens.transport.spectrum import canonical_scores, symmetry_spectrum

__all__ = [
    "BANDS",
    "METHODS",
    "CrossMoments",
    "GroupChoice",
    "LayerEquivariance",
    "Motion",
    "NetworkEquivariance",
    "OtherMeasurementError",
    "ScoreSums",
    "Scores",
    "Transport",
    "bands_of",
    "canonical_scores",
    "choose_group",
    "condition_number",
    "cross_moments",
    "exact",
    "fit_exact",
    "fit_transport",
    "frequencies",
    "gradient",
    "identity",
    "least_squares",
    "lie",
    "low_rank",
    "measure_layer",
    "measure_network",
    "move",
    "order_errors",
    "rank_groups",
    "reorder",
    "representation_line",
    "serves_orbit_saes",
    "shuffled",
    "so3_r2",
    "spatial",
    "symmetry_spectrum",
    "transport_r2",
    "transport_scores",
    "use_line",
]

METHODS: dict[str, Callable[..., Motion]] = {
    name: method
    for name in __all__
    if inspect.isfunction(method := globals().get(name))
    and list(inspect.signature(method).parameters)[:2] == ["store", "train"]
    and inspect.signature(method).return_annotation is Motion
}
"""The methods of `fit_transport` by name: the exports that fit a motion to (store, train)."""
