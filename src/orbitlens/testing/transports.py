"""The contract of transports."""

from abc import ABC, abstractmethod

import numpy as np
import torch

from orbitlens.activations import ActivationStore, store_from_array
from orbitlens.groups import cyclic
from orbitlens.reps import homomorphism_errors, regular
from orbitlens.testing._sizes import random
from orbitlens.transport import Motion
from orbitlens.typing import Int, Matrices


class TransportContract(ABC):
    """The tests that every transport passes, on data with an exact linear action."""

    recovers = True
    group = cyclic(4)
    positions = 1

    @abstractmethod
    def build(self, store: ActivationStore, train: Int[np.ndarray, " n"]) -> Motion:
        """Fit the motion under test."""

    @property
    def exact_matrices(self) -> Matrices:
        """The representation that moves the data; the regular one."""
        return regular(self.group).matrices.float()

    def store(self) -> ActivationStore:
        """Return orbits that the representation moves exactly, at every position."""
        start = random(400, self.positions, self.exact_matrices.shape[-1])
        orbits = torch.einsum("gij,npj->ngpi", self.exact_matrices, start)
        return store_from_array(orbits.squeeze(2), group=self.group)

    def fitted(self) -> Matrices:
        """Fit on the training part."""
        store = self.store()
        return self.build(store, store.split()[0]).matrices.float()

    def test_identity_element_gets_the_identity_matrix(self) -> None:
        eye = torch.eye(self.exact_matrices.shape[-1])
        torch.testing.assert_close(self.fitted()[0], eye, atol=1e-4, rtol=0)

    def test_recovers_the_exact_action(self) -> None:
        error = (self.fitted() - self.exact_matrices).abs().max()
        assert (error < 2e-2) == self.recovers

    def test_is_a_representation_on_exact_data(self) -> None:
        errors = homomorphism_errors(self.group, self.fitted().double())
        assert errors.max() < 5e-2

    def test_reading_it_gives_the_same_bits_again(self) -> None:
        assert torch.equal(self.fitted(), self.fitted())
