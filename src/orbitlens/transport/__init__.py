"""The learned representation: how activations move when inputs do.

Transport          the record: rho, held-out R^2, relation error
Motion             rho itself: one matrix per element and the structure it acts in
fit_transport      fit one by name (METHODS) and measure it on held-out orbits
identity           rho(g) = I: the network is taken to be invariant
gradient           the paper's: one matrix per generator, by Adam
least_squares      closed form, from one pass of cross-moments
exact              a true representation: whitened, orthogonal, made of irreps
spatial            maps and token grids: places move, a channel matrix acts on each
low_rank           exact on the leading directions of wide activations
lie                any angle, from a generator; frequencies counts its planes
move               rho(g_i) x_i, each sample by its own element
transport_r2       R^2 of given matrices on given orbits
order_errors       ||M^n - I|| of each generator
condition_number   max over g of the ratio of singular values
measure_layer      every figure of one layer -> LayerEquivariance
choose_group       candidates ranked against their controls -> GroupChoice
symmetry_spectrum  share of the variance in each irrep
canonical_scores   equivariance and invariance by canonical correlations
shuffled           the control: elements of each orbit in random order
cross_moments      sum psi(ghx) psi(hx)^T over orbits -> CrossMoments
"""

from orbitlens.transport.base import Transport, move
from orbitlens.transport.canonical import canonical_scores
from orbitlens.transport.choose import GroupChoice, choose_group
from orbitlens.transport.controls import shuffled
from orbitlens.transport.exact import exact
from orbitlens.transport.fit_transport import (
    METHODS,
    condition_number,
    fit_transport,
    order_errors,
)
from orbitlens.transport.gradient import gradient
from orbitlens.transport.identity import identity
from orbitlens.transport.layer import LayerEquivariance, measure_layer
from orbitlens.transport.least_squares import least_squares
from orbitlens.transport.lie import frequencies, lie
from orbitlens.transport.low_rank import low_rank
from orbitlens.transport.moments import CrossMoments, cross_moments
from orbitlens.transport.motion import Motion
from orbitlens.transport.scores import transport_r2
from orbitlens.transport.spatial import spatial
from orbitlens.transport.spectrum import symmetry_spectrum

__all__ = [
    "METHODS",
    "CrossMoments",
    "GroupChoice",
    "LayerEquivariance",
    "Motion",
    "Transport",
    "canonical_scores",
    "choose_group",
    "condition_number",
    "cross_moments",
    "exact",
    "fit_transport",
    "frequencies",
    "gradient",
    "identity",
    "least_squares",
    "lie",
    "low_rank",
    "measure_layer",
    "move",
    "order_errors",
    "shuffled",
    "spatial",
    "symmetry_spectrum",
    "transport_r2",
]
