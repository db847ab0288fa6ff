"""The transport that is a representation: orthogonal after whitening, and made of irreps.

Harvested orbits are closed under the group, so rho fixes their mean mu, and rho S rho^T = S for
their second moment S. So Q(g) = W rho(g) W^-1 is orthogonal with the whitening W = S^(-1/2), and
orthogonal matrices that are nearly a representation have an exact one nearby.
"""

from numpy import ndarray

from orbitlens.activations import ActivationStore
from orbitlens.transport._cost import check_cost
from orbitlens.transport._door import fits
from orbitlens.transport._element_order import check_element_order
from orbitlens.transport._moments import cross_moments, exact_from_moments
from orbitlens.transport._span import span_of
from orbitlens.transport.motion import Motion
from orbitlens.typing import Int

# In a wrong order half of the elements can still fit, and rounding adds a little.
_POOR = 0.51


@fits
def exact(store: ActivationStore, train: Int[ndarray, " n"]) -> Motion:
    """Fit matrices with rho(gh) = rho(g) rho(h), rho(g^-1) = rho(g)^-1 and rho(g) mu = mu.

    D(g) = W (sum_{x,h} psi(gh x) psi(h x)^T / n) W^T,   Q = exactify(D),   rho(g) = W^+ Q(g) W

    on the directions with variance, and the identity on the others. A direction has variance if its
    second moment is above 1e-10 of the largest variance, and above rounding, 1e-13 of the largest
    second moment. D(g) holds the correlations of whitened activations with moved ones.
    rho(g) mu = mu is dropped if that predicts the training orbits better, as when the group moves
    the activations only in part.

    Derivation: docs/theory/transport.md.

    Args:
        store: Activations of orbits.
        train: Samples to fit on, shape [n].

    Returns:
        rho, shape [|G|, dim, dim], float64; of a wide layer with fewer activations than directions,
        rho in the space that they span, and a basis of it.

    Raises:
        OrbitLensError: If there are fewer than two activations for each direction with variance, or
            if the orbits are not in the order of the group's elements.

    Warns:
        OrbitLensWarning: If the mean is so large that a part of the variance is within rounding.
    """
    span = span_of(store, train)
    if span is None:
        check_cost(store, train)
        moments = cross_moments(store.chunks(train), store.group, store.dim)
    else:
        moments = cross_moments([span.orbits], store.group, span.basis.shape[1])
    subject = f"layer {store.layer!r}"
    fit = exact_from_moments(moments, store.group, store.positions, subject=subject)
    if fit.clarity < _POOR:
        check_element_order(store, train)
    if span is None:
        return fit.motion
    return Motion(fit.motion.core, variable=fit.motion.variable, basis=span.basis)
