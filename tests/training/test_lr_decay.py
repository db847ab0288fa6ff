"""The learning rate of `fit`, where it falls."""

import pytest
import torch

import orbitlens as ol
from orbitlens.errors import OrbitLensError

TOY = ol.data.toy(n_features=4, orbit_size=3, dim=6, n_samples=60, seed=0)
STORE = ol.store_from_array(TOY.orbits, group=TOY.group)


def trained(epochs: int, lr: float, lr_decay: float) -> torch.Tensor:
    sae = ol.sae.topk_sae(6, 8, 2, seed=0)
    return ol.fit(sae, STORE, epochs=epochs, lr=lr, lr_decay=lr_decay).sae.W_dec


def test_the_rate_falls_linearly_from_epoch_to_epoch() -> None:
    # Of one epoch that is all decay, half of the way from the rate to zero.
    assert torch.equal(trained(1, 1e-2, 1.0), trained(1, 5e-3, 0.0))


def test_before_the_decay_begins_the_rate_is_whole() -> None:
    # A fifth of four epochs is less than one: the last has 1 / 1.8 of the rate.
    assert not torch.equal(trained(4, 1e-2, 0.2), trained(4, 1e-2, 0.0))
    assert torch.equal(trained(4, 1e-2, 0.0), trained(4, 1e-2, 0.0))


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(OrbitLensError, match="`lr_decay`: expected a share from 0 to 1"):
        trained(1, 1e-2, share)
