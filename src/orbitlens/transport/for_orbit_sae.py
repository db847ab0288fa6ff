"""The transport that an orbit SAE is built on: which kind a layer gets, and which kinds serve.

An orbit SAE ties its dictionary by rho, W[g, c] = rho(g) D[c]. So rho must be a representation,
rho(gh) = rho(g) rho(h), and one matrix per element must move every row of a store, because all
positions share the latents.
"""

from orbitlens.activations import ActivationStore
from orbitlens.checks import check_kind
from orbitlens.transport._door import parts_of
from orbitlens.transport._token_kinds import tokens_before_places
from orbitlens.transport.base import Transport
from orbitlens.transport.fit_transport import fit_transport
from orbitlens.typing import Numbers

_REPRESENTATIONS = ("exact", "spatial", "low_rank", "lie")


def serves_orbit_saes(transport: Transport) -> bool:
    """Say whether an orbit SAE can be built on a transport.

    It can if rho(gh) = rho(g) rho(h) by construction, and if one rho(g) moves every row of a store.
    Identity, gradient and least-squares transports fail the first condition. A transport "spatial"
    of a token grid with a class token fails the second.
    """
    check_kind("transport", transport, Transport, "fit one with `fit_transport(store)`")
    return transport.method in _REPRESENTATIONS and transport.motion.tokens is None


def fit_exact(
    store: ActivationStore,
    *,
    split: tuple[Numbers, Numbers] | None = None,
) -> Transport:
    """Fit the exact transport of a layer that an orbit SAE can be built on.

    This is the choice of `orbitlens run` and `orbitlens train --objective orbit`:

    - "low_rank" if the layer is wider than half the number of training activations, n p |G| / 2,
      for n orbits of p positions. It keeps as many directions as these activations determine.
    - "spatial" for the places of a feature map: they move, and one channel matrix acts on each.
    - "exact" otherwise. This includes class token and patches, because "spatial" would give them
      matrices of their own.

    Each is an orthogonal representation of the group up to whitening; see `exact`, `spatial` and
    `low_rank` for their equations and sources.

    Args:
        store: Activations of orbits.
        split: Samples to fit on and samples to measure on; default `store.split()`.

    Returns:
        The transport, with its R^2 on the held-out samples.

    Raises:
        OrbitLensError: If no exact transport can be fitted.

    Example:
        >>> import orbitlens as ol
        >>> toy = ol.data.toy(n_features=8, orbit_size=4, n_samples=500, seed=0)
        >>> rho = fit_exact(ol.store_from_array(toy.orbits, group=toy.group))
        >>> sae = ol.OrbitSAE(d_in=16, n_atoms=8, k=3, transport=rho)
        >>> rho.method, serves_orbit_saes(rho), sae.d_sae
        ('exact', True, 32)
    """
    split = parts_of(store, split)
    seen = split[0]
    determined = len(seen) * store.positions * store.group.order // 2
    if determined < store.dim:
        return fit_transport(store, "low_rank", rank=max(1, determined), split=split)
    places = store.positions > 1 and tokens_before_places(store) == 0
    return fit_transport(store, "spatial" if places else "exact", split=split)
