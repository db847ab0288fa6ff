"""Irreps and their bases: the same on every machine, and those that a file was written in."""

from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from torch import Tensor

from orbitlens.errors import OrbitLensError
from orbitlens.groups import from_name
from orbitlens.reps import irreps, irreps_in_basis

module = import_module("orbitlens.reps.irreps")
EIGH = torch.linalg.eigh


def rotated(seed: int) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return `eigh` of another machine: eigenvectors of equal eigenvalues in another basis."""
    generator = torch.Generator().manual_seed(seed)

    def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = EIGH(matrix)
        gaps = (values.diff() > 1e-8 * values.abs().max()).nonzero().flatten() + 1
        parts = []
        for part in vectors.tensor_split(gaps.tolist(), dim=1):
            dim = part.shape[1]
            noise = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
            parts.append(part @ torch.linalg.qr(noise).Q)
        return values, torch.cat(parts, dim=1)

    return eigh


@pytest.mark.parametrize("name", ["C3", "C4", "D4", "D5", "C8", "S4", "O", "C2xS3"])
def test_irreps_do_not_depend_on_the_basis_that_a_machine_finds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = from_name(name)
    wanted = irreps(group)
    for seed in range(3):
        monkeypatch.setattr(torch.linalg, "eigh", rotated(seed))
        found = module._irreps.__wrapped__(group)
        for irrep, other in zip(wanted, found, strict=True):
            torch.testing.assert_close(other.matrices, irrep.matrices, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", ["C1", "C4", "D4", "S4", "C3xS3"])
def test_irreps_in_the_basis_of_given_generators(name: str) -> None:
    group = from_name(name)
    generator = torch.Generator().manual_seed(0)
    own = list(group.generators)
    bases = [
        torch.linalg.qr(torch.randn(r.dim, r.dim, generator=generator, dtype=torch.float64)).Q
        for r in irreps(group)
    ]
    wanted = [
        basis.T @ irrep.matrices @ basis for irrep, basis in zip(irreps(group), bases, strict=True)
    ]
    found = irreps_in_basis(group, [each[own].float() for each in wanted])
    for irrep, matrices in zip(found, wanted, strict=True):
        torch.testing.assert_close(irrep.matrices, matrices, atol=1e-5, rtol=0)


def test_matrices_of_no_basis_are_refused() -> None:
    given = [irrep.matrices[[1]] for irrep in irreps("C4")]
    with pytest.raises(OrbitLensError, match="2d#1 of C4: expected matrices of the generators"):
        irreps_in_basis(from_name("C4"), [*given[:2], 2 * given[2]])
