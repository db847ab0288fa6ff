"""An SAE is in one training at a time."""

import threading

import pytest
import torch

from orbitlens.activations import store_from_array
from orbitlens.data import toy
from orbitlens.errors import OrbitLensError
from orbitlens.sae import topk_sae
from orbitlens.training import fit

DATA = toy(n_features=8, orbit_size=4, n_samples=100, seed=0)
STORE = store_from_array(DATA.orbits, group=DATA.group)
LINE = "`sae`: expected one training at a time .*; wait until that one has ended"


def test_a_second_training_of_an_sae_is_refused_and_the_first_goes_on() -> None:
    sae, alone, messages = topk_sae(16, 16, 3), topk_sae(16, 16, 3), list[str]()

    def second() -> None:
        with pytest.raises(OrbitLensError, match=LINE) as error:
            fit(sae, STORE, epochs=1)
        messages.append(str(error.value))

    def from_another_thread(epoch: int, epochs: int, loss: float) -> None:
        del epoch, epochs, loss
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    fit(sae, STORE, epochs=2, progress=from_another_thread)
    assert len(messages) == 2
    fit(alone, STORE, epochs=2)
    assert torch.equal(sae.W_dec, alone.W_dec)


def test_other_saes_train_meanwhile_and_an_error_lets_go() -> None:
    sae, statuses = topk_sae(16, 16, 3), list[str]()

    def stop(epoch: int, epochs: int, loss: float) -> None:
        del epoch, epochs, loss
        statuses.append(fit(topk_sae(16, 16, 3), STORE, epochs=1).status)
        raise KeyError

    with pytest.raises(KeyError):
        fit(sae, STORE, epochs=1, progress=stop)
    assert fit(sae, STORE, epochs=1).status == "completed"
    assert statuses == ["completed"]
