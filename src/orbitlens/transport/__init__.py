"""The learned representation: how activations move when inputs do.

Transport       the record: matrices, held-out R^2, relation error
fit_transport   fit one by name (METHODS) and measure it on held-out orbits
identity        rho(g) = I: the network is taken to be invariant
gradient        the paper's: one matrix per generator, by Adam
least_squares   closed form, from one pass of cross-moments
exact           a true representation: whitened, orthogonal, made of irreps
move            rho(g_i) x_i, each sample by its own element
transport_r2    R^2 of given matrices on given orbits
order_errors    ||M^n - I|| of each generator
cross_moments   sum psi(ghx) psi(hx)^T over orbits -> CrossMoments
"""

from orbitlens.transport.base import Transport, move
from orbitlens.transport.exact import exact
from orbitlens.transport.fit_transport import METHODS, fit_transport, order_errors, transport_r2
from orbitlens.transport.gradient import gradient
from orbitlens.transport.identity import identity
from orbitlens.transport.least_squares import least_squares
from orbitlens.transport.moments import CrossMoments, cross_moments

__all__ = [
    "METHODS",
    "CrossMoments",
    "Transport",
    "cross_moments",
    "exact",
    "fit_transport",
    "gradient",
    "identity",
    "least_squares",
    "move",
    "order_errors",
    "transport_r2",
]
