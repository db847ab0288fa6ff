"""Atoms alike modulo the group, counted against all pairs by hand."""

import pytest
import torch

from orbitlens.errors import OrbitLensError
from orbitlens.groups import cyclic
from orbitlens.metrics import alike, alike_atoms
from orbitlens.reps import isotypic_basis, regular
from orbitlens.sae import OrbitDictionary, TopK, compose, topk_sae
from orbitlens.transport import Motion, Transport


def rho() -> Transport:
    group = cyclic(4)
    one = torch.ones(4)
    motion = Motion(regular(group).matrices.float(), variable=4)
    return Transport(
        group, motion, "exact", 1.0, (1.0, 1.0), one, 0.0, one, 0.0, {"r": 0.0}, 1.0, "a:b"
    )


def test_moved_copies_of_either_sign_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    sae = compose(TopK(2), OrbitDictionary(9, isotypic_basis(regular(cyclic(4)))))
    before = alike_atoms(sae)
    with torch.no_grad():
        orbits = sae.dictionary.tied.orbits(sae.dictionary.atoms)
        sae.dictionary.atoms[8] = orbits[3, 2]
        sae.dictionary.atoms[5] = -orbits[1, 0]
    assert alike_atoms(sae) == before + 2
    monkeypatch.setattr(alike, "_NUMBERS", 1)  # one atom at a time
    assert alike_atoms(sae) == before + 2


def test_free_directions_are_compared_under_a_transport() -> None:
    sae = topk_sae(4, 3, 1)
    with torch.no_grad():
        sae.dictionary.get_parameter("W_dec").copy_(
            torch.tensor([[1.0, 0, 0, 0], [0, 0, 2.0, 0], [0, 0, 0, 0]])
        )
    assert (alike_atoms(sae), alike_atoms(sae, rho())) == (0, 1)
    with pytest.raises(OrbitLensError, match="width 5"):
        alike_atoms(topk_sae(5, 3, 1), rho())
